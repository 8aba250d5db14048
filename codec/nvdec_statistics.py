"""What NVDEC tells of a picture's motion: its decode statistics.

Drivers from 590 on give one entry a 16x16 block of H.264 and HEVC pictures. Whether they mean what their names say is
left to `nvdec_trial`; turning blocks into cells, to `kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from codecsieve.codec.nvdec_packets import NvdecError

BLOCK = 16
"""Side of a block of the statistics, in luma samples."""
FIELDS = ("qp_luma", "cu_type", "mv0_x", "mv0_y", "mv1_x", "mv1_y")
"""What ParseDecodeStats gives, in this order where it gives a tuple; newer versions may add more."""
INTER_TYPES = (1, 2)
"""cu_type of blocks predicted from other pictures: INTER, SKIP (0 is INTRA, 3 is PCM)."""


@dataclass(frozen=True)
class BlockStatistics:
    """One picture's motion on a grid of 16x16 blocks: R rows, C columns."""

    mv0: np.ndarray
    """int16 [R, C, 2], quarter-pel, x then y: to the reference picture of list 0."""
    mv1: np.ndarray
    """int16 [R, C, 2]: of list 1."""
    inter: np.ndarray
    """uint8 [R, C]: 1 where the block is predicted from another picture."""


def block_statistics(parsed: tuple[Any, ...] | dict[str, Any], height: int, width: int) -> BlockStatistics:
    """The statistics of one picture.

    Args:
        parsed: what ParseDecodeStats gave: lists in raster order of blocks, by the order or by the names of FIELDS.
        height: luma rows of the picture; the blocks cover it, and perhaps more of the coded picture.
        width: luma samples a row.

    Raises NvdecError where the lists do not cover the picture.
    """
    named = parsed if isinstance(parsed, dict) else dict(zip(FIELDS, parsed, strict=False))
    missing = [name for name in FIELDS[1:] if name not in named]
    if missing:
        raise NvdecError(f"NVDEC's decode statistics lack {', '.join(missing)}")
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    fields = {name: np.asarray(named[name]).reshape(-1) for name in FIELDS[1:]}
    counts = {len(field) for field in fields.values()}
    if counts != {rows * columns}:
        given = ", ".join(map(str, sorted(counts)))
        raise NvdecError(f"NVDEC's decode statistics have {given} blocks, not {rows} x {columns}")
    grids = {name: field.reshape(rows, columns) for name, field in fields.items()}
    return BlockStatistics(
        mv0=np.stack([grids["mv0_x"], grids["mv0_y"]], axis=-1).astype(np.int16),
        mv1=np.stack([grids["mv1_x"], grids["mv1_y"]], axis=-1).astype(np.int16),
        inter=np.isin(grids["cu_type"], INTER_TYPES).astype(np.uint8),
    )
