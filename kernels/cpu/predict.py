"""Fast CPU form of `kernels.reference.predict`: the same functions, the same bits.

Neighbouring blocks with the same vector are predicted together, as a strip 8 or 16 rows high, straight from the
reference picture's samples; only a strip that reaches outside the picture is first copied with its border
repeated. Offsets are made unsigned (`uintp`) before the loops that use them: a signed one could count from the
end, and the check for that keeps a loop scalar. Sums are cut back to int32 for the same reason.
"""

from __future__ import annotations

import numpy as np
from numba import int32, njit, uintp

from codecsieve.kernels.reference.predict import BLOCK, LIST_0, LIST_1, SIX_TAP

ONE, TWO, THREE, FOUR, FIVE = uintp(1), uintp(2), uintp(3), uintp(4), uintp(5)


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
            column = (start + FOUR * j) // side
            used = lists[row, column] & LIST_0
            motion[i, j, 0] = vectors[row, column, 0, 0] if used else 0
            motion[i, j, 1] = vectors[row, column, 0, 1] if used else 0
    return motion


@njit(cache=True, nogil=True)
def _fetch(reference: np.ndarray, width: int, y: int, x: int, high: int, n: int, window: np.ndarray) -> None:
    """The high x n samples from (y, x) on, the picture's border repeated outside it."""
    height = reference.shape[0]
    for i in range(high):
        row = min(max(y + i, 0), height - 1)
        for j in range(n):
            window[i, j] = reference[row, min(max(x + j, 0), width - 1)]


@njit(cache=True, nogil=True)
def _copy(source: np.ndarray, y: int, x: int, high: int, n: int, out: np.ndarray, row: int, column: int) -> None:
    """A strip at a whole-sample displacement."""
    y, x, row, column = uintp(y), uintp(x), uintp(row), uintp(column)
    for i in range(uintp(high)):
        for j in range(uintp(n)):
            out[row + i, column + j] = source[y + i, x + j]


@njit(cache=True, nogil=True)
def _across(
    source: np.ndarray, y: int, x: int, high: int, n: int, peak: int, out: np.ndarray, row: int, column: int
) -> None:
    """Half samples between columns, b of H.264 8.4.2.2.1; (y, x) is two columns before the strip."""
    y, x, row, column = uintp(y), uintp(x), uintp(row), uintp(column)
    for i in range(uintp(high)):
        for j in range(uintp(n)):
            k = x + j
            outer = int32(source[y + i, k]) + int32(source[y + i, k + FIVE])
            middle = int32(source[y + i, k + ONE]) + int32(source[y + i, k + FOUR])
            inner = int32(source[y + i, k + TWO]) + int32(source[y + i, k + THREE])
            value = int32(int32(outer - 5 * middle + 20 * inner + 16) >> 5)
            out[row + i, column + j] = min(max(value, int32(0)), peak)


@njit(cache=True, nogil=True)
def _down(
    source: np.ndarray, y: int, x: int, high: int, n: int, peak: int, out: np.ndarray, row: int, column: int
) -> None:
    """Half samples between rows, h; (y, x) is two rows above the strip."""
    y, x, row, column = uintp(y), uintp(x), uintp(row), uintp(column)
    for i in range(uintp(high)):
        k = y + i
        for j in range(uintp(n)):
            outer = int32(source[k, x + j]) + int32(source[k + FIVE, x + j])
            middle = int32(source[k + ONE, x + j]) + int32(source[k + FOUR, x + j])
            inner = int32(source[k + TWO, x + j]) + int32(source[k + THREE, x + j])
            value = int32(int32(outer - 5 * middle + 20 * inner + 16) >> 5)
            out[row + i, column + j] = min(max(value, int32(0)), peak)


