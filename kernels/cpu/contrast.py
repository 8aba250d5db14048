"""What stands out from its surroundings in one slot, in place of motion and residual as they are: numba.

Equal bit for bit to `codecsieve.kernels.reference.contrast`, which defines and documents these functions. Sums over
neighbourhoods are those of a band of rows, which moves down, and of their columns up to each: a larger one takes no
longer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, uintp

from codecsieve.kernels.camera import VECTOR_UNITS
from codecsieve.kernels.cpu.motion import estimate_camera, lengths_without_camera, subtract_camera
from codecsieve.kernels.reference.contrast import VARIANCE_BITS
from codecsieve.kernels.reference.motion import LENGTH_TOP
from codecsieve.kernels.rules import Measure

Shown = tuple[int, int, int, int]


def motion_lengths(
    motion: npt.NDArray[np.int16], mode: str, measure: Measure, shown: Shown | None = None
) -> npt.NDArray[np.int32]:
    """How much each cell moves, int32 [Hc, Wc].

    shown: begin and end of the rows, then of the columns of cells that are asked for; others may hold anything.
    """
    rows_begin, rows_end, begin, end = shown or (0, motion.shape[0], 0, motion.shape[1])
    if measure.mv_inconsistency == "mean":
        if mode in ("none", "mean", "median"):  # a camera that moves all cells alike makes no difference
            vectors, unit = np.ascontiguousarray(motion), VECTOR_UNITS
        else:
            vectors, unit = subtract_camera(motion, estimate_camera(motion, mode)), 1
        rows = vectors.reshape(len(vectors), -1)
        # Of vectors as they are in the file the sums fit 32 bits; those up to a column do so but for whole 2^32.
        sums = np.zeros(rows.shape[1], np.int32 if unit > 1 else np.int64)
        return _lengths_less_mean(rows, unit, measure.radius, sums, rows_begin, rows_end, begin, end)
    lengths = lengths_without_camera(motion, estimate_camera(motion, mode))
    return local_variance(lengths, measure.radius) if measure.mv_inconsistency == "variance" else lengths


@njit(cache=True, nogil=True)
def residual_gradient(residual: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """How steeply a residual changes: uint8 [H, W] -> uint8 [H, W]."""
    height, width = residual.shape
    gradient = np.empty((height, width), np.uint8)
    for y in range(height):
        above, below, row = residual[max(y - 1, 0)], residual[min(y + 1, height - 1)], residual[y]
        for x in range(uintp(1), uintp(max(width - 1, 1))):
            gradient[y, x] = _steepness(row[x - uintp(1)], row[x + uintp(1)], above[x], below[x])
        for x in (0, width - 1):
            gradient[y, x] = _steepness(row[max(x - 1, 0)], row[min(x + 1, width - 1)], above[x], below[x])
    return gradient


@njit(cache=True, nogil=True)
def _steepness(left: np.uint8, right: np.uint8, above: np.uint8, below: np.uint8) -> np.uint8:
    across = np.uint8(max(left, right) - min(left, right))
    down = np.uint8(max(above, below) - min(above, below))
    # Their mean, rounded half up, without leaving 8 bits.
    return np.uint8((across | down) - (np.uint8(across ^ down) >> np.uint8(1)))


@njit(cache=True, nogil=True, error_model="numpy")
def _lengths_less_mean(
    rows: npt.NDArray[np.signedinteger],
    unit: int,
    radius: int,
    sums: npt.NDArray[np.signedinteger],
    row_begin: int,
    row_end: int,
    begin: int,
    end: int,
) -> npt.NDArray[np.int32]:
    """`magnitude` of `less_mean`, int32 [Hc, Wc]; rows: [Hc, 2 Wc], 1/unit of 1/4096 px; sums: 0, of their columns."""
    height, width = rows.shape[0], rows.shape[1] // 2
    lengths = np.empty((height, width), np.int32)
    up_to = np.zeros(2 * (width + 2 * radius + 1), sums.dtype)
    different = np.empty(2 * width, np.float64)
    counts = _counts(width, radius)
    top = np.float64(LENGTH_TOP) * LENGTH_TOP
    for row in range(max(row_begin - radius, 0), min(row_begin + radius, height)):
        _add(rows[row], 1, sums)
    for row in range(row_begin, row_end):
        if row + radius < height:
            _add(rows[row + radius], 1, sums)
        _sum_up(sums, radius, 2, up_to)
        high = min(row + radius + 1, height) - max(row - radius, 0)
        for column in range(uintp(begin), uintp(end)):
            number = np.float64(high * counts[column])
            share = 1 / (2 * number)
            for part in range(uintp(2)):
                x = uintp(2) * column + part
                total = sums.dtype.type(up_to[x + uintp(4 * radius + 2)] - up_to[x])
                # Sum and number are whole: half of one more keeps the quotient off the next whole number's edge.
                mean = np.floor((np.float64(2 * unit) * total + number + 0.5) * share)
                different[x] = np.float64(unit) * rows[row, x] - mean
        for column in range(uintp(begin), uintp(end)):
            x, y = different[uintp(2) * column], different[uintp(2) * column + uintp(1)]
            lengths[row, column] = np.int32(np.sqrt(min(x * x + y * y, top)))
        if row >= radius:
            _add(rows[row - radius], -1, sums)
    return lengths


@njit(cache=True, nogil=True, error_model="numpy")
def local_variance(lengths: npt.NDArray[np.int32], radius: int) -> npt.NDArray[np.int32]:
    """Variance of the lengths around each cell: int32 [Hc, Wc], 1/4096 px^2."""
    height, width = lengths.shape
    variances = np.empty((height, width), np.int32)
    # Lengths and their squares, side by side as x and y of vectors are.
    rows = np.empty((height, 2 * width), np.int64)
    for row in range(height):
        for column in range(width):
            length = np.int64(lengths[row, column])
            rows[row, 2 * column], rows[row, 2 * column + 1] = length, length * length
    sums = np.zeros(2 * width, np.int64)
    up_to = np.zeros(2 * (width + 2 * radius + 1), np.int64)
    counts = _counts(width, radius)
    for row in range(min(radius, height)):
        _add(rows[row], 1, sums)
    for row in range(height):
        if row + radius < height:
            _add(rows[row + radius], 1, sums)
        _sum_up(sums, radius, 2, up_to)
        high = min(row + radius + 1, height) - max(row - radius, 0)
        for column in range(uintp(width)):
            x = uintp(2) * column
            total = up_to[x + uintp(4 * radius + 2)] - up_to[x]
            squares = up_to[x + uintp(4 * radius + 3)] - up_to[x + uintp(1)]
            number = np.int64(high * counts[column])
            spread = number * squares - total * total
            # Up to LENGTH_TOP the float64 quotient is nearer to the exact one than that to a whole number.
            quotient = np.float64(2 * spread + 1) / np.float64(number * number << (VARIANCE_BITS + 1))
            variances[row, column] = np.int32(min(quotient, np.float64(LENGTH_TOP)))
        if row >= radius:
            _add(rows[row - radius], -1, sums)
    return variances


@njit(cache=True, nogil=True)
def _counts(width: int, radius: int) -> npt.NDArray[np.int32]:
    """How many columns lie around each."""
    counts = np.empty(width, np.int32)
    for column in range(width):
        counts[column] = min(column + radius + 1, width) - max(column - radius, 0)
    return counts


@njit(cache=True, nogil=True)
def _add(row: npt.NDArray[np.signedinteger], sign: int, sums: npt.NDArray[np.signedinteger]) -> None:
    for x in range(uintp(len(sums))):
        sums[x] += sums.dtype.type(row[x]) if sign > 0 else sums.dtype.type(-sums.dtype.type(row[x]))


@njit(cache=True, nogil=True)
def _sum_up(sums: npt.NDArray[np.signedinteger], radius: int, parts: int, up_to: npt.NDArray[np.signedinteger]) -> None:
    """Sums of the columns up to each of `parts` quantities side by side, as if there were `radius` more about them.

    So what lies around a column is the difference of two entries 2 radius + 1 columns apart, the first at its place.
    """
    first = uintp(parts * (radius + 1))
    for x in range(uintp(len(sums))):
        up_to[first + x] = up_to[first + x - uintp(parts)] + sums[x]
    for x in range(first + uintp(len(sums)), uintp(len(up_to))):
        up_to[x] = up_to[x - uintp(parts)]
