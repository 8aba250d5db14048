"""Sixteen columns of a prediction: the interpolation filters of `compensate`, of H.264, H.265 and MPEG.

Every row is read from a flat array of samples, sixteen at a time, and written to a buffer of sixteen a row. Lanes of 16
bits, those of 8-bit pictures, hold whatever comes up: where a number might not fit, a comment says why it does. What is
read, and how it is weighted, is left to `compensate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types, uintp
from numba.extending import overload

from codecsieve.kernels.cpu.lanes import LANES, least, load, most, store
from codecsieve.kernels.reference.compensate import EIGHT_TAP, EIGHT_TAPS, PRECISION
from codecsieve.kernels.reference.predict import SIX_TAP

ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN = (uintp(k) for k in range(1, 8))
PITCH = uintp(LANES)
ROWS = 64
PART = uintp((ROWS + 7) * LANES)
"""Numbers of a part of the work: the rows of an area and seven more."""
RAW = uintp(2) * PART
BIAS = 1 << (PRECISION - 1)
"""Predictions by EIGHT_TAP are kept less this: of 8-bit samples they reach from -16830 to 33150."""
TAPS = EIGHT_TAPS.astype(np.int16)  # an array, for a choice among tuples is a jump that is not foreseen


@njit(cache=True, nogil=True)
def _six(source: Any, at: int, step: int) -> Any:
    """(1, -5, 20, 20, -5, 1) of six samples `step` apart, the first at `at`."""
    outer = load(source, at) + load(source, at + FIVE * step)
    middle = load(source, at + step) + load(source, at + FOUR * step)
    inner = load(source, at + TWO * step) + load(source, at + THREE * step)
    return outer + ((inner << 2) - middle) * 5


@njit(cache=True, nogil=True)
def _half(sums: Any, peak: int) -> Any:
    """A half sample, b or h of H.264 8.4.2.2.1, of a filter's sums."""
    return most(least((sums + 16) >> 5, peak), 0)


@njit(cache=True, nogil=True)
def _centre(raw: Any, at: int, peak: int) -> Any:
    """The half sample j from rows of sums; (outer - 5 middle + 20 inner + 512) >> 10 in steps that fit 16 bits."""
    outer = load(raw, at) + load(raw, at + FIVE * PITCH)
    middle = load(raw, at + PITCH) + load(raw, at + FOUR * PITCH)
    inner = load(raw, at + TWO * PITCH) + load(raw, at + THREE * PITCH)
    rest = inner - middle
    sixteenth = ((((outer - middle) >> 2) + (rest & 3)) >> 2) + (rest >> 2) + inner
    return most(least((sixteenth + 32) >> 6, peak), 0)


@njit(cache=True, nogil=True)
def _six_tap(source: Any, at: int, step: int, dx: int, dy: int, high: int, peak: int, work: Any, out: int) -> None:
    """H.264's luma samples; quarter samples are the mean of the two nearest whole or half ones."""
    left, above = at - TWO, at - TWO * step
    right, below = uintp(dx == 3), step * uintp(dy == 3)
    if dy == 0:
        for i in range(uintp(high)):
            value = _half(_six(source, left + i * step, ONE), peak)
            if dx != 2:
                value = (value + load(source, at + i * step + right) + 1) >> 1
            store(work, out + i * PITCH, value)
    elif dx == 0:
        for i in range(uintp(high)):
            value = _half(_six(source, above + i * step, step), peak)
            if dy != 2:
                value = (value + load(source, at + i * step + below) + 1) >> 1
            store(work, out + i * PITCH, value)
    elif dx != 2 and dy != 2:
        for i in range(uintp(high)):
            across = _half(_six(source, left + i * step + below, ONE), peak)
            down = _half(_six(source, above + i * step + right, step), peak)
            store(work, out + i * PITCH, (across + down + 1) >> 1)
    else:
        for i in range(uintp(high + 5)):
            store(work, RAW + i * PITCH, _six(source, left - TWO * step + i * step, ONE))
        for i in range(uintp(high)):
            value = _centre(work, RAW + i * PITCH, peak)
            if dy != 2:
                across = load(work, RAW + (i + TWO + uintp(dy == 3)) * PITCH)
                value = (value + _half(across, peak) + 1) >> 1
            elif dx != 2:
                down = _half(_six(source, above + i * step + right, step), peak)
                value = (value + down + 1) >> 1
            store(work, out + i * PITCH, value)


