"""Fast CPU form of `kernels.reference.predict`: the same functions, the same bits.

Neighbouring blocks with the same vector are predicted together, as a strip 8 or 16 rows high: the longer the inner
loops, the more of them the compiler turns into vector instructions. Offsets are made unsigned (`uintp`) before
them: a signed one could count from the end, and the check for that keeps a loop scalar. The filters run in float32, where every sum
is a whole number below 2**24 for up to 12 bits a sample, and so exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.reference.predict import BLOCK, LIST_0, LIST_1, SIX_TAP

F1, F5, F8, F20 = np.float32(1), np.float32(5), np.float32(8), np.float32(20)
F16, F512, ZERO, HALF = np.float32(16), np.float32(512), np.float32(0), np.float32(0.5)
F16TH, F32ND, F1024TH = np.float32(1 / 16), np.float32(1 / 32), np.float32(1 / 1024)


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
        scale = max(int(motion_scale[k]), 1)
        x = min(max(int(motion_x[k]) * 4 // scale, -32768), 32767)
        y = min(max(int(motion_y[k]) * 4 // scale, -32768), 32767)
        for row in range(max(top, 0), bottom):
            for column in range(max(left, 0), right):
                vectors[row, column, index, 0] = x
                vectors[row, column, index, 1] = y
                lists[row, column] |= bit
    return vectors, lists


@njit(cache=True, nogil=True)
def cell_motion(
    vectors: np.ndarray, lists: np.ndarray, top: int, left: int, height: int, width: int
) -> np.ndarray:
    """See `reference.predict.cell_motion`."""
    motion = np.zeros(((height + 3) // 4, (width + 3) // 4, 2), np.int16)
    for i in range(motion.shape[0]):
        row = (top + 4 * i) // BLOCK
        for j in range(motion.shape[1]):
            column = (left + 4 * j) // BLOCK
            if lists[row, column] & LIST_0:
                motion[i, j, 0] = vectors[row, column, 0, 0]
                motion[i, j, 1] = vectors[row, column, 0, 1]
    return motion


@njit(cache=True, nogil=True)
def _fetch(reference: np.ndarray, width: int, y: int, x: int, first: int, last: int, n: int, window: np.ndarray) -> None:
    """Rows first..last of the window whose corner is (y, x), n columns; outside the picture its border repeats."""
    height, stride = reference.shape
    # A few columns too many cost nothing, and whole vectors are much faster than single samples.
    whole = (n + 15) & ~15
    if x >= 0 and x + n <= width and x + whole <= stride:
        start = uintp(x)
        for i in range(first, last):
            row = min(max(y + i, 0), height - 1)
            for j in range(uintp(whole)):
                window[i, j] = reference[row, start + j]
    else:
        for i in range(first, last):
            row = min(max(y + i, 0), height - 1)
            for j in range(n):
                window[i, j] = reference[row, min(max(x + j, 0), width - 1)]


@njit(cache=True, nogil=True)
def _copy(
    reference: np.ndarray, width: int, y: int, x: int, high: int, n: int, out: np.ndarray, row: int, at: int
) -> None:
    """A strip at a whole-sample displacement."""
    height = reference.shape[0]
    if x >= 0 and x + n <= width:
        start, to = uintp(x), uintp(at)
        for i in range(high):
            source = min(max(y + i, 0), height - 1)
            for j in range(uintp(n)):
                out[row + i, to + j] = reference[source, start + j]
    else:
        for i in range(high):
            source = min(max(y + i, 0), height - 1)
            for j in range(n):
                out[row + i, at + j] = reference[source, min(max(x + j, 0), width - 1)]


@njit(cache=True, nogil=True)
def _across(window: np.ndarray, top: int, high: int, n: int, peak: np.float32, out: np.ndarray) -> None:
    """Half samples between columns, b of H.264 8.4.2.2.1."""
    for i in range(high):
        k = top + i
        for j in range(n):
            value = window[k, j] + window[k, j + 5]
            value += F20 * (window[k, j + 2] + window[k, j + 3]) - F5 * (window[k, j + 1] + window[k, j + 4])
            out[i, j] = min(max(np.floor((value + F16) * F32ND), ZERO), peak)


@njit(cache=True, nogil=True)
def _down(window: np.ndarray, left: int, high: int, n: int, peak: np.float32, out: np.ndarray) -> None:
    """Half samples between rows, h."""
    start = uintp(left)
    for i in range(high):
        for j in range(uintp(n)):
            k = start + j
            value = window[i, k] + window[i + 5, k]
            value += F20 * (window[i + 2, k] + window[i + 3, k]) - F5 * (window[i + 1, k] + window[i + 4, k])
            out[i, j] = min(max(np.floor((value + F16) * F32ND), ZERO), peak)


@njit(cache=True, nogil=True)
def _both(window: np.ndarray, raw: np.ndarray, high: int, n: int, peak: np.float32, out: np.ndarray) -> None:
    """Half samples between rows and columns, j."""
    for i in range(high + 5):
        for j in range(n):
            value = window[i, j] + window[i, j + 5]
            value += F20 * (window[i, j + 2] + window[i, j + 3]) - F5 * (window[i, j + 1] + window[i, j + 4])
            raw[i, j] = value
    for i in range(high):
        for j in range(n):
            value = raw[i, j] + raw[i + 5, j]
            value += F20 * (raw[i + 2, j] + raw[i + 3, j]) - F5 * (raw[i + 1, j] + raw[i + 4, j])
            out[i, j] = min(max(np.floor((value + F512) * F1024TH), ZERO), peak)


@njit(cache=True, nogil=True)
def _across_mean(
    window: np.ndarray,
    top: int,
    high: int,
    n: int,
    peak: np.float32,
    other: np.ndarray,
    below: int,
    beside: int,
    out: np.ndarray,
    row: int,
    at: int,
) -> None:
    """Rounded-up average of b and of another strip from (below, beside) on: the quarter samples beside b."""
    start, to = uintp(beside), uintp(at)
    for i in range(high):
        k = top + i
        for j in range(uintp(n)):
            value = window[k, j] + window[k, j + 5]
            value += F20 * (window[k, j + 2] + window[k, j + 3]) - F5 * (window[k, j + 1] + window[k, j + 4])
            half = min(max(np.floor((value + F16) * F32ND), ZERO), peak)
            out[row + i, to + j] = np.int32((half + other[below + i, start + j] + F1) * HALF)


@njit(cache=True, nogil=True)
def _down_mean(
    window: np.ndarray,
    left: int,
    high: int,
    n: int,
    peak: np.float32,
    other: np.ndarray,
    below: int,
    beside: int,
    out: np.ndarray,
    row: int,
    at: int,
) -> None:
    """The same beside h."""
    start, to, first = uintp(beside), uintp(at), uintp(left)
    for i in range(high):
        for j in range(uintp(n)):
            k = first + j
            value = window[i, k] + window[i + 5, k]
            value += F20 * (window[i + 2, k] + window[i + 3, k]) - F5 * (window[i + 1, k] + window[i + 4, k])
            half = min(max(np.floor((value + F16) * F32ND), ZERO), peak)
            out[row + i, to + j] = np.int32((half + other[below + i, start + j] + F1) * HALF)


@njit(cache=True, nogil=True)
def _store(strip: np.ndarray, high: int, n: int, out: np.ndarray, row: int, at: int) -> None:
    to = uintp(at)
    for i in range(high):
        for j in range(uintp(n)):
            out[row + i, to + j] = np.int32(strip[i, j])


@njit(cache=True, nogil=True)
def _bilinear(
    window: np.ndarray, dx: int, dy: int, high: int, n: int, out: np.ndarray, row: int, at: int
) -> None:
    a, b = np.float32((4 - dx) * (4 - dy)), np.float32(dx * (4 - dy))
    c, d = np.float32((4 - dx) * dy), np.float32(dx * dy)
    to = uintp(at)
    for i in range(high):
        for j in range(uintp(n)):
            value = a * window[2 + i, 2 + j] + b * window[2 + i, 3 + j]
            value += c * window[3 + i, 2 + j] + d * window[3 + i, 3 + j]
            out[row + i, to + j] = np.int32((value + F8) * F16TH)


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
    peak: np.float32,
    window: np.ndarray,
    raw: np.ndarray,
    one: np.ndarray,
    out: np.ndarray,
    row: int,
) -> None:
    """Prediction of the strip of high rows and n samples at (y, x) into the row buffer, from (row, x) on."""
    top, left = y + (vector_y >> 2), x + (vector_x >> 2)
    dx, dy = vector_x & 3, vector_y & 3
    if dx == 0 and dy == 0:
        _copy(reference, width, top, left, high, n, out, row, x)
        return
    first, last = (2, high + 3) if dy == 0 else (0, high + 5)
    _fetch(reference, width, top - 2, left - 2, first, last, n + 5, window)
    if taps != SIX_TAP:
        _bilinear(window, dx, dy, high, n, out, row, x)
    elif dx == 0 and dy == 2:
        _down(window, 2, high, n, peak, one)
        _store(one, high, n, out, row, x)
    elif dx == 2 and dy == 0:
        _across(window, 2, high, n, peak, one)
        _store(one, high, n, out, row, x)
    elif dy == 0:
        _across_mean(window, 2, high, n, peak, window, 2, 2 + (dx == 3), out, row, x)
    elif dx == 0:
        _down_mean(window, 2, high, n, peak, window, 2 + (dy == 3), 2, out, row, x)
    elif dx == 2 and dy == 2:
        _both(window, raw, high, n, peak, one)
        _store(one, high, n, out, row, x)
    elif dx == 2:
        _both(window, raw, high, n, peak, one)
        _across_mean(window, 2 + (dy == 3), high, n, peak, one, 0, 0, out, row, x)
    elif dy == 2:
        _both(window, raw, high, n, peak, one)
        _down_mean(window, 2 + (dx == 3), high, n, peak, one, 0, 0, out, row, x)
    else:
        _across(window, 2 + (dy == 3), high, n, peak, one)
        _down_mean(window, 2 + (dx == 3), high, n, peak, one, 0, 0, out, row, x)


@njit(cache=True, nogil=True)
def _average(first: np.ndarray, second: np.ndarray, row: int, x: int, high: int, n: int) -> None:
    """First becomes the rounded-up average of both, in columns x.. of two row buffers."""
    start = uintp(x)
    for i in range(high):
        for j in range(uintp(n)):
            a, b = first[row + i, start + j], second[row + i, start + j]
            first[row + i, start + j] = (a | b) - ((a ^ b) >> 1)  # the rounded-up mean, without a wider type


@njit(cache=True, nogil=True)
def _difference(
    picture: np.ndarray, y: int, rows: int, width: int, predicted: np.ndarray, sums: np.ndarray, errors: np.ndarray
) -> None:
    """Predicted [rows, ...] becomes abs(picture - predicted); errors [2, blocks] its sum by block."""
    for half in range(2):
        sums[:] = 0
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
def _same(vectors: np.ndarray, lists: np.ndarray, row: int, column: int, other_row: int, other_column: int) -> bool:
    """Whether two blocks have the same motion."""
    return (
        lists[row, column] == lists[other_row, other_column]
        and vectors[row, column, 0, 0] == vectors[other_row, other_column, 0, 0]
        and vectors[row, column, 0, 1] == vectors[other_row, other_column, 0, 1]
        and vectors[row, column, 1, 0] == vectors[other_row, other_column, 1, 0]
        and vectors[row, column, 1, 1] == vectors[other_row, other_column, 1, 1]
    )


@njit(cache=True, nogil=True)
def _find_strips(vectors: np.ndarray, lists: np.ndarray, row: int, strips: np.ndarray) -> int:
    """Strips of equal motion in the two rows of blocks from `row` on: (row, first column, end, blocks high)."""
    columns = lists.shape[1]
    two = row + 1 < lists.shape[0]
    count = 0
    for half in range(2 if two else 1):
        top = row + half
        column = 0
        while column < columns:
            tall = two and _same(vectors, lists, row, column, row + 1, column)
            end = column + 1
            while (
                end < columns
                and _same(vectors, lists, top, column, top, end)
                and (two and _same(vectors, lists, row, end, row + 1, end)) == tall
            ):
                end += 1
            if not (tall and half == 1):  # the lower half of a tall strip went with the upper
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
    lists: np.ndarray,
    shown: tuple[int, int, int, int],
    width: int,
    taps: int,
    bit_depth: int,
    result: np.ndarray,
) -> None:
    peak = np.float32((1 << bit_depth) - 1)
    shift = bit_depth - 8
    crop_top, crop_left, height, shown_width = shown
    blocks = lists.shape[1]
    capacity = blocks * BLOCK + 64
    window, raw = np.zeros((21, capacity), np.float32), np.zeros((21, capacity), np.float32)
    one = np.zeros((16, capacity), np.float32)
    best = np.zeros((16, capacity), picture.dtype)
    trial = np.zeros((16, capacity), picture.dtype)
    ahead = np.zeros((16, capacity), picture.dtype)
    sums = np.zeros(capacity, np.uint16)  # 8 differences of up to 12 bits fit
    least = np.zeros((2, blocks), np.int32)
    errors = np.zeros((2, blocks), np.int32)
    tried = np.zeros((2, blocks), np.bool_)
    strips = np.zeros((2 * blocks, 4), np.int64)
    for pair in range(0, lists.shape[0], 2):
        y = pair * BLOCK
        rows = min(2 * BLOCK, picture.shape[0] - y)
        count = _find_strips(vectors, lists, pair, strips)
        for k in range(count):
            row, column, end, tall = strips[k, 0], strips[k, 1], strips[k, 2], strips[k, 3]
            used = lists[row, column] if futures else lists[row, column] & LIST_0
            at, top, x, high, n = (row - pair) * BLOCK, row * BLOCK, column * BLOCK, tall * BLOCK, (end - column) * BLOCK
            ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
            bx, by = vectors[row, column, 1, 0], vectors[row, column, 1, 1]
            if used == LIST_1:
                _predict(future, width, top, x, high, n, bx, by, taps, peak, window, raw, one, best, at)
            elif used == 0:
                _copy(past, width, top, x, high, n, best, at, x)
            else:
                _predict(past, width, top, x, high, n, ax, ay, taps, peak, window, raw, one, best, at)
                if used & LIST_1:
                    _predict(future, width, top, x, high, n, bx, by, taps, peak, window, raw, one, ahead, at)
                    _average(best, ahead, at, x, high, n)
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
                    at, top, x, high, n = half * BLOCK, row * BLOCK, column * BLOCK, tall * BLOCK, (end - column) * BLOCK
                    ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
                    _predict(older, width, top, x, high, n, ax, ay, taps, peak, window, raw, one, trial, at)
                    if used & LIST_1:
                        _average(trial, ahead, at, x, high, n)
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
    later = picture if future is None else future
    _residual(
        picture, past[0], past[-1], len(past), later, future is not None,
        vectors, lists, shown, width, taps, bit_depth, result,
    )  # fmt: skip
    return result
