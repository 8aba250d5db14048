"""Fast CPU form of `kernels.reference.predict`: the same functions, the same bits.

Neighbouring blocks with the same vector are predicted together, as a strip 8 or 16 rows high: the longer the inner
loops, the more of them the compiler turns into vector instructions. The filters are in `interpolate`.
"""

from __future__ import annotations

import numpy as np
from numba import int32, njit, uintp

from codecsieve.kernels.cpu.interpolate import average_strip, predict_strip
from codecsieve.kernels.reference.predict import BLOCK, LIST_0, LIST_1

CELL = uintp(4)


@njit(cache=True, nogil=True)
def block_motion(
    source: np.ndarray,
    w: np.ndarray,
    h: np.ndarray,
    dst_x: np.ndarray,
    dst_y: np.ndarray,
    motion_x: np.ndarray,
    motion_y: np.ndarray,
    motion_scale: np.ndarray,
    rows: int,
    columns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """See `reference.predict.block_motion`."""
    vectors = np.zeros((rows, columns, 2, 2), np.int16)
    lists = np.zeros((rows, columns), np.uint8)
    for k in range(len(source)):
        index = 0 if source[k] < 0 else 1
        bit = LIST_1 if index else LIST_0
        high, wide = int(h[k]), int(w[k])
        top = (int(dst_y[k]) - high // 2) // BLOCK
        left = (int(dst_x[k]) - wide // 2) // BLOCK
        bottom = min(top + max(high // BLOCK, 1), rows)
        right = min(left + max(wide // BLOCK, 1), columns)
        x, y, scale = int(motion_x[k]), int(motion_y[k]), max(int(motion_scale[k]), 1)
        if scale != 4:  # almost always quarter-pel already, and a division takes longer than all the rest
            x, y = x * 4 // scale, y * 4 // scale
        x, y = min(max(x, -32768), 32767), min(max(y, -32768), 32767)
        for row in range(max(top, 0), bottom):
            for column in range(max(left, 0), right):
                vectors[row, column, index, 0] = x
                vectors[row, column, index, 1] = y
                lists[row, column] |= bit
    return vectors, lists


@njit(cache=True, nogil=True)
def cell_motion(vectors: np.ndarray, lists: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """See `reference.predict.cell_motion`."""
    motion = np.empty(((height + 3) // 4, (width + 3) // 4, 2), np.int16)
    start, side = uintp(left), uintp(BLOCK)
    for i in range(motion.shape[0]):
        row = uintp((top + 4 * i) // BLOCK)
        for j in range(uintp(motion.shape[1])):
            column = (start + CELL * j) // side
            used = lists[row, column] & LIST_0
            motion[i, j, 0] = vectors[row, column, 0, 0] if used else 0
            motion[i, j, 1] = vectors[row, column, 0, 1] if used else 0
    return motion


@njit(cache=True, nogil=True)
def _difference(
    picture: np.ndarray, y: int, rows: int, width: int, predicted: np.ndarray, sums: np.ndarray, errors: np.ndarray
) -> None:
    """Predicted [rows, ...] becomes abs(picture - predicted); errors [2, blocks] its sum by block."""
    for half in range(2):
        for x in range(len(sums)):
            sums[x] = 0
        for i in range(half * BLOCK, min(half * BLOCK + BLOCK, rows)):
            for x in range(width):
                a, b = picture[y + i, x], predicted[i, x]
                value = max(a, b) - min(a, b)
                predicted[i, x] = value
                sums[x] += value
        for block in range(errors.shape[1]):
            error = 0
            for x in range(block * BLOCK, block * BLOCK + BLOCK):
                error += sums[x]
            errors[half, block] = error


@njit(cache=True, nogil=True)
def _find_strips(keys: np.ndarray, lists: np.ndarray, row: int, strips: np.ndarray) -> int:
    """Strips of equal motion in the two rows of blocks from `row` on: (row, first column, end, blocks high)."""
    columns = lists.shape[1]
    two = row + 1 < lists.shape[0]
    lower = row + 1 if two else row
    count = 0
    for top in range(row, lower + 1):
        column = 0
        while column < columns:
            key, used = keys[top, column], lists[top, column]
            tall = two and keys[row, column] == keys[lower, column] and lists[row, column] == lists[lower, column]
            end = column + 1
            while end < columns and keys[top, end] == key and lists[top, end] == used:
                if two and tall != (keys[row, end] == keys[lower, end] and lists[row, end] == lists[lower, end]):
                    break
                end += 1
            if not (tall and top == lower):  # the lower half of a tall strip went with the upper
                strips[count, 0], strips[count, 1] = top, column
                strips[count, 2], strips[count, 3] = end, 2 if tall else 1
                count += 1
            column = end
    return count


@njit(cache=True, nogil=True)
def _predict_nearest(
    past: np.ndarray,
    future: np.ndarray,
    vectors: np.ndarray,
    lists: np.ndarray,
    strips: np.ndarray,
    pair: int,
    size: tuple[int, int],
    taps: int,
    peak: int,
    work: tuple[np.ndarray, np.ndarray, np.ndarray],
    ahead: np.ndarray,
    out: np.ndarray,
) -> None:
    """Two rows of blocks from `pair` on predicted from the nearest pictures; `ahead` keeps what the future gave."""
    window, raw, spare = work
    for k in range(len(strips)):
        row, column, end, tall = strips[k, 0], strips[k, 1], strips[k, 2], strips[k, 3]
        used = lists[row, column]
        at, top, x = (row - pair) * BLOCK, row * BLOCK, column * BLOCK
        high, n = min(tall * BLOCK, size[0] - top), min(end * BLOCK, size[1]) - x
        ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
        bx, by = vectors[row, column, 1, 0], vectors[row, column, 1, 1]
        if used == LIST_1:
            predict_strip(future, size[1], top, x, high, n, bx, by, taps, peak, window, raw, spare, out, at)
            continue
        if used == 0:
            ax = ay = np.int16(0)
        predict_strip(past, size[1], top, x, high, n, ax, ay, taps, peak, window, raw, spare, out, at)
        if used & LIST_1:
            predict_strip(future, size[1], top, x, high, n, bx, by, taps, peak, window, raw, spare, ahead, at)
            average_strip(out, at, x, ahead, at, x, high, n)


@njit(cache=True, nogil=True)
def _predict_older(
    older: np.ndarray,
    vectors: np.ndarray,
    lists: np.ndarray,
    strips: np.ndarray,
    pair: int,
    size: tuple[int, int],
    taps: int,
    peak: int,
    work: tuple[np.ndarray, np.ndarray, np.ndarray],
    ahead: np.ndarray,
    least: np.ndarray,
    tried: np.ndarray,
    out: np.ndarray,
) -> None:
    """The same from the older candidate of list 0, for strips with an error left; `tried` [2, blocks] says which."""
    window, raw, spare = work
    tried[:] = False
    for k in range(len(strips)):
        row, column, end, tall = strips[k, 0], strips[k, 1], strips[k, 2], strips[k, 3]
        half = row - pair
        worst = 0
        for other in range(half, half + tall):
            for block in range(column, end):
                worst = max(worst, least[other, block])
        if not lists[row, column] & LIST_0 or worst == 0:
            continue
        at, top, x = half * BLOCK, row * BLOCK, column * BLOCK
        high, n = min(tall * BLOCK, size[0] - top), min(end * BLOCK, size[1]) - x
        ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
        predict_strip(older, size[1], top, x, high, n, ax, ay, taps, peak, window, raw, spare, out, at)
        if lists[row, column] & LIST_1:
            average_strip(out, at, x, ahead, at, x, high, n)
        for other in range(half, half + tall):
            for block in range(column, end):
                tried[other, block] = True


@njit(cache=True, nogil=True)
def _keep_better(
    least: np.ndarray, errors: np.ndarray, tried: np.ndarray, rows: int, trial: np.ndarray, best: np.ndarray
) -> None:
    """Blocks of `trial` whose error is the smaller go into `best`."""
    for half in range(2):
        for block in range(least.shape[1]):
            if tried[half, block] and errors[half, block] < least[half, block]:
                start = uintp(block * BLOCK)
                for i in range(half * BLOCK, min(half * BLOCK + BLOCK, rows)):
                    for j in range(uintp(BLOCK)):
                        best[i, start + j] = trial[i, start + j]


@njit(cache=True, nogil=True)
def _write_shown(
    best: np.ndarray, y: int, rows: int, shown: tuple[int, int, int, int], shift: int, result: np.ndarray
) -> None:
    """The shown part of the rows from y on, brought to 8 bits."""
    top, left, height, width = shown
    start = uintp(left)
    for i in range(max(0, top - y), min(rows, top + height - y)):
        if shift == 0:
            for j in range(uintp(width)):
                result[y + i - top, j] = best[i, start + j]
        else:
            for j in range(uintp(width)):
                result[y + i - top, j] = min(best[i, start + j] >> shift, 255)


@njit(cache=True, nogil=True)
def _residual(
    picture: np.ndarray,
    past: np.ndarray,
    older: np.ndarray,
    pasts: int,
    future: np.ndarray,
    vectors: np.ndarray,
    keys: np.ndarray,
    lists: np.ndarray,
    shown: tuple[int, int, int, int],
    width: int,
    taps: int,
    bit_depth: int,
    sums: np.ndarray,
    result: np.ndarray,
) -> None:
    peak = int32((1 << bit_depth) - 1)
    size = picture.shape[0], width
    blocks = lists.shape[1]
    capacity = blocks * BLOCK + 64
    spare = np.empty((16, capacity), picture.dtype)
    work = np.empty((21, capacity), picture.dtype), np.empty((21, capacity), np.int32), spare
    best = np.zeros((16, capacity), picture.dtype)
    trial = np.zeros((16, capacity), picture.dtype)
    ahead = np.zeros((16, capacity), picture.dtype)
    least, errors = np.zeros((2, blocks), np.int32), np.zeros((2, blocks), np.int32)
    tried = np.zeros((2, blocks), np.bool_)
    found = np.zeros((2 * blocks, 4), np.int64)
    for pair in range(0, lists.shape[0], 2):
        y = pair * BLOCK
        rows = min(2 * BLOCK, picture.shape[0] - y)
        strips = found[: _find_strips(keys, lists, pair, found)]
        _predict_nearest(past, future, vectors, lists, strips, pair, size, taps, peak, work, ahead, best)
        _difference(picture, y, rows, width, best, sums, least)
        if pasts > 1:
            _predict_older(older, vectors, lists, strips, pair, size, taps, peak, work, ahead, least, tried, trial)
            _difference(picture, y, rows, width, trial, sums, errors)
            _keep_better(least, errors, tried, rows, trial, best)
        _write_shown(best, y, rows, shown, bit_depth - 8, result)


COMPILED_LAST = _residual
"""What needs all others of these kernels."""


def prediction_residual(
    picture: np.ndarray,
    past: tuple[np.ndarray, ...],
    future: np.ndarray | None,
    vectors: np.ndarray,
    lists: np.ndarray,
    shown: tuple[int, int, int, int],
    width: int,
    taps: int,
    bit_depth: int,
) -> np.ndarray:
    """See `reference.predict.prediction_residual`."""
    result = np.empty(shown[2:], np.uint8)
    # Eight differences of 8 bits fit 16: the narrower the sum, the more of them fit a vector register.
    sums = np.empty(lists.shape[1] * BLOCK + 64, np.uint16 if bit_depth == 8 else np.int32)
    if future is None:
        lists = lists & LIST_0
    # A block's four numbers seen as one: equal motion is then one comparison.
    keys = vectors.reshape(*lists.shape, 4).view(np.int64)[..., 0]
    later = picture if future is None else future
    _residual(
        picture, past[0], past[-1], len(past), later,
        vectors, keys, lists, shown, width, taps, bit_depth, sums, result,
    )  # fmt: skip
    return result
