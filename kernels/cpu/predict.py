"""Fast CPU form of `kernels.reference.predict`: the same functions, the same bits.

Neighbouring blocks with the same vector are predicted together, as a strip 8 rows high: the longer the inner
loops, the more of them the compiler turns into vector instructions. Offsets are made unsigned (`uintp`) before
them: a signed one could count from the end, and the check for that keeps a loop scalar. The filters run in float32, where every sum
is a whole number below 2**24 for up to 12 bits a sample, and so exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.reference.predict import BLOCK, GOOD_ENOUGH, LIST_0, LIST_1, SIX_TAP

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
def _copy(reference: np.ndarray, width: int, y: int, x: int, n: int, out: np.ndarray, at: int) -> None:
    """A strip at a whole-sample displacement; what it writes beyond its n samples is overwritten by the next."""
    height, stride = reference.shape
    whole = (n + 31) & ~31
    if x >= 0 and x + n <= width and x + whole <= stride:
        start, to = uintp(x), uintp(at)
        for i in range(BLOCK):
            row = min(max(y + i, 0), height - 1)
            for j in range(uintp(whole)):
                out[i, to + j] = reference[row, start + j]
    else:
        for i in range(BLOCK):
            row = min(max(y + i, 0), height - 1)
            for j in range(n):
                out[i, at + j] = reference[row, min(max(x + j, 0), width - 1)]


@njit(cache=True, nogil=True)
def _across(window: np.ndarray, top: int, n: int, peak: np.float32, out: np.ndarray) -> None:
    """Half samples between columns, b of H.264 8.4.2.2.1."""
    for i in range(BLOCK):
        k = top + i
        for j in range(n):
            value = window[k, j] + window[k, j + 5]
            value += F20 * (window[k, j + 2] + window[k, j + 3]) - F5 * (window[k, j + 1] + window[k, j + 4])
            out[i, j] = min(max(np.floor((value + F16) * F32ND), ZERO), peak)


@njit(cache=True, nogil=True)
def _down(window: np.ndarray, left: int, n: int, peak: np.float32, out: np.ndarray) -> None:
    """Half samples between rows, h."""
    start = uintp(left)
    for i in range(BLOCK):
        for j in range(uintp(n)):
            k = start + j
            value = window[i, k] + window[i + 5, k]
            value += F20 * (window[i + 2, k] + window[i + 3, k]) - F5 * (window[i + 1, k] + window[i + 4, k])
            out[i, j] = min(max(np.floor((value + F16) * F32ND), ZERO), peak)


@njit(cache=True, nogil=True)
def _both(window: np.ndarray, raw: np.ndarray, n: int, peak: np.float32, out: np.ndarray) -> None:
    """Half samples between rows and columns, j."""
    for i in range(13):
        for j in range(n):
            value = window[i, j] + window[i, j + 5]
            value += F20 * (window[i, j + 2] + window[i, j + 3]) - F5 * (window[i, j + 1] + window[i, j + 4])
            raw[i, j] = value
    for i in range(BLOCK):
        for j in range(n):
            value = raw[i, j] + raw[i + 5, j]
            value += F20 * (raw[i + 2, j] + raw[i + 3, j]) - F5 * (raw[i + 1, j] + raw[i + 4, j])
            out[i, j] = min(max(np.floor((value + F512) * F1024TH), ZERO), peak)


@njit(cache=True, nogil=True)
def _mean(first: np.ndarray, second: np.ndarray, top: int, left: int, n: int, out: np.ndarray, at: int) -> None:
    """Rounded-up average of two strips, the second from (top, left) on."""
    start, to = uintp(left), uintp(at)
    for i in range(BLOCK):
        for j in range(uintp(n)):
            out[i, to + j] = np.int32((first[i, j] + second[top + i, start + j] + F1) * HALF)


@njit(cache=True, nogil=True)
def _store(strip: np.ndarray, n: int, out: np.ndarray, at: int) -> None:
    to = uintp(at)
    for i in range(BLOCK):
        for j in range(uintp(n)):
            out[i, to + j] = np.int32(strip[i, j])


@njit(cache=True, nogil=True)
def _bilinear(window: np.ndarray, dx: int, dy: int, n: int, out: np.ndarray, at: int) -> None:
    a, b = np.float32((4 - dx) * (4 - dy)), np.float32(dx * (4 - dy))
    c, d = np.float32((4 - dx) * dy), np.float32(dx * dy)
    to = uintp(at)
    for i in range(BLOCK):
        for j in range(uintp(n)):
            value = a * window[2 + i, 2 + j] + b * window[2 + i, 3 + j]
            value += c * window[3 + i, 2 + j] + d * window[3 + i, 3 + j]
            out[i, to + j] = np.int32((value + F8) * F16TH)


@njit(cache=True, nogil=True)
def _predict(
    reference: np.ndarray,
    width: int,
    y: int,
    x: int,
    n: int,
    vector_x: int,
    vector_y: int,
    taps: int,
    peak: np.float32,
    work: np.ndarray,
    out: np.ndarray,
) -> None:
    """Prediction of the strip of n samples at (y, x) into columns x.. of the row buffer out [8, ...]."""
    top, left = y + (vector_y >> 2), x + (vector_x >> 2)
    dx, dy = vector_x & 3, vector_y & 3
    if dx == 0 and dy == 0:
        _copy(reference, width, top, left, n, out, x)
        return
    window, raw, one, two = work[0], work[1], work[2], work[3]
    first, last = (2, 11) if dy == 0 else (0, 13)
    _fetch(reference, width, top - 2, left - 2, first, last, n + 5, window)
    if taps != SIX_TAP:
        _bilinear(window, dx, dy, n, out, x)
    elif dy == 0:
        _across(window, 2, n, peak, one)
        if dx == 2:
            _store(one, n, out, x)
        else:
            _mean(one, window, 2, 2 + (dx == 3), n, out, x)
    elif dx == 0:
        _down(window, 2, n, peak, one)
        if dy == 2:
            _store(one, n, out, x)
        else:
            _mean(one, window, 2 + (dy == 3), 2, n, out, x)
    elif dx == 2 or dy == 2:
        _both(window, raw, n, peak, one)
        if dy != 2:
            _across(window, 2 + (dy == 3), n, peak, two)
            _mean(one, two, 0, 0, n, out, x)
        elif dx != 2:
            _down(window, 2 + (dx == 3), n, peak, two)
            _mean(one, two, 0, 0, n, out, x)
        else:
            _store(one, n, out, x)
    else:
        _across(window, 2 + (dy == 3), n, peak, one)
        _down(window, 2 + (dx == 3), n, peak, two)
        _mean(one, two, 0, 0, n, out, x)


@njit(cache=True, nogil=True)
def _average(first: np.ndarray, second: np.ndarray, x: int, n: int) -> None:
    """First becomes the rounded-up average of both, in columns x.. of two row buffers."""
    start = uintp(x)
    for i in range(BLOCK):
        for j in range(uintp(n)):
            a, b = first[i, start + j], second[i, start + j]
            first[i, start + j] = (a | b) - ((a ^ b) >> 1)  # the rounded-up mean, without a wider type


@njit(cache=True, nogil=True)
def _difference(
    picture: np.ndarray, y: int, rows: int, width: int, predicted: np.ndarray, sums: np.ndarray, errors: np.ndarray
) -> None:
    """Predicted becomes abs(picture - predicted) in its first rows; errors [blocks] its sum by block."""
    sums[:] = 0
    for i in range(rows):
        for x in range(width):
            a, b = picture[y + i, x], predicted[i, x]
            value = max(a, b) - min(a, b)
            predicted[i, x] = value
            sums[x] += np.int32(value)
    for block in range(len(errors)):
        error = 0
        for x in range(block * BLOCK, block * BLOCK + BLOCK):
            error += sums[x]
        errors[block] = error


@njit(cache=True, nogil=True)
def _strip_end(vectors: np.ndarray, lists: np.ndarray, row: int, column: int) -> int:
    """First block after `column` whose motion differs from its."""
    used = lists[row, column]
    ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
    bx, by = vectors[row, column, 1, 0], vectors[row, column, 1, 1]
    end = column + 1
    while (
        end < lists.shape[1]
        and lists[row, end] == used
        and vectors[row, end, 0, 0] == ax
        and vectors[row, end, 0, 1] == ay
        and vectors[row, end, 1, 0] == bx
        and vectors[row, end, 1, 1] == by
    ):
        end += 1
    return end


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
    enough = GOOD_ENOUGH << shift
    crop_top, crop_left, height, shown_width = shown
    blocks = lists.shape[1]
    capacity = blocks * BLOCK + 64
    work = np.zeros((4, 13, capacity), np.float32)
    best = np.zeros((BLOCK, capacity), picture.dtype)
    trial = np.zeros((BLOCK, capacity), picture.dtype)
    ahead = np.zeros((BLOCK, capacity), picture.dtype)
    sums = np.zeros(capacity, np.int32)
    least = np.zeros(blocks, np.int32)
    errors = np.zeros(blocks, np.int32)
    tried = np.zeros(blocks, np.bool_)
    for row in range(lists.shape[0]):
        y = row * BLOCK
        rows = min(BLOCK, picture.shape[0] - y)
        column = 0
        while column < blocks:
            used = lists[row, column] if futures else lists[row, column] & LIST_0
            x, end = column * BLOCK, _strip_end(vectors, lists, row, column)
            n = (end - column) * BLOCK
            ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
            bx, by = vectors[row, column, 1, 0], vectors[row, column, 1, 1]
            if used == LIST_1:
                _predict(future, width, y, x, n, bx, by, taps, peak, work, best)
            elif used == 0:
                _copy(past, width, y, x, n, best, x)
            else:
                _predict(past, width, y, x, n, ax, ay, taps, peak, work, best)
                if used & LIST_1:
                    _predict(future, width, y, x, n, bx, by, taps, peak, work, ahead)
                    _average(best, ahead, x, n)
            column = end
        _difference(picture, y, rows, width, best, sums, least)
        if pasts > 1:
            tried[:] = False
            column = 0
            while column < blocks:
                used = lists[row, column] if futures else lists[row, column] & LIST_0
                x, end = column * BLOCK, _strip_end(vectors, lists, row, column)
                if used & LIST_0 and least[column:end].max() > enough:
                    n = (end - column) * BLOCK
                    ax, ay = vectors[row, column, 0, 0], vectors[row, column, 0, 1]
                    _predict(older, width, y, x, n, ax, ay, taps, peak, work, trial)
                    if used & LIST_1:
                        _average(trial, ahead, x, n)
                    for block in range(column, end):
                        tried[block] = least[block] > enough
                column = end
            _difference(picture, y, rows, width, trial, sums, errors)
            for column in range(blocks):
                if tried[column] and errors[column] < least[column]:
                    start = uintp(column * BLOCK)
                    for i in range(rows):
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
