"""GPU form of the luma that block search works on: `reference.search.area_resize`, then `pyramid`, bit for bit.

Whole batches at once, straight into levels with a border, one launch for each level. The weights of an axis go to
the device once; `axis_table` is also what the gather's weights are handed over in.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from codecsieve.kernels.cupy import launch
from codecsieve.kernels.levels import Levels, level_shapes
from codecsieve.kernels.resample import Taps

SAMPLE_BYTES = {torch.uint8: 1, torch.uint16: 2}
"""Kinds of samples that a surface may hold."""
WARP = 32
MOST_THREADS = 1024
"""Of a block; those of a longer row make several bytes each."""


def model_levels(luma: torch.Tensor, top: int, left: int, rows_taps: Taps, columns_taps: Taps, shift: int) -> Levels:
    """The pyramids of a batch of pictures, at model resolution.

    Args:
        luma: uint8 or uint16 [n, rows, columns], the surfaces as decoded, contiguous: the taps say which samples
            of it are read, so padding may follow each row, and chroma the last (whole NV12 surfaces).
        top: first shown row.
        left: first shown column.
        rows_taps: `resample.area_taps` of the crop's rows, counted from the first shown one.
        columns_taps: the same of its columns, as many.
        shift: low bits of a sample that are dropped: what is above them are 8 (0 for NV12, 8 for P016).

    Raises:
        ValueError: the samples are of another kind, the crop is not square, or a tap is outside the surface.
    """
    size = len(rows_taps.first)
    if len(columns_taps.first) != size:
        raise ValueError(f"rows of the crop ({size}) and columns ({len(columns_taps.first)}) must be as many")
    n, rows, columns = luma.shape
    of_rows = axis_table(rows_taps, top, rows, luma.device)
    of_columns = axis_table(columns_taps, left, columns, luma.device)
    samples = (luma, sample_bytes(luma), rows, columns, shift)
    weights = (of_rows, len(of_rows) - 1, of_columns, len(of_columns) - 1)
    arrays: list[torch.Tensor] = []
    finer: tuple[torch.Tensor | int, ...] = ()
    for shape in level_shapes(size):
        array = torch.empty((n, shape.rows, shape.pitch), dtype=torch.uint8, device=luma.device)
        kernel, source = ("halve", finer) if finer else ("resize", (*samples, *weights))
        threads = min(-(-shape.pitch // WARP) * WARP, MOST_THREADS)
        level = (shape.side, shape.reach, shape.rows, shape.pitch, array)
        launch.launch("resample", kernel, (n * shape.rows,), threads, *source, *level)
        finer = (array, shape.reach, shape.rows, shape.pitch)
        arrays.append(array)
    return Levels(size, tuple(arrays))


def sample_bytes(surfaces: torch.Tensor) -> int:
    """Bytes a sample; ValueError unless they are 1 or 2, unsigned."""
    if surfaces.dtype not in SAMPLE_BYTES:
        raise ValueError(f"samples ({surfaces.dtype}) must be uint8 or uint16")
    return SAMPLE_BYTES[surfaces.dtype]


def axis_table(taps: Taps, origin: int, length: int, device: torch.device) -> torch.Tensor:
    """The weights of an axis as the kernels read them; kept, so that only the first call copies them.

    Args:
        taps: of the axis.
        origin: where the sample that they call 0 lies in the surface.
        length: samples of the surface along the axis.
        device: where the table shall be.

    Returns:
        int32 [1 + taps, n]: of each output sample the first sample of the surface, then the weights.

    Raises:
        ValueError: a sample is outside the surface.
    """
    return launch.kept_table(_axis_table(taps, origin, length, device))


@lru_cache(maxsize=256)
def _axis_table(taps: Taps, origin: int, length: int, device: torch.device) -> torch.Tensor:
    first, weights = origin + taps.first, taps.weights
    begin, end = int(first.min()), int(first.max()) + weights.shape[1]
    if begin < 0 or end > length:
        raise ValueError(f"samples that are weighed ({begin} .. {end}) must be within the surface's {length}")
    table = np.ascontiguousarray(np.vstack([first, weights.T]), np.int32)
    return torch.from_numpy(table).to(device)
