"""Definition of block search: the motion and residual of a picture at model resolution, for any codec.

The luma is brought to model resolution by area average and halved twice. Blocks of 8x8 pixels are matched
against the previous picture by least sum of absolute differences: over every displacement in the coarsest
level, then at each finer level around twice the vector of the block above. Samples outside a picture repeat
its border. Which pictures are compared is left to `codec`.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.geometry import CELL
from codecsieve.kernels.resample import TAP_BITS, Taps

BLOCK = 8
"""Pixels of a block's side, at every level."""
REACHES = (16, 8, 4)
"""Largest displacement in x and in y at each level, the finest first; the coarsest is searched whole."""
KEY_BITS = 6
"""Bits of each lesser field of a cost: the length of a vector, its y and its x."""
KEY_ZERO = 1 << (KEY_BITS - 1)
"""What stands for 0 in the fields of y and x, which hold no sign."""

Picture = npt.NDArray[np.uint8]
Pyramid = tuple[Picture, ...]
Vectors = npt.NDArray[np.int16]


def area_resize(
    plane: npt.NDArray[np.unsignedinteger],
    top: int,
    left: int,
    rows_taps: Taps,
    columns_taps: Taps,
    depth: int,
) -> Picture:
    """Luma at model resolution, by area average.

    Rows of samples are weighed first, exactly, then columns, rounded once.

    Args:
        plane: uint8 or uint16 [rows, stride], the decoded luma as coded.
        top: first shown row of the plane.
        left: first shown column.
        rows_taps: `resample.area_taps` of the crop's rows, counted from the first shown one.
        columns_taps: the same of its columns.
        depth: bits a sample; those below the upper 8 are dropped first.

    Returns:
        uint8 [rows of the crop, columns of the crop].
    """
    rows = top + rows_taps.first[:, None] + np.arange(rows_taps.weights.shape[1])
    columns = left + columns_taps.first[:, None] + np.arange(columns_taps.weights.shape[1])
    samples = plane.astype(np.int64) >> (depth - 8)
    strips = (rows_taps.weights[:, :, None] * samples[rows]).sum(axis=1)
    total = (columns_taps.weights * strips[:, columns]).sum(axis=-1)
    return ((total + (1 << (2 * TAP_BITS - 1))) >> (2 * TAP_BITS)).astype(np.uint8)


def pyramid(luma: Picture) -> Pyramid:
    """The levels that are searched: uint8 [S, S], then 2x2 means, rounded; an odd last row repeats."""
    levels = [luma]
    for _ in REACHES[1:]:
        rows, columns = levels[-1].shape
        even = np.pad(levels[-1], ((0, rows % 2), (0, columns % 2)), mode="edge").astype(np.int64)
        total = even[::2, ::2] + even[::2, 1::2] + even[1::2, ::2] + even[1::2, 1::2]
        levels.append(((total + 2) >> 2).astype(np.uint8))
    return tuple(levels)


def search_motion(current: Picture, previous: Picture) -> Vectors:
    """Where each block was in the previous picture: `previous[y + dy, x + dx]` matches `current[y, x]`.

    Args:
        current: uint8 [S, S], luma at model resolution.
        previous: same shape.

    Returns:
        vectors: int16 [ceil(S / 8), ceil(S / 8), 2], whole pixels, x then y, at most 16 in each.

    Raises:
        ValueError: the two differ in shape.
    """
    return search_pyramids(pyramid(current), pyramid(previous))


def search_signals(current: Pyramid, previous: Pyramid) -> tuple[Vectors, Picture]:
    """The signals of a picture, found by block search.

    Args:
        current: its `pyramid`, of S x S pixels.
        previous: that of the picture before it in display order.

    Returns:
        motion: int16 [ceil(S / 4), ceil(S / 4), 2], quarter-pel, x then y, each cell that of its block.
        residual: uint8 [S, S], abs(current - previous displaced by the motion).

    Raises:
        ValueError: the two differ in shape.
    """
    vectors = search_pyramids(current, previous)
    rows, columns = current[0].shape
    of_pixels = vectors.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[:rows, :columns].astype(np.int64)
    y = np.clip(np.arange(rows)[:, None] + of_pixels[..., 1], 0, rows - 1)
    x = np.clip(np.arange(columns) + of_pixels[..., 0], 0, columns - 1)
    residual = np.abs(current[0].astype(np.int64) - previous[0][y, x]).astype(np.uint8)
    return 4 * vector_cells(vectors, rows, columns), residual


