"""Fast CPU form of `kernels.reference.search`: the same functions, the same bits.

Neighbouring blocks try much the same displacements. Each is tried once for a row of blocks, as a strip from
the first block to the last that wants it: the longer the inner loops, the more of them the compiler turns
into vector instructions. Offsets are made unsigned (`uintp`) before them, as in `predict`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.reference.search import (
    BLOCK,
    KEY_BITS,
    KEY_ZERO,
    REACHES,
    Picture,
    Pyramid,
    Vectors,
    check_pyramids,
    vector_cells,
)
from codecsieve.kernels.resample import TAP_BITS, Taps

FIELD = (1 << KEY_BITS) - 1
HALF = np.float64(1 << (2 * TAP_BITS - 1))
UNIT = np.float64(1 / (1 << (2 * TAP_BITS)))


@njit(cache=True, nogil=True)
def _area_resize(
    plane: np.ndarray,
    top: int,
    left: int,
    row_first: np.ndarray,
    row_weights: np.ndarray,
    column_first: np.ndarray,
    column_weights: np.ndarray,
    to_8_bits: np.float32,
    out: np.ndarray,
) -> None:
    start = column_first[0]
    taps: int = column_weights.shape[1]
    width = column_first[-1] + taps - start
    offset = uintp(left + start)
    strip = np.empty(width, np.float32)
    for i in range(len(row_first)):
        strip[:] = 0
        for k in range(row_weights.shape[1]):
            weight = row_weights[i, k]
            row = top + row_first[i] + k
            if weight != 0:
                for x in range(uintp(width)):
                    strip[x] += weight * np.floor(plane[row, offset + x] * to_8_bits)
        for j in range(len(column_first)):
            first = uintp(column_first[j] - start)
            total = HALF
            for k in range(uintp(taps)):
                total += column_weights[j, k] * np.float64(strip[first + k])
            out[i, j] = np.int64(total * UNIT)


def area_resize(plane: np.ndarray, top: int, left: int, rows_taps: Taps, columns_taps: Taps, depth: int) -> Picture:
    """See `reference.search.area_resize`."""
    out = np.empty((len(rows_taps.first), len(columns_taps.first)), np.uint8)
    _area_resize(
        plane,
        top,
        left,
        rows_taps.first,
        rows_taps.weights.astype(np.float32),
        columns_taps.first,
        columns_taps.weights.astype(np.float64),
        np.float32(0.5 ** (depth - 8)),
        out,
    )
    return out


@njit(cache=True, nogil=True)
def _halve(picture: np.ndarray) -> np.ndarray:
    rows, columns = picture.shape
    half = np.empty(((rows + 1) // 2, (columns + 1) // 2), np.uint8)
    for i in range(half.shape[0]):
        top, bottom = 2 * i, min(2 * i + 1, rows - 1)
        for j in range(half.shape[1]):
            left, right = 2 * j, min(2 * j + 1, columns - 1)
            total = picture[top, left] + picture[top, right] + picture[bottom, left] + picture[bottom, right]
            half[i, j] = (total + 2) >> 2
    return half


def pyramid(luma: Picture) -> Pyramid:
    """See `reference.search.pyramid`."""
    levels = [luma]
    for _ in REACHES[1:]:
        levels.append(_halve(levels[-1]))
    return tuple(levels)


@njit(cache=True, nogil=True)
def _bordered(picture: np.ndarray, reach: int) -> np.ndarray:
    """A picture with its border repeated on all sides."""
    rows, columns = picture.shape
    out = np.empty((rows + 2 * reach, columns + 2 * reach), np.uint8)
    for i in range(len(out)):
        row = min(max(i - reach, 0), rows - 1)
        out[i, :reach] = picture[row, 0]
        out[i, reach : reach + columns] = picture[row]
        out[i, reach + columns :] = picture[row, columns - 1]
    return out


@njit(cache=True, nogil=True)
def _everywhere(reach: int, tried: np.ndarray, wants: np.ndarray, spans: np.ndarray) -> int:
    """Every displacement, tried by every block; see `_around`."""
    count = 0
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            tried[count, 0], tried[count, 1] = dx, dy
            count += 1
    wants[:count] = True
    spans[:count, 0], spans[:count, 1] = 0, wants.shape[1]
    return count


@njit(cache=True, nogil=True)
def _around(
    coarser: np.ndarray,
    row: int,
    reach: int,
    number: np.ndarray,
    tried: np.ndarray,
    wants: np.ndarray,
    spans: np.ndarray,
) -> int:
    """What the blocks below a row of the coarser level try, by `reference.search.candidates`, and how many.

    tried [n, 2] gets each displacement once, x then y; wants [n, blocks] which blocks of a row try it; spans
    [n, 2] the first of these and the end of the last. number [2 reach + 1, 2 reach + 1] is scratch: where in
    tried a displacement is.
    """
    count = 0
    number[:] = -1
    for column in range(coarser.shape[1]):
        x, y = 2 * coarser[row, column, 0], 2 * coarser[row, column, 1]
        start, end = 2 * column, min(2 * column + 2, wants.shape[1])
        for k in range(14):
            dx, dy = 0, 0
            if k < 9:
                dx, dy = x + k % 3 - 1, y + k // 3 - 1
            elif k < 13:
                r, c = row + (-1, 1, 0, 0)[k - 9], column + (0, 0, -1, 1)[k - 9]
                if r < 0 or r >= coarser.shape[0] or c < 0 or c >= coarser.shape[1]:
                    continue
                dx, dy = 2 * coarser[r, c, 0], 2 * coarser[r, c, 1]
            dx, dy = min(max(dx, -reach), reach), min(max(dy, -reach), reach)
            index = number[dy + reach, dx + reach]
            if index < 0:
                index = number[dy + reach, dx + reach] = count
                tried[index, 0], tried[index, 1] = dx, dy
                wants[index] = False
                spans[index, 0] = start
                count += 1
            wants[index, start:end] = True
            spans[index, 1] = end
    return count


@njit(cache=True, nogil=True)
def _differences(
    current: np.ndarray,
    bordered: np.ndarray,
    y: int,
    x: int,
    rows: int,
    n: int,
    top: int,
    left: int,
    sums: np.ndarray,
) -> None:
    """Column sums of the absolute differences of a strip at (y, x), n wide, and its match at (top, left)."""
    here, there = uintp(x), uintp(left)
    for j in range(uintp(n)):
        sums[j] = 0
    for i in range(rows):
        for j in range(uintp(n)):
            a, b = current[y + i, here + j], bordered[top + i, there + j]
            sums[j] += max(a, b) - min(a, b)


@njit(cache=True, nogil=True)
def _keep_least(sums: np.ndarray, n: int, first: int, wants: np.ndarray, dx: int, dy: int, least: np.ndarray) -> None:
    """Lower the least cost of the blocks from `first` on that want a displacement, by its column sums [n]."""
    key = (((np.int64(abs(dx) + abs(dy)) << KEY_BITS) + dy + KEY_ZERO) << KEY_BITS) + dx + KEY_ZERO
    for start in range(0, n, BLOCK):
        block = first + start // BLOCK
        if wants[block]:
            total = np.int64(0)
            for j in range(uintp(start), uintp(min(start + BLOCK, n))):
                total += sums[j]
            least[block] = min(least[block], (total << (3 * KEY_BITS)) + key)


@njit(cache=True, nogil=True)
def _search_level(
    current: np.ndarray, bordered: np.ndarray, coarser: np.ndarray, reach: int, vectors: np.ndarray
) -> None:
    height, width = current.shape
    blocks = vectors.shape[1]
    number = np.empty((2 * reach + 1, 2 * reach + 1), np.int64)
    tried = np.empty((number.size, 2), np.int64)
    spans = np.empty((number.size, 2), np.int64)
    wants = np.empty((number.size, blocks), np.bool_)
    sums = np.empty(width, np.uint16)
    least = np.empty(blocks, np.int64)
    count = 0
    for row in range(vectors.shape[0]):
        if coarser.size == 0:
            count = count or _everywhere(reach, tried, wants, spans)
        elif row % 2 == 0:
            count = _around(coarser, row // 2, reach, number, tried, wants, spans)
        y = row * BLOCK
        rows = min(BLOCK, height - y)
        least[:] = np.int64(1) << 62
        for k in range(count):
            dx, dy = tried[k, 0], tried[k, 1]
            x = spans[k, 0] * BLOCK
            n = min(spans[k, 1] * BLOCK, width) - x
            _differences(current, bordered, y, x, rows, n, y + reach + dy, x + reach + dx, sums)
            _keep_least(sums, n, spans[k, 0], wants[k], dx, dy, least)
        for column in range(blocks):
            vectors[row, column, 0] = (least[column] & FIELD) - KEY_ZERO
            vectors[row, column, 1] = (least[column] >> KEY_BITS & FIELD) - KEY_ZERO


@njit(cache=True, nogil=True)
def _residual(current: np.ndarray, bordered: np.ndarray, vectors: np.ndarray, reach: int, out: np.ndarray) -> None:
    for y in range(current.shape[0]):
        for column in range(vectors.shape[1]):
            x = column * BLOCK
            n = min(BLOCK, current.shape[1] - x)
            here = uintp(x)
            row = y + reach + vectors[y // BLOCK, column, 1]
            there = uintp(x + reach + vectors[y // BLOCK, column, 0])
            for j in range(uintp(n)):
                a, b = current[y, here + j], bordered[row, there + j]
                out[y, here + j] = max(a, b) - min(a, b)


def search_motion(current: Picture, previous: Picture) -> Vectors:
    """See `reference.search.search_motion`."""
    return search_pyramids(pyramid(current), pyramid(previous))


def search_pyramids(current: Pyramid, previous: Pyramid) -> Vectors:
    """See `reference.search.search_pyramids`."""
    check_pyramids(current, previous)
    vectors = np.zeros((0, 0, 2), np.int16)
    for level in reversed(range(len(REACHES))):
        rows, columns = (-(-side // BLOCK) for side in current[level].shape)
        coarser, vectors = vectors, np.empty((rows, columns, 2), np.int16)
        bordered = _bordered(previous[level], REACHES[level])
        _search_level(current[level], bordered, coarser, REACHES[level], vectors)
    return vectors


def search_signals(current: Pyramid, previous: Pyramid) -> tuple[Vectors, Picture]:
    """See `reference.search.search_signals`."""
    vectors = search_pyramids(current, previous)
    residual = np.empty(current[0].shape, np.uint8)
    _residual(current[0], _bordered(previous[0], REACHES[0]), vectors, REACHES[0], residual)
    return 4 * vector_cells(vectors, *residual.shape), residual
