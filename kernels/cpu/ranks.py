"""What stands at a rank of many values, without sorting them: numba.

Values are counted below some guesses, and the guesses bettered: passes over them in vector instructions take less time
than one increment each of a histogram.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, uintp

_LANES = 1024
_SAMPLED = 16
"""Of so many stretches of `_LANES` pixels one is looked at for a first guess."""


@njit(cache=True, nogil=True)
def level_at_rank(picture: npt.NDArray[np.uint8], rank: int) -> int:
    """The level at a 0-based rank of all of a picture, uint8 [H, W].

    A sample says what it might be, and one pass over the picture, most often, that it is.
    """
    pixels = np.ascontiguousarray(picture).reshape(picture.size)
    stretches = len(pixels) // _LANES // _SAMPLED
    if stretches < 2:
        return _narrow(pixels, rank, -1)
    sample = np.empty(stretches * _LANES, np.uint8)
    for n in range(stretches):
        begin = (n * _SAMPLED + n % _SAMPLED) * _LANES  # aslant, not down a column of the picture
        sample[n * _LANES : (n + 1) * _LANES] = pixels[begin : begin + _LANES]
    return _narrow(pixels, rank, _narrow(sample, rank * len(sample) // len(pixels), -1))


@njit(cache=True, nogil=True)
def _narrow(pixels: npt.NDArray[np.uint8], rank: int, guess: int) -> int:
    """The level at a rank, by what is below two others at a time: first those of a guess and next to it, unless -1."""
    low, high = 0, 256
    a, b = guess, guess + 1
    while high - low > 1:
        if a < 0:
            third = (high - low + 1) // 3
            a, b = low + third, high - third
        a, b = min(max(a, low), high - 1), min(max(b, low), high - 1)
        below_a, below_b = _count_below(pixels, np.uint8(a), np.uint8(b))
        if below_b <= rank:
            low = b
            a, b = (b + 1, b + 3) if a == guess else (-1, -1)
        elif below_a <= rank:
            low, high = a, b
            a = -1
        else:
            high = a
            a, b = (a - 3, a - 1) if a == guess else (-1, -1)
    return low


@njit(cache=True, nogil=True)
def _count_below(pixels: npt.NDArray[np.uint8], a: np.uint8, b: np.uint8) -> tuple[int, int]:
    """How many pixels are below each of two levels, counted by 8 bits side by side for as long as they hold it."""
    of_a, of_b = np.empty(_LANES, np.uint8), np.empty(_LANES, np.uint8)
    below_a, below_b = 0, 0
    lanes = uintp(_LANES)
    rows = len(pixels) // _LANES
    for begin in range(0, rows, 255):
        of_a[:] = 0
        of_b[:] = 0
        for row in range(begin, min(begin + 255, rows)):
            start = uintp(row * _LANES)
            for i in range(lanes):
                of_a[i] += np.uint8(pixels[start + i] < a)
                of_b[i] += np.uint8(pixels[start + i] < b)
        for i in range(lanes):
            below_a += of_a[i]
            below_b += of_b[i]
    for i in range(uintp(rows * _LANES), uintp(len(pixels))):
        below_a += pixels[i] < a
        below_b += pixels[i] < b
    return below_a, below_b


@njit(cache=True, nogil=True)
def residual_histogram(residual: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """How many pixels have each residual: uint8 [H, W] -> int32 [256]."""
    pixels = np.ascontiguousarray(residual).reshape(residual.size)
    words = pixels[: residual.size - residual.size % 8].view(np.uint64)
    # Neighbours are often equal: in counts of their own, one increment need not wait for the last.
    counts = np.zeros((8, 256), np.int32)
    for word in words:
        if word == 0:
            counts[0, 0] += 8
        else:
            for i in range(8):
                counts[i, (word >> np.uint64(8 * i)) & np.uint64(255)] += 1
    for pixel in pixels[8 * len(words) :]:
        counts[0, pixel] += 1
    return counts.sum(axis=0)


@njit(cache=True, nogil=True)
def values_at_rank(
    rows: npt.NDArray[np.int16], weights: npt.NDArray[np.int32], parts: int, rank: int
) -> npt.NDArray[np.int64]:
    """The value at a 0-based rank of each of some quantities that lie side by side, found bit by bit: int64 [parts].

    Args:
        rows: int16 [R, n * parts].
        weights: int32 [R], how many rows each stands for, the first at least one: 32767 together. What stands for none
            is not looked at.
        parts: how many quantities.
        rank: the same of each.
    """
    found, high = _span(rows, weights, parts)
    limits = np.empty(rows.shape[1], np.int16)
    bit = 1
    while bit <= (high - found).max():
        bit <<= 1
    while bit:
        guesses = np.minimum(found + bit, high)
        for x in range(0, len(limits), parts):
            for part in range(parts):
                limits[x + part] = guesses[part]
        below = _count_rows_below(rows, weights, limits, parts)
        for part in range(parts):
            if found[part] + bit == guesses[part] and below[part] <= rank:
                found[part] = guesses[part]
        bit >>= 1
    return found


@njit(cache=True, nogil=True)
def _span(
    rows: npt.NDArray[np.int16], weights: npt.NDArray[np.int32], parts: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The least and the largest value of each quantity: int64 [parts] each."""
    least, most = rows[0].copy(), rows[0].copy()
    for row in range(1, rows.shape[0]):
        if weights[row]:
            for x in range(uintp(rows.shape[1])):
                least[x], most[x] = min(least[x], rows[row, x]), max(most[x], rows[row, x])
    low, high = np.empty(parts, np.int64), np.empty(parts, np.int64)
    for part in range(parts):
        low[part], high[part] = least[part::parts].min(), most[part::parts].max()
    return low, high


@njit(cache=True, nogil=True)
def _count_rows_below(
    rows: npt.NDArray[np.int16],
    weights: npt.NDArray[np.int32],
    limits: npt.NDArray[np.int16],
    parts: int,
) -> npt.NDArray[np.int64]:
    """How many values of each quantity are below the limit of their column: int64 [parts]."""
    counts = np.zeros_like(limits)
    for row in range(rows.shape[0]):
        if weights[row]:
            weight = np.int16(weights[row])
            for x in range(uintp(len(limits))):
                counts[x] += weight if rows[row, x] < limits[x] else np.int16(0)
    below = np.zeros(parts, np.int64)
    for x in range(0, len(limits), parts):
        for part in range(parts):
            below[part] += counts[x + part]
    return below
