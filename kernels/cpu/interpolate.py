"""One strip of a picture predicted from a reference picture: the interpolation filters of `predict`.

A strip is read straight from the reference picture's samples; only one that reaches outside the picture is first
copied with its border repeated. Offsets are made unsigned (`uintp`) before the loops that use them: a signed one
could count from the end, and the check for that keeps a loop scalar. Sums are cut back to int32 for the same reason.
"""

from __future__ import annotations

import numpy as np
from numba import int32, njit, uintp

from codecsieve.kernels.reference.predict import SIX_TAP

ONE, TWO, THREE, FOUR, FIVE = uintp(1), uintp(2), uintp(3), uintp(4), uintp(5)


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
def average_strip(out: np.ndarray, row: int, column: int, other: np.ndarray, y: int, x: int, high: int, n: int) -> None:
    """A strip becomes the rounded-up average of itself and another: (a + b + 1) >> 1 without a wider type."""
    y, x, row, column = uintp(y), uintp(x), uintp(row), uintp(column)
    for i in range(uintp(high)):
        for j in range(uintp(n)):
            a, b = out[row + i, column + j], other[y + i, x + j]
            out[row + i, column + j] = (a | b) - ((a ^ b) >> 1)


@njit(cache=True, nogil=True)
def predict_strip(
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
            average_strip(out, row, x, source, top, right, high, n)
    elif dx == 0:
        _down(source, top - 2, left, high, n, peak, out, row, x)
        if dy != 2:
            average_strip(out, row, x, source, below, left, high, n)
    elif dx == 2 or dy == 2:
        _both(source, top - 2, left - 2, high, n, peak, raw, out, row, x)
        if dy != 2:
            _across(source, below, left - 2, high, n, peak, spare, 0, 0)
            average_strip(out, row, x, spare, 0, 0, high, n)
        elif dx != 2:
            _down(source, top - 2, right, high, n, peak, spare, 0, 0)
            average_strip(out, row, x, spare, 0, 0, high, n)
    else:
        _across(source, below, left - 2, high, n, peak, out, row, x)
        _down(source, top - 2, right, high, n, peak, spare, 0, 0)
        average_strip(out, row, x, spare, 0, 0, high, n)
