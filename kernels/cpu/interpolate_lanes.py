"""Sixteen columns of a prediction: the filters and weights of `compensate`, those of H.264, H.265 and MPEG.

Every row is read from a flat array of samples, sixteen at a time, and written to a buffer of sixteen a row. Lanes of 16
bits, those of most pictures, hold whatever comes up: where a number might not fit, a comment says why it does. What is
read, and which weights it has, is left to `compensate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types, uintp
from numba.extending import overload

from codecsieve.kernels.cpu.lanes import LANES, least, load, most, store, wide
from codecsieve.kernels.reference.compensate import EIGHT_TAP, EIGHT_TAPS, PRECISION
from codecsieve.kernels.reference.predict import SIX_TAP

ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN = (uintp(k) for k in range(1, 8))
PITCH = uintp(LANES)
ROWS = 64
"""Rows an area may have: the more, the fewer have to be read above and below, and the less fits the nearest cache."""
PART = uintp((ROWS + 7) * LANES)
"""Numbers of a part of the work: the rows of an area and seven more."""
RAW = uintp(2) * PART
MIDDLE = 512
"""What samples of 9 and 10 bits are lessened by, that sums of them fit 16 bits."""
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


@njit(cache=True, nogil=True)
def _forward(at: int, pace: int, fraction: int) -> tuple[Any, Any, tuple[int, ...]]:
    """First sample, distance and taps of a filter: three quarters are one quarter counted from the other end."""
    if fraction == 3:
        return at + SEVEN * pace, uintp(0) - pace, _taps(1)
    return at, pace, _taps(fraction)


def _first(source: Any, at: int, pace: int, taps: tuple[int, ...], shift: int) -> Any:
    """Sums over eight samples as `_forward` gives them, divided by 2 to the power of shift."""
    raise NotImplementedError("for kernels only")


@overload(_first)
def _choose_first(source: Any, at: int, pace: int, taps: tuple[int, ...], shift: int) -> Any:
    def whole(source: Any, at: int, pace: int, taps: tuple[int, ...], shift: int) -> Any:
        return _eight(source, at, pace, taps) >> shift

    def halves(source: Any, at: int, pace: int, taps: tuple[int, ...], shift: int) -> Any:
        # Samples of 9 or 10 bits, less MIDDLE: four taps of at most 64 in all make a sum of 16 bits, eight may not.
        one = (load(source, at) - MIDDLE) * taps[0] + (load(source, at + pace) - MIDDLE) * taps[1]
        one = one + (load(source, at + THREE * pace) - MIDDLE) * taps[3]
        one = one + (load(source, at + SIX * pace) - MIDDLE) * taps[6]
        two = (load(source, at + TWO * pace) - MIDDLE) * taps[2] + (load(source, at + FOUR * pace) - MIDDLE) * taps[4]
        two = two + (load(source, at + FIVE * pace) - MIDDLE) * taps[5]
        two = two + (load(source, at + SEVEN * pace) - MIDDLE) * taps[7]
        half = (one & two) + ((one ^ two) >> 1)
        return (half >> (shift - 1)) + ((MIDDLE << 6) >> shift)

    return halves if source.dtype == types.int16 else whole


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
    """Keeps a row of sums; those of few bits as 64s and rest, for what is still to come does not fit 16 bits."""
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
        start, pace, taps = _forward(left, ONE, dx)
        for i in range(uintp(high)):
            store(work, out + i * PITCH, _first(source, start + i * step, pace, taps, shift) - BIAS)
    elif dx == 0:
        start, pace, taps = _forward(at - above, step, dy)
        for i in range(uintp(high)):
            store(work, out + i * PITCH, _first(source, start + i * step, pace, taps, shift) - BIAS)
    else:
        start, pace, taps = _forward(left - above, ONE, dx)
        for i in range(uintp(high + 7)):
            _split(work, RAW + i * PITCH, _first(source, start + i * step, pace, taps, shift))
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
        source: flat samples, uint8 or uint16; int16 if they are of 9 or 10 bits and for EIGHT_TAP. Around the rows,
            three before and four after in each axis must exist where that axis has a fraction, of BILINEAR one after
            in both where one has.
        at: index of the first sample at whole-sample displacement.
        step: samples from a row to the next.
        dx: quarter-sample fraction 0..3, likewise dy.
        high: rows.
        filter: SIX_TAP, BILINEAR or EIGHT_TAP.
        depth: bits a sample.
        work: four times PART numbers, int32 for samples of uint16, otherwise int16; the last half is spoiled.
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


@njit(cache=True, nogil=True)
def round_samples(work: Any, high: int, both: bool, filter: int, depth: int) -> None:
    """Unweighted samples in the work's first part, of one prediction or of it and the second."""
    peak = (1 << depth) - 1
    if filter != EIGHT_TAP:
        if both:
            for i in range(uintp(high)):
                k = i * PITCH
                store(work, k, (load(work, k) + load(work, PART + k) + 1) >> 1)
        return
    shift = PRECISION - depth
    # Clipped before it is rounded, a prediction fits 16 bits with what is added.
    added = BIAS + (1 << (shift - 1))
    largest = ((peak + 1) << shift) - 1 - added
    for i in range(uintp(high)):
        k = i * PITCH
        value = load(work, k)
        if both:  # half of the sum, rounded down, without a wider type
            other = load(work, PART + k)
            value = (value & other) + ((value ^ other) >> 1)
        store(work, k, (most(least(value, largest), -added) + added) >> shift)


@njit(cache=True, nogil=True)
def weigh_one(work: Any, high: int, weight: int, offset: int, denominator: int, filter: int, depth: int) -> None:
    """Weighted samples in the work's first part, of one prediction."""
    peak = (1 << depth) - 1
    bias = BIAS if filter == EIGHT_TAP else 0
    divisor = denominator + (PRECISION - depth if filter == EIGHT_TAP else 0)
    half = (1 << divisor) >> 1
    for i in range(uintp(high)):
        value = (((wide(load(work, i * PITCH)) + bias) * weight + half) >> divisor) + offset
        store(work, i * PITCH, most(least(value, peak), 0))


@njit(cache=True, nogil=True)
def weigh_two(work: Any, high: int, w0: int, w1: int, offsets: int, denominator: int, filter: int, depth: int) -> None:
    """The same of two predictions; offsets is the sum of theirs."""
    peak = (1 << depth) - 1
    bias, inner, outer = 0, 1 << denominator, (offsets + 1) >> 1
    divisor = denominator
    if filter == EIGHT_TAP:
        divisor += PRECISION - depth
        bias, inner, outer = BIAS, (offsets + 1) << divisor, 0
    for i in range(uintp(high)):
        a, b = wide(load(work, i * PITCH)) + bias, wide(load(work, PART + i * PITCH)) + bias
        value = ((a * w0 + b * w1 + inner) >> (divisor + 1)) + outer
        store(work, i * PITCH, most(least(value, peak), 0))
