"""Camera motion removed from the motion of one slot, and the length of what is left: numba.

Equal bit for bit to `codecsieve.kernels.reference.motion`, which defines and documents these functions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int32, njit, uintp

from codecsieve.kernels.camera import (
    CAMERA_BITS,
    MIN_TRIM_POINTS,
    VECTOR_UNITS,
    check_camera_mode,
    solve_camera,
    still_camera,
    trim_rank,
)
from codecsieve.kernels.cpu.ranks import values_at_rank
from codecsieve.kernels.reference.motion import LENGTH_BITS, LENGTH_TOP

COARSE_BITS = LENGTH_BITS // 2
FINE_BITS = LENGTH_BITS - COARSE_BITS
SQUARE_TOP = (1 << 15) - 1
REACH = 182
"""Quarter-pels whose square is above `SQUARE_TOP`."""


def remove_camera(motion: npt.NDArray[np.int16], mode: str) -> npt.NDArray[np.int32]:
    """Motion of one slot less that of its camera: int16 [Hc, Wc, 2] quarter-pel -> int32 1/4096 px.

    For the tests: scores need only `lengths_without_camera`.
    """
    return subtract_camera(motion, estimate_camera(motion, mode))


def estimate_camera(motion: npt.NDArray[np.int16], mode: str) -> npt.NDArray[np.int64]:
    """The camera of one slot, int64 [2, 3], in the form of `codecsieve.kernels.camera`."""
    check_camera_mode(mode)
    if mode == "none":
        return still_camera(0, 0)
    if mode == "mean":
        return still_camera(*_mean(motion))
    rows = np.ascontiguousarray(motion).reshape(len(motion), -1)
    x, y = median_motion(rows, stands_for(rows))
    median = still_camera(VECTOR_UNITS * x, VECTOR_UNITS * y)
    return median if mode == "median" else _fit_camera(motion, mode, median)


@njit(cache=True, nogil=True)
def camera_moments(motion: npt.NDArray[np.int16], kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The sums that fix a least-squares camera, int64 [12], over the cells of bool [Hc, Wc] `kept`."""
    height, width = kept.shape
    sums = np.zeros(12, np.int64)
    for row in range(height):
        # On a row Y is one number: sum the rest, and multiply by it once.
        n, sx, sxx = 0, 0, 0
        su, sxu, sv, sxv = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        for column in range(width):
            if kept[row, column]:
                x = 2 * column - (width - 1)
                u, v = np.int64(motion[row, column, 0]), np.int64(motion[row, column, 1])
                n += 1
                sx += x
                sxx += x * x
                su += u
                sxu += x * u
                sv += v
                sxv += x * v
        y = 2 * row - (height - 1)
        terms = (n, sx, y * n, sxx, y * sx, y * y * n, su, sxu, y * su, sv, sxv, y * sv)
        for i in range(12):
            sums[i] += terms[i]
    return sums