@njit(cache=True, nogil=True)
def _both(
    source: np.ndarray,
    y: int,
    x: int,
    high: int,
    n: int,
    peak: int,
    raw: np.ndarray,
    out: np.ndarray,
    row: int,
    column: int,
) -> None:
    """Half samples between rows and columns, j; (y, x) is two rows above and two columns before the strip."""
    y, x, row, column = uintp(y), uintp(x), uintp(row), uintp(column)
    for i in range(uintp(high + 5)):
        for j in range(uintp(n)):
            k = x + j
            outer = int32(source[y + i, k]) + int32(source[y + i, k + FIVE])
            middle = int32(source[y + i, k + ONE]) + int32(source[y + i, k + FOUR])
            inner = int32(source[y + i, k + TWO]) + int32(source[y + i, k + THREE])
            raw[i, j] = outer - 5 * middle + 20 * inner
    for i in range(uintp(high)):
        for j in range(uintp(n)):
            outer = raw[i, j] + raw[i + FIVE, j]
            middle = raw[i + ONE, j] + raw[i + FOUR, j]
            inner = raw[i + TWO, j] + raw[i + THREE, j]
            value = int32(int32(outer - 5 * middle + 20 * inner + 512) >> 10)
            out[row + i, column + j] = min(max(value, int32(0)), peak)


@njit(cache=True, nogil=True)
def _bilinear(
    source: np.ndarray, y: int, x: int, dx: int, dy: int, high: int, n: int, out: np.ndarray, row: int, column: int
) -> None:
    a, b = int32((4 - dx) * (4 - dy)), int32(dx * (4 - dy))
    c, d = int32((4 - dx) * dy), int32(dx * dy)
    y, x, row, column = uintp(y), uintp(x), uintp(row), uintp(column)
    for i in range(uintp(high)):
        for j in range(uintp(n)):
            k = x + j
            value = a * int32(source[y + i, k]) + b * int32(source[y + i, k + ONE])
            value += c * int32(source[y + i + ONE, k]) + d * int32(source[y + i + ONE, k + ONE])
            out[row + i, column + j] = int32(value + 8) >> 4


@njit(cache=True, nogil=True)
def _average(out: np.ndarray, row: int, column: int, other: np.ndarray, y: int, x: int, high: int, n: int) -> None:
    """A strip becomes the rounded-up average of itself and another: (a + b + 1) >> 1 without a wider type."""
    y, x, row, column = uintp(y), uintp(x), uintp(row), uintp(column)
    for i in range(uintp(high)):
        for j in range(uintp(n)):
            a, b = out[row + i, column + j], other[y + i, x + j]
            out[row + i, column + j] = (a | b) - ((a ^ b) >> 1)


