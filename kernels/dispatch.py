"""Which form of a kernel runs, by where its arrays are: numpy's on the CPU, torch's CUDA tensors on their GPU.

For functions that users call with arrays of their own. Pipelines know where their arrays are, and call a form
directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from codecsieve.kernels.cpu import energy as on_cpu
from codecsieve.kernels.cpu import select as select_on_cpu
from codecsieve.kernels.geometry import Geometry
from codecsieve.kernels.reference.energy import check_signals

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Union[np.ndarray, "torch.Tensor"]


def score_clip(
    motion: Array,
    residual: Array,
    keyframe: Array,
    grids: Geometry,
    table: np.ndarray,
    mode: str,
    fuse: str,
    weights: tuple[int, int],
) -> Array:
    """`reference.energy.score_clip` of numpy arrays, or of torch tensors of one CUDA device: the same bits.

    Raises:
        ValueError: a shape, dtype or mode is wrong, or tensors are on no CUDA device.
    """
    if isinstance(motion, np.ndarray):
        arrays = np.ascontiguousarray(motion), np.ascontiguousarray(residual), np.asarray(keyframe, bool)
        return on_cpu.score_clip(*arrays, grids, table, mode, fuse, weights)
    import torch

    from codecsieve.kernels.gpu import score_slots

    shown = np.asarray(keyframe.cpu() if isinstance(keyframe, torch.Tensor) else keyframe, bool)
    tensors = ("motion", motion, torch.int16), ("residual", residual, torch.uint8)
    for name, tensor, dtype in tensors:
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != dtype:
            raise ValueError(f"{name} ({getattr(tensor, 'dtype', type(tensor))}) must be a tensor of {dtype}")
    check_signals(_without_data(motion, np.int16), _without_data(residual, np.uint8), shown, grids)
    scores = torch.zeros((len(shown), grids.grid, grids.grid), dtype=torch.int64, device=motion.device)
    rows = torch.from_numpy(np.flatnonzero(~shown)).to(motion.device)
    if len(rows):
        scores[rows] = score_slots(motion[rows], residual[rows], grids, table, mode, fuse, weights)
    return scores


def select_patches(scores: Array, k_keep: int, **options: Any) -> Array:
    """`reference.select.select_patches`, on the host: it needs a clip's scores only; int32 [K] where they are."""
    if isinstance(scores, np.ndarray):
        return select_on_cpu.select_patches(np.ascontiguousarray(scores), k_keep, **options)
    import torch

    kept = select_on_cpu.select_patches(scores.cpu().numpy(), k_keep, **options)
    return torch.from_numpy(kept).to(scores.device)


def _without_data(tensor: Any, dtype: Any) -> np.ndarray:
    """An array of a tensor's shape that takes no memory: shapes are checked as those of arrays are."""
    return np.broadcast_to(np.zeros((), dtype), tuple(tensor.shape))