@njit(cache=True, nogil=True)
def subtract_camera(motion: npt.NDArray[np.int16], camera: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Motion less a camera's: int16 [Hc, Wc, 2] quarter-pel, int64 [2, 3] -> int32 [Hc, Wc, 2] 1/4096 px.

    For the tests, as `remove_camera` is.
    """
    height, width = motion.shape[:2]
    vectors = np.empty((height, width, 2), np.int32)
    moved = np.empty((2, width), np.int32)
    for row in range(height):
        _move_row(camera, 2 * row - (height - 1), moved)
        for column in range(uintp(width)):
            vectors[row, column, 0] = VECTOR_UNITS * int32(motion[row, column, 0]) - moved[0, column]
            vectors[row, column, 1] = VECTOR_UNITS * int32(motion[row, column, 1]) - moved[1, column]
    return vectors


@njit(cache=True, nogil=True)
def _move_row(camera: npt.NDArray[np.int64], y: int, moved: npt.NDArray[np.int32]) -> None:
    """What a camera moves a row of cells by, 1/4096 px: int32 [2, Wc], x then y."""
    width = moved.shape[1]
    for axis in range(2):
        turn = 2 * camera[axis, 1]
        start = camera[axis, 0] + camera[axis, 2] * y + (1 << (CAMERA_BITS - 1)) - camera[axis, 1] * (width - 1)
        if turn == 0:
            moved[axis] = start >> CAMERA_BITS
        else:
            for column in range(width):
                moved[axis, column] = (start + turn * column) >> CAMERA_BITS


@njit(cache=True, nogil=True)
def magnitude(vectors: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Length of each vector, rounded down, at most `LENGTH_TOP`: int32 [Hc, Wc, 2] -> [Hc, Wc], 1/4096 px.

    For the tests, as `remove_camera` is.
    """
    height, width = vectors.shape[:2]
    lengths = np.empty((height, width), np.int32)
    squares = np.empty(width, np.float64)
    for row in range(height):
        for column in range(uintp(width)):
            squares[column] = _square(vectors[row, column, 0], vectors[row, column, 1])
        for column in range(uintp(width)):
            lengths[row, column] = np.int32(np.sqrt(squares[column]))
    return lengths


@njit(cache=True, nogil=True)
def lengths_without_camera(motion: npt.NDArray[np.int16], camera: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """`magnitude` of `subtract_camera`, whose vectors are never written: int32 [Hc, Wc], 1/4096 px."""
    height, width = motion.shape[:2]
    lengths = np.empty((height, width), np.int32)
    squares = np.empty(width, np.float64)
    moved = np.empty((2, width), np.int32)
    for row in range(height):
        _move_row(camera, 2 * row - (height - 1), moved)
        for column in range(uintp(width)):
            x = int32(VECTOR_UNITS * int32(motion[row, column, 0]) - moved[0, column])
            y = int32(VECTOR_UNITS * int32(motion[row, column, 1]) - moved[1, column])
            squares[column] = _square(x, y)
        for column in range(uintp(width)):
            lengths[row, column] = np.int32(np.sqrt(squares[column]))
    return lengths


@njit(cache=True, nogil=True)
def _square(x: np.int32, y: np.int32) -> np.float64:
    """Square of a vector's length, clipped at that of the longest: not exact above 2^53, but far above that."""
    return min(np.float64(x) * np.float64(x) + np.float64(y) * np.float64(y), np.float64(LENGTH_TOP) * LENGTH_TOP)


@njit(cache=True, nogil=True)
def length_at_rank(lengths: npt.NDArray[np.int32], rank: int) -> int:
    """The length at a 0-based rank of the sorted lengths, found by its high bits and then by its low ones."""
    flat = np.ascontiguousarray(lengths).reshape(lengths.size)
    # Neighbours are often equal: in counts of their own, one increment need not wait for the last.
    coarse = np.zeros((4, 1 << COARSE_BITS), np.int32)
    for i in range(uintp(len(flat))):
        coarse[i & uintp(3), flat[i] >> FINE_BITS] += 1
    high, rank = _bin_at_rank(coarse.sum(axis=0), rank)
    fine = np.zeros(1 << FINE_BITS, np.int32)
    for length in flat:
        if length >> FINE_BITS == high:
            fine[length & ((1 << FINE_BITS) - 1)] += 1
    low, _ = _bin_at_rank(fine, rank)
    return (high << FINE_BITS) | low


def _fit_camera(motion: npt.NDArray[np.int16], mode: str, median: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    height, width = motion.shape[:2]
    moving = _moving(motion)
    moments = camera_moments(motion, moving)
    first = solve_camera(moments, mode, height, width)
    if first is None:
        return median
    points = int(moments[0])
    if points < MIN_TRIM_POINTS:
        return first
    errors = lengths_without_camera(motion, first)
    limit = length_at_rank(errors[moving], trim_rank(points))
    second = solve_camera(camera_moments(motion, moving & (errors <= limit)), mode, height, width)
    return first if second is None else second


@njit(cache=True, nogil=True)
def _mean(motion: npt.NDArray[np.int16]) -> tuple[int, int]:
    sum_x, sum_y = 0, 0
    for row in range(motion.shape[0]):
        for column in range(motion.shape[1]):
            sum_x += motion[row, column, 0]
            sum_y += motion[row, column, 1]
    count = motion.shape[0] * motion.shape[1]
    return (
        (2 * VECTOR_UNITS * sum_x + count) // (2 * count),
        (2 * VECTOR_UNITS * sum_y + count) // (2 * count),
    )


@njit(cache=True, nogil=True)
def median_motion(rows: npt.NDArray[np.int16], weights: npt.NDArray[np.int32]) -> tuple[int, int]:
    """The lower median of each component of int16 [Hc, 2 Wc] quarter-pel; weights: from `stands_for`."""
    x, y = values_at_rank(rows, weights, 2, (rows.size // 2 - 1) // 2)
    return x, y


@njit(cache=True, nogil=True)
def squares_without(
    rows: npt.NDArray[np.int16], weights: npt.NDArray[np.int32], x: int, y: int
) -> npt.NDArray[np.int16]:
    """Squared lengths of motion less that of a still camera (x, y), quarter-pel, at most `SQUARE_TOP`.

    Where motion and camera are whole, these are too, and in the same order as the lengths, which take far longer.

    Args:
        rows: int16 [Hc, 2 Wc] quarter-pel.
        weights: from `stands_for`.
        x: quarter-pel, likewise y.

    Returns:
        int16 [Hc, Wc]; rows that repeat the one above are left as they are.
    """
    squares = np.empty((rows.shape[0], rows.shape[1] // 2), np.int16)
    x, y, reach = int32(x), int32(y), int32(REACH)
    for row in range(rows.shape[0]):
        if weights[row]:
            for column in range(uintp(squares.shape[1])):
                dx = min(abs(int32(rows[row, uintp(2) * column] - x)), reach)
                dy = min(abs(int32(rows[row, uintp(2) * column + uintp(1)] - y)), reach)
                squares[row, column] = min(int32(dx * dx + dy * dy), int32(SQUARE_TOP))
    return squares


@njit(cache=True, nogil=True)
def stands_for(rows: npt.NDArray[np.int16]) -> npt.NDArray[np.int32]:
    """How many rows each is the first of that are equal, int32 [R]: 0 for one that is equal to that above it."""
    weights = np.ones(rows.shape[0], np.int32)
    first = 0
    for row in range(1, rows.shape[0]):
        differ = np.int16(0)
        for x in range(uintp(rows.shape[1])):
            differ = np.int16(differ | (rows[row, x] ^ rows[first, x]))
        if differ:
            first = row
        else:
            weights[first] += 1
            weights[row] = 0
    return weights


@njit(cache=True, nogil=True)
def _moving(motion: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    height, width = motion.shape[:2]
    moving = np.empty((height, width), np.bool_)
    for row in range(height):
        for column in range(width):
            moving[row, column] = (motion[row, column, 0] | motion[row, column, 1]) != 0
    return moving


@njit(cache=True, nogil=True)
def _bin_at_rank(counts: npt.NDArray[np.int32], rank: int) -> tuple[int, int]:
    """The bin of the value at a 0-based rank, and its rank within that bin."""
    i = 0
    while rank >= counts[i]:
        rank -= counts[i]
        i += 1
    return i, rank