@njit(cache=True, nogil=True)
def _predict(
    reference: np.ndarray,
    width: int,
    y: int,
    x: int,
    high: int,
    n: int,
    vector_x: int,
    vector_y: int,
    taps: int,
    peak: int,
    window: np.ndarray,
    raw: np.ndarray,
    spare: np.ndarray,
    out: np.ndarray,
    row: int,
) -> None:
    """Prediction of the strip of high rows and n samples at (y, x) into the row buffer, from (row, x) on."""
    top, left = y + (vector_y >> 2), x + (vector_x >> 2)
    dx, dy = vector_x & 3, vector_y & 3
    source = reference
    before, after = (0, 0) if dx == 0 and dy == 0 else (2, 3)
    if top < before or left < before or top + high + after > reference.shape[0] or left + n + after > width:
        _fetch(reference, width, top - 2, left - 2, high + 5, n + 5, window)
        source, top, left = window, 2, 2
    right, below = left + (dx == 3), top + (dy == 3)
    if dx == 0 and dy == 0:
        _copy(source, top, left, high, n, out, row, x)
    elif taps != SIX_TAP:
        _bilinear(source, top, left, dx, dy, high, n, out, row, x)
    elif dy == 0:
        _across(source, top, left - 2, high, n, peak, out, row, x)
        if dx != 2:
            _average(out, row, x, source, top, right, high, n)
    elif dx == 0:
        _down(source, top - 2, left, high, n, peak, out, row, x)
        if dy != 2:
            _average(out, row, x, source, below, left, high, n)
    elif dx == 2 or dy == 2:
        _both(source, top - 2, left - 2, high, n, peak, raw, out, row, x)
        if dy != 2:
            _across(source, below, left - 2, high, n, peak, spare, 0, 0)
            _average(out, row, x, spare, 0, 0, high, n)
        elif dx != 2:
            _down(source, top - 2, right, high, n, peak, spare, 0, 0)
            _average(out, row, x, spare, 0, 0, high, n)
    else:
        _across(source, below, left - 2, high, n, peak, out, row, x)
        _down(source, top - 2, right, high, n, peak, spare, 0, 0)
        _average(out, row, x, spare, 0, 0, high, n)


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
def _residual(
    picture: np.ndarray,
    past: np.ndarray,
    older: np.ndarray,
    pasts: int,
    future: np.ndarray,
    futures: int,
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
    shift = bit_depth - 8
    crop_top, crop_left, height, shown_width = shown
    blocks = lists.shape[1]
    capacity = blocks * BLOCK + 64
    window = np.empty((21, capacity), picture.dtype)
    raw = np.empty((21, capacity), np.int32)
    spare = np.empty((16, capacity), picture.dtype)
    best = np.zeros((16, capacity), picture.dtype)
    trial = np.zeros((16, capacity), picture.dtype)
    ahead = np.zeros((16, capacity), picture.dtype)
    least = np.zeros((2, blocks), np.int32)
    errors = np.zeros((2, blocks), np.int32)
    tried = np.zeros((2, blocks), np.bool_)
    strips = np.zeros((2 * blocks, 4), np.int64)
    for pair in range(0, lists.shape[0], 2):
        y = pair * BLOCK
        rows = min(2 * BLOCK, picture.shape[0] - y)
        count = _find_strips(keys, lists, pair, strips)
        for k in range(count):
            row, column, end, tall = strips[k, 0], strips[k, 1], strips[k, 2], strips[k, 3]
            used = lists[row, column] if futures else lists[row, column] & LIST_0
            at, top, x = (row - pair) * BLOCK, row * BLOCK, column * BLOCK
            high, n = min(tall * BLOCK, picture.shape[0] - top), min(end * BLOCK, width) - x
            ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
            bx, by = vectors[row, column, 1, 0], vectors[row, column, 1, 1]
            if used == LIST_1:
                _predict(future, width, top, x, high, n, bx, by, taps, peak, window, raw, spare, best, at)
            elif used == 0:
                _predict(past, width, top, x, high, n, 0, 0, taps, peak, window, raw, spare, best, at)
            else:
                _predict(past, width, top, x, high, n, ax, ay, taps, peak, window, raw, spare, best, at)
                if used & LIST_1:
                    _predict(future, width, top, x, high, n, bx, by, taps, peak, window, raw, spare, ahead, at)
                    _average(best, at, x, ahead, at, x, high, n)
        _difference(picture, y, rows, width, best, sums, least)
        if pasts > 1:
            tried[:] = False
            for k in range(count):
                row, column, end, tall = strips[k, 0], strips[k, 1], strips[k, 2], strips[k, 3]
                used = lists[row, column] if futures else lists[row, column] & LIST_0
                half = row - pair
                worst = 0
                for other in range(half, half + tall):
                    for block in range(column, end):
                        worst = max(worst, least[other, block])
                if used & LIST_0 and worst > 0:
                    at, top, x = half * BLOCK, row * BLOCK, column * BLOCK
                    high, n = min(tall * BLOCK, picture.shape[0] - top), min(end * BLOCK, width) - x
                    ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
                    _predict(older, width, top, x, high, n, ax, ay, taps, peak, window, raw, spare, trial, at)
                    if used & LIST_1:
                        _average(trial, at, x, ahead, at, x, high, n)
                    for other in range(half, half + tall):
                        for block in range(column, end):
                            tried[other, block] = True
            _difference(picture, y, rows, width, trial, sums, errors)
            for half in range(2):
                for block in range(blocks):
                    if tried[half, block] and errors[half, block] < least[half, block]:
                        start = uintp(block * BLOCK)
                        for i in range(half * BLOCK, min(half * BLOCK + BLOCK, rows)):
                            for j in range(uintp(BLOCK)):
                                best[i, start + j] = trial[i, start + j]
        for i in range(max(0, crop_top - y), min(rows, crop_top + height - y)):
            start = uintp(crop_left)
            if shift == 0:
                for j in range(uintp(shown_width)):
                    result[y + i - crop_top, j] = best[i, start + j]
            else:
                for j in range(uintp(shown_width)):
                    result[y + i - crop_top, j] = min(best[i, start + j] >> shift, 255)


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
    # A block's four numbers seen as one: equal motion is then one comparison.
    keys = vectors.reshape(*lists.shape, 4).view(np.int64)[..., 0]
    later = picture if future is None else future
    _residual(
        picture, past[0], past[-1], len(past), later, future is not None,
        vectors, keys, lists, shown, width, taps, bit_depth, sums, result,
    )  # fmt: skip
    return result
