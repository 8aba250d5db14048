"""Sixteen columns of a prediction: the interpolation filters of `compensate`, of H.264, H.265 and MPEG.

Every row is read from a flat array of samples, sixteen at a time, and written to a buffer of sixteen a row. Lanes of 16
bits, those of 8-bit pictures, hold whatever comes up: where a number may not fit, a comment says why it does. The choice
of what to read, and weights, are left to `compensate`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.cpu.lanes import LANES, least, load, most, store, wide
from codecsieve.kernels.reference.compensate import EIGHT_TAP, EIGHT_TAPS, PRECISION
from codecsieve.kernels.reference.predict import SIX_TAP

ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN = (uintp(k) for k in range(1, 8))
PITCH = uintp(LANES)
BIAS = 1 << (PRECISION - 1)
"""Predictions by EIGHT_TAP are kept less this: of 8-bit samples they reach from -16830 to 33150."""
TAPS = tuple(tuple(int(tap) for tap in row) for row in EIGHT_TAPS)


@njit(cache=True, nogil=True)
def _six(source: np.ndarray, at: int, step: int) -> object:
    """(1, -5, 20, 20, -5, 1) of six samples `step` apart, the first at `at`."""
    outer = load(source, at) + load(source, at + FIVE * step)
    middle = load(source, at + step) + load(source, at + FOUR * step)
    inner = load(source, at + TWO * step) + load(source, at + THREE * step)
    return outer - middle * 5 + inner * 20


@njit(cache=True, nogil=True)
def _half(sums: object, peak: int) -> object:
    """A half sample, b or h of H.264 8.4.2.2.1, of a filter's sums."""
    return most(least((sums + 16) >> 5, peak), 0)


@njit(cache=True, nogil=True)
def _centre(raw: np.ndarray, at: int, peak: int) -> object:
    """The half sample j from rows of sums; (outer - 5 middle + 20 inner + 512) >> 10 in steps that fit 16 bits."""
    outer = load(raw, at) + load(raw, at + FIVE * PITCH)
    middle = load(raw, at + PITCH) + load(raw, at + FOUR * PITCH)
    inner = load(raw, at + TWO * PITCH) + load(raw, at + THREE * PITCH)
    rest = inner - middle
    sixteenth = ((((outer - middle) >> 2) + (rest & 3)) >> 2) + (rest >> 2) + inner
    return most(least((sixteenth + 32) >> 6, peak), 0)


@njit(cache=True, nogil=True)
def _six_tap(
    source: np.ndarray, at: int, step: int, dx: int, dy: int, high: int, peak: int, raw: np.ndarray, out: np.ndarray
) -> None:
    """H.264's luma samples; quarter samples are the mean of the two nearest whole or half ones."""
    left, above = at - TWO, at - TWO * step
    right, below = uintp(dx == 3), step * uintp(dy == 3)
    if dy == 0:
        for i in range(uintp(high)):
            value = _half(_six(source, left + i * step, ONE), peak)
            if dx != 2:
                value = (value + load(source, at + i * step + right) + 1) >> 1
            store(out, i * PITCH, value)
    elif dx == 0:
        for i in range(uintp(high)):
            value = _half(_six(source, above + i * step, step), peak)
            if dy != 2:
                value = (value + load(source, at + i * step + below) + 1) >> 1
            store(out, i * PITCH, value)
    elif dx != 2 and dy != 2:
        for i in range(uintp(high)):
            across = _half(_six(source, left + i * step + below, ONE), peak)
            down = _half(_six(source, above + i * step + right, step), peak)
            store(out, i * PITCH, (across + down + 1) >> 1)
    else:
        for i in range(uintp(high + 5)):
            store(raw, i * PITCH, _six(source, left - TWO * step + i * step, ONE))
        for i in range(uintp(high)):
            value = _centre(raw, i * PITCH, peak)
            if dy != 2:
                across = load(raw, (i + TWO + uintp(dy == 3)) * PITCH)
                value = (value + _half(across, peak) + 1) >> 1
            elif dx != 2:
                down = _half(_six(source, above + i * step + right, step), peak)
                value = (value + down + 1) >> 1
            store(out, i * PITCH, value)


