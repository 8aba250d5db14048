"""Definition of motion compensation where all is known: which reference picture, which vector, which weights.

The decoder's own choice for every 4x4 samples makes the prediction that the encoder subtracted; what remains is what it
coded, and what quantisation lost. Reading choices and pictures out of a decoder is left to `codec`; where only FFmpeg's
vectors are known, `predict` finds the reference by trying.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from codecsieve.kernels.reference.predict import SIX_TAP, predict_block

UNIT = 4
"""Vectors and entries are kept per 4x4 luma samples, the smallest partition of H.264 and side of one of H.265."""
EIGHT_TAP = 8
"""Taps of H.265's luma interpolation, beside `predict.SIX_TAP` and `predict.BILINEAR`."""
NO_ENTRY, LEFT_OUT = -1, -2
"""Entries that are none: the list is not used; of list 0, the unit is not to be looked at."""
PRECISION = 14
"""Bits of a prediction by EIGHT_TAP before it is weighted (H.265 8.5.3.3.4)."""
EIGHT_TAPS = np.array(
    [
        [0, 0, 0, 64, 0, 0, 0, 0],
        [-1, 4, -10, 58, 17, -5, 1, 0],
        [-1, 4, -11, 40, 40, -11, 4, -1],
        [0, 1, -5, 17, 58, -10, 4, -1],
    ]
)
"""Coefficients by quarter-sample fraction, in 64ths, from three samples before on (H.265 table 8-11)."""


@dataclass(frozen=True)
class Weights:
    """Weighted prediction of one picture, explicit or implicit (H.264 8.4.2.3, H.265 8.5.3.3.4.3).

    With weights of `1 << denominator` and offsets of 0 a prediction is what it is without any.
    """

    denominator: int
    """Binary logarithm of what a weight is divided by: 0..7."""
    single: np.ndarray
    """int32 [n, 2]: weight and offset (in samples of the stream's bit depth) by entry, where one list is used."""
    pairs: np.ndarray
    """int32 [n, n, 2]: weights of list 0 and list 1 by entry of list 0, of list 1; offsets are those of single."""


def eight_tap(samples: np.ndarray, fraction: int) -> np.ndarray:
    """H.265's filter along the last axis at a fraction 0..3, not yet divided by 64."""
    count = samples.shape[-1] - 7
    return np.asarray(sum(int(tap) * samples[..., k : k + count] for k, tap in enumerate(EIGHT_TAPS[fraction])))


def interpolate_eight_tap(window: np.ndarray, dx: int, dy: int, bit_depth: int) -> np.ndarray:
    """Luma sample interpolation of ITU-T H.265 8.5.3.3.3.2 for one unit.

    Args:
        window: int [11, 11], the unit's samples at whole-sample displacement, 3 before and 4 after in each axis.
        dx: quarter-sample fraction 0..3, likewise dy.
        bit_depth: bits a sample, 8..12.

    Returns:
        int [4, 4] prediction of 14 bits.
    """
    inner = slice(3, 3 + UNIT)
    shift1, shift2, shift3 = bit_depth - 8, 6, PRECISION - bit_depth
    if dx == 0 and dy == 0:
        return window[inner, inner] << shift3
    if dy == 0:
        return eight_tap(window[inner], dx) >> shift1
    if dx == 0:
        return eight_tap(window[:, inner].T, dy).T >> shift1
    return eight_tap((eight_tap(window, dx) >> shift1).T, dy).T >> shift2


def predict_unit(
    reference: np.ndarray, width: int, y: int, x: int, vector: np.ndarray, taps: int, bit_depth: int
) -> np.ndarray:
    """Prediction of the unit at (y, x), int [4, 4]; of 14 bits by EIGHT_TAP. The border is repeated outside."""
    if taps != EIGHT_TAP:  # the filters look at no block's bounds: a unit is the corner of a block
        return predict_block(reference, width, y, x, vector, taps, (1 << bit_depth) - 1)[:UNIT, :UNIT]
    rows = np.clip(y + (int(vector[1]) >> 2) + np.arange(-3, UNIT + 4), 0, reference.shape[0] - 1)
    columns = np.clip(x + (int(vector[0]) >> 2) + np.arange(-3, UNIT + 4), 0, width - 1)
    window = reference[rows[:, None], columns].astype(np.int64)
    return interpolate_eight_tap(window, int(vector[0]) & 3, int(vector[1]) & 3, bit_depth)