def difference_signals(current: Picture, previous: Picture) -> tuple[Vectors, Picture]:
    """The signals of a picture without a search: no motion, and what changed.

    Args:
        current: uint8 [S, S], luma at model resolution.
        previous: that of the picture before it in display order.

    Returns:
        motion: int16 [ceil(S / 4), ceil(S / 4), 2], zeros.
        residual: uint8 [S, S], abs(current - previous).
    """
    rows, columns = current.shape
    motion = np.zeros((-(-rows // CELL), -(-columns // CELL), 2), np.int16)
    return motion, np.maximum(current, previous) - np.minimum(current, previous)


def search_pyramids(current: Pyramid, previous: Pyramid) -> Vectors:
    """`search_motion` of pictures whose pyramids are there already."""
    check_pyramids(current, previous)
    everywhere = [(dx, dy) for dy, dx in product(range(-REACHES[-1], REACHES[-1] + 1), repeat=2)]
    vectors = np.zeros((0, 0, 2), np.int16)
    for level in reversed(range(len(REACHES))):
        rows, columns = (-(-side // BLOCK) for side in current[level].shape)
        coarser, vectors = vectors, np.zeros((rows, columns, 2), np.int16)
        reach = REACHES[level]
        bordered = np.pad(previous[level], reach, mode="edge").astype(np.int64)
        for row, column in product(range(rows), range(columns)):
            tried = candidates(coarser, row // 2, column // 2, reach) if coarser.size else everywhere
            vectors[row, column] = match_block(current[level], bordered, row, column, reach, tried)
    return vectors


def candidates(coarser: Vectors, row: int, column: int, reach: int) -> list[tuple[int, int]]:
    """Displacements, x then y, that the blocks below block (row, column) of the coarser level try.

    Twice its vector and what is next to that, twice the vectors of its four neighbours, and none at all.
    """
    x, y = (2 * int(value) for value in coarser[row, column])
    tried = [(x + dx, y + dy) for dy, dx in product((-1, 0, 1), repeat=2)]
    for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
        if 0 <= r < coarser.shape[0] and 0 <= c < coarser.shape[1]:
            tried.append((2 * int(coarser[r, c, 0]), 2 * int(coarser[r, c, 1])))
    return [(min(max(x, -reach), reach), min(max(y, -reach), reach)) for x, y in [*tried, (0, 0)]]


def match_block(
    current: Picture,
    bordered: npt.NDArray[np.int64],
    row: int,
    column: int,
    reach: int,
    tried: list[tuple[int, int]],
) -> tuple[int, int]:
    """Least-cost displacement of a block; `bordered` is the previous picture and `reach` pixels around."""
    y, x = row * BLOCK, column * BLOCK
    block = current[y : y + BLOCK, x : x + BLOCK].astype(np.int64)

    def difference(dx: int, dy: int) -> int:
        top, left = y + reach + dy, x + reach + dx
        return int(np.abs(block - bordered[top : top + block.shape[0], left : left + block.shape[1]]).sum())

    return vector_of(min(cost(difference(dx, dy), dx, dy) for dx, dy in tried))


def cost(difference: int, dx: int, dy: int) -> int:
    """Sum of absolute differences, then the vector's length |dx| + |dy|, then dy, then dx, as one integer.

    No two displacements cost the same, so the order in which they are tried does not matter.
    """
    length = (difference << KEY_BITS) + abs(dx) + abs(dy)
    return (((length << KEY_BITS) + dy + KEY_ZERO) << KEY_BITS) + dx + KEY_ZERO


def vector_of(least: int) -> tuple[int, int]:
    """The displacement, x then y, that a cost holds."""
    field = (1 << KEY_BITS) - 1
    return (least & field) - KEY_ZERO, (least >> KEY_BITS & field) - KEY_ZERO


def vector_cells(vectors: Vectors, rows: int, columns: int) -> Vectors:
    """Vectors of the blocks of a picture, to its cells: [ceil(rows / 4), ceil(columns / 4), 2]."""
    each = BLOCK // CELL
    return vectors.repeat(each, axis=0).repeat(each, axis=1)[: -(-rows // CELL), : -(-columns // CELL)]


def check_pyramids(current: Pyramid, previous: Pyramid) -> None:
    """Raise ValueError unless two pyramids are of the same picture size."""
    ours, theirs = [level.shape for level in current], [level.shape for level in previous]
    if ours != theirs:
        raise ValueError(f"current levels {ours} and previous levels {theirs} must have the same shapes")