@njit(cache=True, nogil=True)
def _taps(fraction: int) -> tuple[int, ...]:
    k = uintp(fraction)
    return (
        TAPS[k, 0], TAPS[k, 1], TAPS[k, 2], TAPS[k, 3], TAPS[k, 4], TAPS[k, 5], TAPS[k, 6], TAPS[k, 7],
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _eight(source: Any, at: int, step: int, taps: tuple[int, ...]) -> Any:
    """H.265's filter over eight samples `step` apart; of 8-bit samples from -6120 to 22440."""
    total = load(source, at) * taps[0] + load(source, at + step) * taps[1]
    total = total + load(source, at + TWO * step) * taps[2] + load(source, at + THREE * step) * taps[3]
    total = total + load(source, at + FOUR * step) * taps[4] + load(source, at + FIVE * step) * taps[5]
    return total + load(source, at + SIX * step) * taps[6] + load(source, at + SEVEN * step) * taps[7]


def _eight_twice(work: Any, at: int, taps: tuple[int, ...]) -> Any:
    """The same over the rows of sums of `_split`, divided by 64 and less BIAS."""
    raise NotImplementedError("for kernels only")


@overload(_eight_twice)
def _choose_eight_twice(work: Any, at: int, taps: tuple[int, ...]) -> Any:
    def narrow(work: Any, at: int, taps: tuple[int, ...]) -> Any:
        # What is left of 64ths is summed apart: both sums fit, or wrap around to a result that does.
        return _eight(work, at, PITCH, taps) + (_eight(work, at + PART, PITCH, taps) >> 6) - BIAS

    def deep(work: Any, at: int, taps: tuple[int, ...]) -> Any:
        return (_eight(work, at, PITCH, taps) >> 6) - BIAS

    return narrow if work.dtype == types.int16 else deep


def _split(work: Any, at: int, sums: Any) -> None:
    """Keeps a row of sums; those of 8-bit samples as 64s and rest, for what is still to come does not fit 16 bits."""
    raise NotImplementedError("for kernels only")


@overload(_split)
def _choose_split(work: Any, at: int, sums: Any) -> Any:
    def narrow(work: Any, at: int, sums: Any) -> None:
        store(work, at, sums >> 6)
        store(work, at + PART, sums & 63)

    def deep(work: Any, at: int, sums: Any) -> None:
        store(work, at, sums)

    return narrow if work.dtype == types.int16 else deep


@njit(cache=True, nogil=True)
def _eight_tap(source: Any, at: int, step: int, dx: int, dy: int, high: int, depth: int, work: Any, out: int) -> None:
    """H.265's luma samples in 14 bits, less BIAS."""
    shift = depth - 8
    left, above = at - THREE, THREE * step
    if dx == 0 and dy == 0:
        for i in range(uintp(high)):
            store(work, out + i * PITCH, (load(source, at + i * step) << (PRECISION - depth)) - BIAS)
    elif dy == 0:
        taps = _taps(dx)
        for i in range(uintp(high)):
            store(work, out + i * PITCH, (_eight(source, left + i * step, ONE, taps) >> shift) - BIAS)
    elif dx == 0:
        taps = _taps(dy)
        for i in range(uintp(high)):
            store(work, out + i * PITCH, (_eight(source, at - above + i * step, step, taps) >> shift) - BIAS)
    else:
        taps = _taps(dx)
        for i in range(uintp(high + 7)):
            _split(work, RAW + i * PITCH, _eight(source, left - above + i * step, ONE, taps) >> shift)
        taps = _taps(dy)
        for i in range(uintp(high)):
            store(work, out + i * PITCH, _eight_twice(work, RAW + i * PITCH, taps))


@njit(cache=True, nogil=True)
def _bilinear(source: Any, at: int, step: int, dx: int, dy: int, high: int, work: Any, out: int) -> None:
    """Of 8-bit samples at most 16 * 255 + 8."""
    a, b = (4 - dx) * (4 - dy), dx * (4 - dy)
    c, d = (4 - dx) * dy, dx * dy
    for i in range(uintp(high)):
        k = at + i * step
        value = load(source, k) * a + load(source, k + ONE) * b
        value = value + load(source, k + step) * c + load(source, k + step + ONE) * d
        store(work, out + i * PITCH, (value + 8) >> 4)


@njit(cache=True, nogil=True)
def interpolate(
    source: Any,
    at: int,
    step: int,
    dx: int,
    dy: int,
    high: int,
    filter: int,
    depth: int,
    work: Any,
    out: int,
) -> None:
    """Predicts high rows, at most ROWS, of sixteen samples.

    Args:
        source: flat samples; around the rows, three before and four after in each axis must exist where that axis has
            a fraction, of BILINEAR one after in both where one has.
        at: index of the first sample at whole-sample displacement.
        step: samples from a row to the next.
        dx: quarter-sample fraction 0..3, likewise dy.
        high: rows.
        filter: SIX_TAP, BILINEAR or EIGHT_TAP.
        depth: bits a sample.
        work: four times PART numbers, int16 for 8-bit samples, otherwise int32; the last half is spoiled.
        out: where in it the result begins: samples; by EIGHT_TAP predictions of 14 bits less BIAS.
    """
    if filter == EIGHT_TAP:
        _eight_tap(source, at, step, dx, dy, high, depth, work, out)
    elif dx == 0 and dy == 0:
        for i in range(uintp(high)):
            store(work, out + i * PITCH, load(source, at + i * step))
    elif filter == SIX_TAP:
        _six_tap(source, at, step, dx, dy, high, (1 << depth) - 1, work, out)
    else:
        _bilinear(source, at, step, dx, dy, high, work, out)