@njit(cache=True, nogil=True)
def _eight(source: np.ndarray, at: int, step: int, taps: tuple[int, ...]) -> object:
    """H.265's filter over eight samples `step` apart; of 8-bit samples from -6120 to 22440."""
    total = load(source, at) * taps[0] + load(source, at + step) * taps[1]
    total = total + load(source, at + TWO * step) * taps[2] + load(source, at + THREE * step) * taps[3]
    total = total + load(source, at + FOUR * step) * taps[4] + load(source, at + FIVE * step) * taps[5]
    return total + load(source, at + SIX * step) * taps[6] + load(source, at + SEVEN * step) * taps[7]


@njit(cache=True, nogil=True)
def _eight_wide(raw: np.ndarray, at: int, taps: tuple[int, ...]) -> object:
    """The same over rows of sums, in 32 bits."""
    total = wide(load(raw, at)) * taps[0] + wide(load(raw, at + PITCH)) * taps[1]
    total = total + wide(load(raw, at + TWO * PITCH)) * taps[2] + wide(load(raw, at + THREE * PITCH)) * taps[3]
    total = total + wide(load(raw, at + FOUR * PITCH)) * taps[4] + wide(load(raw, at + FIVE * PITCH)) * taps[5]
    return total + wide(load(raw, at + SIX * PITCH)) * taps[6] + wide(load(raw, at + SEVEN * PITCH)) * taps[7]


@njit(cache=True, nogil=True)
def _eight_tap(
    source: np.ndarray, at: int, step: int, dx: int, dy: int, high: int, depth: int, raw: np.ndarray, out: np.ndarray
) -> None:
    """H.265's luma samples in 14 bits, less BIAS."""
    shift = depth - 8
    left, above = at - THREE, THREE * step
    if dx == 0 and dy == 0:
        for i in range(uintp(high)):
            store(out, i * PITCH, (load(source, at + i * step) << (PRECISION - depth)) - BIAS)
    elif dy == 0:
        taps = TAPS[dx]
        for i in range(uintp(high)):
            store(out, i * PITCH, (_eight(source, left + i * step, ONE, taps) >> shift) - BIAS)
    elif dx == 0:
        taps = TAPS[dy]
        for i in range(uintp(high)):
            store(out, i * PITCH, (_eight(source, at - above + i * step, step, taps) >> shift) - BIAS)
    else:
        taps = TAPS[dx]
        for i in range(uintp(high + 7)):
            store(raw, i * PITCH, _eight(source, left - above + i * step, ONE, taps) >> shift)
        taps = TAPS[dy]
        for i in range(uintp(high)):
            value = (_eight_wide(raw, i * PITCH, taps) >> 6) - BIAS
            store(out, i * PITCH, value)


@njit(cache=True, nogil=True)
def _bilinear(source: np.ndarray, at: int, step: int, dx: int, dy: int, high: int, out: np.ndarray) -> None:
    """Of 8-bit samples at most 16 * 255 + 8."""
    a, b = (4 - dx) * (4 - dy), dx * (4 - dy)
    c, d = (4 - dx) * dy, dx * dy
    for i in range(uintp(high)):
        k = at + i * step
        value = load(source, k) * a + load(source, k + ONE) * b
        value = value + load(source, k + step) * c + load(source, k + step + ONE) * d
        store(out, i * PITCH, (value + 8) >> 4)


@njit(cache=True, nogil=True)
def interpolate(
    source: np.ndarray,
    at: int,
    step: int,
    dx: int,
    dy: int,
    high: int,
    filter: int,
    depth: int,
    raw: np.ndarray,
    out: np.ndarray,
) -> None:
    """Predicts high rows of sixteen samples.

    Args:
        source: flat samples; around the rows, three before and four after in each axis must exist where that axis has
            a fraction, of BILINEAR one after in both where one has.
        at: index of the first sample at whole-sample displacement.
        step: samples from a row to the next.
        dx: quarter-sample fraction 0..3, likewise dy.
        high: rows.
        filter: SIX_TAP, BILINEAR or EIGHT_TAP.
        depth: bits a sample.
        raw: space for (high + 7) * 16 numbers, int16 for 8-bit samples, otherwise int32.
        out: [high * 16] of the same type: samples; by EIGHT_TAP predictions of 14 bits less BIAS.
    """
    if filter == EIGHT_TAP:
        _eight_tap(source, at, step, dx, dy, high, depth, raw, out)
    elif dx == 0 and dy == 0:
        for i in range(uintp(high)):
            store(out, i * PITCH, load(source, at + i * step))
    elif filter == SIX_TAP:
        _six_tap(source, at, step, dx, dy, high, (1 << depth) - 1, raw, out)
    else:
        _bilinear(source, at, step, dx, dy, high, out)
