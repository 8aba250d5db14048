"""The GPU forms of the kernels put together: signals of many pictures at once, and their scores.

What each step does is defined in `reference`; which of the two languages a step is written in is known only here.
Tensors of one CUDA device in, tensors of that device out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from codecsieve.kernels.cupy.contrast import check_measure_of_gpu, motion_lengths, residual_gradients
from codecsieve.kernels.cupy.launch import kept_table
from codecsieve.kernels.cupy.motion import length_limits, residual_histograms, residual_limits
from codecsieve.kernels.geometry import Geometry
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.reference.energy import FIXED_LIMITS, check_fuse_mode
from codecsieve.kernels.rules import Measure
from codecsieve.kernels.triton.energy import pool_energy
from codecsieve.kernels.triton.residual import search_residual, vector_cells
from codecsieve.kernels.triton.search import search_vectors


def search_signals(current: Levels, previous: Levels) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Signals of n pictures by block search (`reference.search.search_signals`).

    Args:
        current: their pyramids.
        previous: those of the pictures before them.

    Returns:
        motion: int16 [n, ceil(S / 4), ceil(S / 4), 2], quarter-pel, x then y.
        residual: uint8 [n, S, S].
        histograms: int32 [n, 256], of the residuals.
    """
    vectors = search_vectors(current, previous)
    residual, histograms = search_residual(current, previous, vectors)
    return vector_cells(vectors, current.size), residual, histograms


def difference_signals(current: Levels, previous: Levels) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same without a search: no motion, and what changed (`reference.search.difference_signals`)."""
    blocks = current.shapes[0].blocks
    vectors = torch.zeros(
        (len(current.arrays[0]), blocks, blocks, 2), dtype=torch.int16, device=current.arrays[0].device
    )
    residual, histograms = search_residual(current, previous, vectors)
    return vector_cells(vectors, current.size), residual, histograms


def score_slots(
    motion: torch.Tensor,
    residual: torch.Tensor,
    grids: Geometry,
    table: np.ndarray,
    mode: str,
    fuse: str,
    weights: tuple[int, int],
    histograms: torch.Tensor | None = None,
    measure: Measure = Measure(),  # noqa: B008  # it is frozen
) -> torch.Tensor:
    """Scores of the patches of n slots (`reference.energy.slot_scores`).

    Args:
        motion: int16 [n, Hc, Wc, 2], quarter-pel, x then y.
        residual: uint8 [n, H, W].
        grids: of a picture of H x W.
        table: int32 [Hc, Wc] on the host, from `geometry.center_table`.
        mode: camera mode; `similarity`, `rigid` and `affine` wait for the device, to be solved on the host.
        fuse: one of `reference.energy.FUSE_MODES`.
        weights: from `reference.energy.fuse_weights`.
        histograms: int32 [n, 256] of the residuals, where they are known.
        measure: what is measured of motion and residual, and against what: not the clip.

    Returns:
        int64 [n, grid, grid].

    Raises:
        ConfigError: the clip's percentiles are asked for.
    """
    check_fuse_mode(fuse)
    check_measure_of_gpu(measure)
    if measure.res_use_grad:
        residual, histograms = residual_gradients(residual), None
    lengths = motion_lengths(motion, mode, measure)
    if measure.scale == "none":
        limits = [torch.full((len(motion),), one, dtype=torch.int32, device=motion.device) for one in FIXED_LIMITS]
    else:
        counts = residual_histograms(residual) if histograms is None else histograms
        limits = [length_limits(lengths), residual_limits(counts)]
    center = kept_table(_uploaded(table.tobytes(), table.shape, motion.device))
    scores = pool_energy(lengths, limits[0], residual, limits[1], grids, center, fuse, weights)
    return scores if grids.fit == "crop" else scores + torch.tensor(grids.unscored, device=scores.device)


@lru_cache(maxsize=16)
def _uploaded(table: bytes, shape: tuple[int, int], device: torch.device) -> torch.Tensor:
    """An int32 table on a device, sent there once."""
    return torch.frombuffer(bytearray(table), dtype=torch.int32).reshape(shape).to(device)
