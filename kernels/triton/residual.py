"""What a picture has besides the vectors of its block search, on a GPU: `reference.search.search_signals`.

One launch gives the residual of all pictures of a batch and counts its values, which saves a second reading. The
vectors come from `search`; what counts as a large residual is read off the counts elsewhere.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from codecsieve.kernels.cupy.launch import check_arguments
from codecsieve.kernels.geometry import CELL
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.reference import search as reference
from codecsieve.kernels.triton.search import check_levels

PIXELS = 4096
"""Pixels of a program."""
QUARTERS = 4
"""Quarter-pels of a whole pixel."""

_BLOCK = tl.constexpr(reference.BLOCK)
_VALUES = tl.constexpr(256)


def search_residual(current: Levels, previous: Levels, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the vectors leave of each picture, and how often it has each value.

    Args:
        current: pyramids of n pictures of S x S; only their finest level is read.
        previous: pyramids of the n pictures before them in display order.
        vectors: int16 [n, blocks, blocks, 2], from `search.search_vectors`.

    Returns:
        residual: uint8 [n, S, S], abs(current - previous displaced by the vectors).
        histogram: int32 [n, 256], how many pixels have each residual; see `reference.energy.residual_histogram`.

    Raises:
        ValueError: the arrays do not belong together, or one is not contiguous or on another device.
    """
    check_levels(current, previous)
    shape, n = current.shapes[0], len(current.arrays[0])
    check_vectors(vectors, n, shape.blocks)
    check_arguments((current.arrays[0], vectors))
    residual = vectors.new_empty((n, shape.side, shape.side), dtype=torch.uint8)
    histogram = vectors.new_zeros((n, 256), dtype=torch.int32)
    programs = triton.cdiv(shape.side**2, PIXELS)
    with torch.cuda.device_of(vectors):
        _residual_kernel[(n * programs,)](
            current.arrays[0],
            previous.arrays[0],
            vectors,
            residual,
            histogram,
            side=shape.side,
            reach=shape.reach,
            blocks=shape.blocks,
            rows=shape.rows,
            pitch=shape.pitch,
            programs=programs,
            pixels=PIXELS,
            num_warps=8,
            enable_fp_fusion=False,
        )
    return residual, histogram


def vector_cells(vectors: torch.Tensor, size: int) -> torch.Tensor:
    """The motion of each cell: that of its block.

    Args:
        vectors: int16 [n, blocks, blocks, 2], whole pixels, x then y.
        size: of the pictures, in pixels.

    Returns:
        int16 [n, Hc, Wc, 2], quarter-pel, x then y, with Hc = Wc = ceil(size / 4).

    Raises:
        ValueError: there are more or fewer blocks than pictures of this size have.
    """
    check_vectors(vectors, len(vectors), -(-size // reference.BLOCK))
    each, cells = reference.BLOCK // CELL, -(-size // CELL)
    motion = (QUARTERS * vectors).repeat_interleave(each, 1).repeat_interleave(each, 2)
    return motion[:, :cells, :cells].contiguous()


def check_vectors(vectors: torch.Tensor, n: int, blocks: int) -> None:
    """Raise ValueError unless vectors are those of n pictures of `blocks` x `blocks` blocks."""
    if vectors.dtype != torch.int16 or vectors.shape != (n, blocks, blocks, 2):
        raise ValueError(f"vectors ({vectors.dtype} {tuple(vectors.shape)}) must be int16 {(n, blocks, blocks, 2)}")


@triton.jit
def _residual_kernel(
    current: tl.tensor,
    previous: tl.tensor,
    vectors: tl.tensor,
    residual: tl.tensor,
    histogram: tl.tensor,
    side: tl.constexpr,
    reach: tl.constexpr,
    blocks: tl.constexpr,
    rows: tl.constexpr,
    pitch: tl.constexpr,
    programs: tl.constexpr,
    pixels: tl.constexpr,
) -> None:
    """The residual of `pixels` pixels of a picture, and their part of its histogram.

    current, previous: uint8 [n, rows, pitch], see `LevelShape`. vectors: int16 [n, blocks, blocks, 2]. residual: uint8
    [n, side, side], the result. histogram: int32 [n, 256], zeros, the result. programs: that share a picture.
    """
    picture = (tl.program_id(0) // programs).to(tl.int64)
    current += picture * (rows * pitch)
    previous += picture * (rows * pitch)
    vectors += picture * (2 * blocks * blocks)
    residual += picture * (side * side)
    histogram += picture * _VALUES

    pixel = tl.program_id(0) % programs * pixels + tl.arange(0, pixels)
    inside = pixel < side * side
    # Threads beyond the last pixel read it again: no load needs a mask.
    pixel = tl.minimum(pixel, side * side - 1)
    y, x = pixel // side, pixel % side
    vector = 2 * (y // _BLOCK * blocks + x // _BLOCK)
    dx, dy = tl.load(vectors + vector).to(tl.int32), tl.load(vectors + vector + 1).to(tl.int32)
    here = (reach + y) * pitch + reach + x
    ours = tl.load(current + here).to(tl.int32)
    theirs = tl.load(previous + (here + dy * pitch + dx)).to(tl.int32)
    difference = tl.abs(ours - theirs)
    tl.store(residual + pixel, difference.to(tl.uint8), mask=inside)

    value = tl.arange(0, _VALUES)
    counts = tl.histogram(difference, _VALUES, mask=inside)
    tl.atomic_add(histogram + value, counts, mask=counts > 0, sem="relaxed")
