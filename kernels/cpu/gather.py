"""Fast CPU form of `kernels.reference.gather`: the same patches, bit for bit.

The first pass runs over whole rows of samples in floating point, wide enough that every sum is a whole number
that it holds exactly: float32 for 8 bits a sample, float64 above.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.resample import COLOUR_BITS, FRACTION_BITS, TAP_BITS, ColourMatrix, Taps

NEUTRAL = 128 << FRACTION_BITS
RGB_BITS = COLOUR_BITS + FRACTION_BITS


@njit(cache=True, nogil=True)
def _resize_patch(
    plane: np.ndarray,
    top: int,
    left: int,
    row_first: np.ndarray,
    row_weights: np.ndarray,
    column_first: np.ndarray,
    column_weights: np.ndarray,
    at_y: int,
    at_x: int,
    patch: int,
    shift: int,
    strip: np.ndarray,
    level: np.ndarray,
    out: np.ndarray,
) -> None:
    """`reference.gather.resize_patch` on the samples from (top, left) of a plane on."""
    start = column_first[at_x]
    width = column_first[at_x + patch - 1] + column_weights.shape[1] - start
    offset = uintp(left + start)
    half = 1 << (shift - 1)
    for i in range(patch):
        for x in range(width):
            strip[x] = 0
        row = top + row_first[at_y + i]
        for k in range(row_weights.shape[1]):
            weight = row_weights[at_y + i, k]
            if weight != 0:
                source = uintp(row + k)
                for x in range(uintp(width)):
                    strip[x] += weight * plane[source, offset + x]
        for x in range(width):
            level[x] = (np.int64(strip[x]) + half) >> shift
        for j in range(patch):
            column = uintp(column_first[at_x + j] - start)
            total = 1 << (TAP_BITS - 1)
            for k in range(uintp(column_weights.shape[1])):
                total += column_weights[at_x + j, k] * level[column + k]
            out[i, j] = total >> TAP_BITS


@njit(cache=True, nogil=True)
def _gather(
    y: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    origins: np.ndarray,
    luma: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    chroma: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    grey: bool,
    corners: np.ndarray,
    patch: int,
    shift: int,
    matrix: tuple[int, int, int, int, int, int],
    strip: np.ndarray,
    level: np.ndarray,
    result: np.ndarray,
) -> None:
    y_offset, y_gain, red_v, green_u, green_v, blue_u = matrix
    luminance = np.empty((patch, patch), np.int64)
    blue = np.full((patch, patch), NEUTRAL, np.int64)
    red = np.full((patch, patch), NEUTRAL, np.int64)
    half = 1 << (RGB_BITS - 1)
    for k in range(len(corners)):
        at_y, at_x = corners[k, 0], corners[k, 1]
        _resize_patch(y, origins[0, 0], origins[0, 1], *luma, at_y, at_x, patch, shift, strip, level, luminance)
        if not grey:
            _resize_patch(u, origins[1, 0], origins[1, 1], *chroma, at_y, at_x, patch, shift, strip, level, blue)
            _resize_patch(v, origins[1, 0], origins[1, 1], *chroma, at_y, at_x, patch, shift, strip, level, red)
        for i in range(patch):
            for j in range(patch):
                light = (luminance[i, j] - (y_offset << FRACTION_BITS)) * y_gain + half
                cb, cr = blue[i, j] - NEUTRAL, red[i, j] - NEUTRAL
                result[k, 0, i, j] = min(max((light + red_v * cr) >> RGB_BITS, 0), 255)
                result[k, 1, i, j] = min(max((light + green_u * cb + green_v * cr) >> RGB_BITS, 0), 255)
                result[k, 2, i, j] = min(max((light + blue_u * cb) >> RGB_BITS, 0), 255)


def gather_patches(
    planes: tuple[np.ndarray, ...],
    luma_taps: tuple[Taps, Taps],
    chroma_taps: tuple[Taps, Taps],
    corners: np.ndarray,
    patch: int,
    depth: int,
    matrix: ColourMatrix,
    origins: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> np.ndarray:
    """See `reference.gather.gather_patches`; `origins` are the first shown luma and chroma sample (row, column)."""
    result = np.empty((len(corners), 3, patch, patch), np.uint8)
    grey = len(planes) == 1
    wide = np.float32 if depth == 8 else np.float64
    widest = max(plane.shape[1] for plane in planes)
    _gather(
        planes[0],
        planes[0] if grey else planes[1],
        planes[0] if grey else planes[2],
        np.array(origins, np.int64),
        _arrays(luma_taps, wide),
        _arrays(chroma_taps, wide),
        grey,
        corners,
        patch,
        TAP_BITS - FRACTION_BITS + depth - 8,
        (matrix.luma_offset, matrix.luma_gain, matrix.red_v, matrix.green_u, matrix.green_v, matrix.blue_u),
        np.empty(widest, wide),
        np.empty(widest, np.int64),
        result,
    )
    return result


def _arrays(taps: tuple[Taps, Taps], wide: type) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = taps
    return rows.first, rows.weights.astype(wide), columns.first, columns.weights