def weighted_single(predicted: np.ndarray, weight: int, offset: int, divisor: int) -> np.ndarray:
    """One list's prediction weighted, not yet clipped; divisor is a binary logarithm (H.264 8-298, H.265 8-265)."""
    if divisor == 0:
        return predicted * weight + offset
    return ((predicted * weight + (1 << (divisor - 1))) >> divisor) + offset


def combine(
    predictions: list[np.ndarray], entries: list[int], weights: Weights | None, taps: int, bit_depth: int
) -> np.ndarray:
    """Samples of a unit from the predictions of the lists used, one or two, with their entries.

    H.264 8.4.2.3 rounds each list's prediction to samples before; H.265 8.5.3.3.4 keeps 14 bits until here.
    """
    extra = PRECISION - bit_depth if taps == EIGHT_TAP else 0
    denominator = 0 if weights is None else weights.denominator
    divisor = denominator + extra
    offsets = [0 if weights is None else int(weights.single[entry, 1]) for entry in entries]
    if len(entries) == 1:
        weight = 1 if weights is None else int(weights.single[entries[0], 0])
        result = weighted_single(predictions[0], weight, offsets[0], divisor)
    else:
        w0, w1 = (1, 1) if weights is None else map(int, weights.pairs[entries[0], entries[1]])
        total = predictions[0] * w0 + predictions[1] * w1
        if taps == EIGHT_TAP:
            result = (total + ((sum(offsets) + 1) << divisor)) >> (divisor + 1)
        else:
            result = ((total + (1 << divisor)) >> (divisor + 1)) + ((sum(offsets) + 1) >> 1)
    return np.clip(result, 0, (1 << bit_depth) - 1)


def compensated_residual(
    picture: np.ndarray,
    references: tuple[np.ndarray, ...],
    plane_of: np.ndarray,
    vectors: np.ndarray,
    entries: np.ndarray,
    weights: Weights | None,
    shown: tuple[int, int, int, int],
    width: int,
    filter: int,
    bit_depth: int,
) -> np.ndarray:
    """What motion compensation misses of a picture, by the references and weights that its decoder used.

    Args:
        picture: uint8 or uint16 [rows, stride], the decoded luma as coded.
        references: 1 to 16 planes [rows, any stride], same type; a sample outside repeats their border.
        plane_of: int32 [n], the plane of `references` that an entry is.
        vectors: int16 [ceil(rows / 4), ceil(width / 4), 2, 2], quarter-sample, by list, then x, y.
        entries: int8 [ceil(rows / 4), ceil(width / 4), 2], the entry used by each list, or NO_ENTRY. A unit with
            neither (intra) is compared with `references[0]` in place; one with LEFT_OUT for list 0 is left out.
        weights: those of the picture's entries; None where prediction is not weighted.
        shown: top, left, height, width of the part wanted, within the picture.
        width: samples a row that are picture; the rest of a stride is padding.
        filter: SIX_TAP, BILINEAR or EIGHT_TAP; BILINEAR is weighted as SIX_TAP is, though no codec does so.
        bit_depth: bits a sample, 8..14, by EIGHT_TAP 8..12; the residual is brought to 8 bits.

    Returns:
        residual: uint8 [height, width], abs(decoded - predicted), at most 255; 0 where left out.
    """
    top, left, height, shown_width = shown
    result = np.zeros((vectors.shape[0] * UNIT, vectors.shape[1] * UNIT), np.int64)
    rows = range(top // UNIT, -(-(top + height) // UNIT))
    columns = range(left // UNIT, -(-(left + shown_width) // UNIT))
    for row, column in product(rows, columns):
        y, x = row * UNIT, column * UNIT
        mine = picture[y : y + UNIT, x : min(x + UNIT, width)].astype(np.int64)
        used = [(k, int(entry)) for k, entry in enumerate(entries[row, column]) if entry >= 0]
        if entries[row, column, 0] == LEFT_OUT:
            predicted = mine
        elif used:
            predictions = [
                predict_unit(references[plane_of[entry]], width, y, x, vectors[row, column, k], filter, bit_depth)
                for k, entry in used
            ]
            predicted = combine(predictions, [entry for _, entry in used], weights, filter, bit_depth)
        else:
            predicted = predict_unit(references[0], width, y, x, np.zeros(2, int), SIX_TAP, bit_depth)
        missed = np.abs(mine - predicted[: mine.shape[0], : mine.shape[1]])
        result[y : y + mine.shape[0], x : x + mine.shape[1]] = missed
    inside = result[top : top + height, left : left + shown_width]
    return np.minimum(inside >> (bit_depth - 8), 255).astype(np.uint8)
