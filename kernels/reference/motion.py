"""Camera motion removed from the motion of one slot, and the length of what is left: the definition.

The fit follows arXiv 2602.08683's published pipeline: on every moving cell, then again on the 70 % that it
explains best. The solution itself is `codecsieve.kernels.camera.solve_camera`; turning lengths into energy is
`energy`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.camera import (
    CAMERA_BITS,
    MIN_TRIM_POINTS,
    VECTOR_UNITS,
    check_camera_mode,
    solve_camera,
    still_camera,
    trim_rank,
)

LENGTH_BITS = 20
"""Lengths are told apart up to `1 << LENGTH_BITS`, which is 256 px."""

LENGTH_TOP = (1 << LENGTH_BITS) - 1
"""The longest length, in 1/4096 px, that a vector is given."""


def remove_camera(motion: npt.NDArray[np.int16], mode: str) -> npt.NDArray[np.int32]:
    """Motion of one slot less that of its camera.

    Args:
        motion: int16 [Hc, Wc, 2], quarter-pel, x then y.
        mode: one of `CAMERA_MODES`.

    Returns:
        int32 [Hc, Wc, 2], 1/4096 px, x then y.

    Raises:
        ValueError: the mode is unknown.
    """
    return subtract_camera(motion, estimate_camera(motion, mode))


def estimate_camera(motion: npt.NDArray[np.int16], mode: str) -> npt.NDArray[np.int64]:
    """The camera of one slot, in the form of `codecsieve.kernels.camera`.

    Args:
        motion: int16 [Hc, Wc, 2], quarter-pel, x then y.
        mode: `none` stays at rest; `mean` and `median` (the lower one, of each component) are over every
            cell; `similarity`, `rigid` and `affine` are trimmed least squares over the cells that move, and the
            median where these do not fix a camera.

    Returns:
        int64 [2, 3].

    Raises:
        ValueError: the mode is unknown.
    """
    check_camera_mode(mode)
    points = motion.reshape(-1, 2).astype(np.int64)
    if mode == "none":
        return still_camera(0, 0)
    if mode == "mean":
        mean = (2 * VECTOR_UNITS * points.sum(axis=0) + len(points)) // (2 * len(points))
        return still_camera(*mean.tolist())
    lower = VECTOR_UNITS * np.sort(points, axis=0)[(len(points) - 1) // 2]
    median = still_camera(*lower.tolist())
    return median if mode == "median" else _fit_camera(motion, mode, median)


def camera_moments(motion: npt.NDArray[np.int16], kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The sums that fix a least-squares camera; see `codecsieve.kernels.camera.solve_camera`.

    Args:
        motion: int16 [Hc, Wc, 2], quarter-pel, x then y.
        kept: bool [Hc, Wc], the cells to sum over.

    Returns:
        int64 [12].
    """
    x, y = (grid[kept] for grid in _centered_coordinates(*kept.shape))
    u, v = motion[kept].astype(np.int64).T
    one = np.ones_like(x)
    terms = (one, x, y, x * x, x * y, y * y, u, x * u, y * u, v, x * v, y * v)
    return np.array([term.sum() for term in terms], np.int64)


def subtract_camera(motion: npt.NDArray[np.int16], camera: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Motion less a camera's, which is rounded half up to 1/4096 px at each cell.

    Args:
        motion: int16 [Hc, Wc, 2], quarter-pel, x then y.
        camera: int64 [2, 3], see `codecsieve.kernels.camera`.

    Returns:
        int32 [Hc, Wc, 2], 1/4096 px, x then y.
    """
    x, y = _centered_coordinates(*motion.shape[:2])
    half = 1 << (CAMERA_BITS - 1)
    moved = np.stack([(c[0] + c[1] * x + c[2] * y + half) >> CAMERA_BITS for c in camera], axis=-1)
    return (VECTOR_UNITS * motion.astype(np.int64) - moved).astype(np.int32)


def magnitude(vectors: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Length of each vector, rounded down.

    Args:
        vectors: int32 [Hc, Wc, 2], 1/4096 px, x then y.

    Returns:
        int32 [Hc, Wc], 1/4096 px, at most `LENGTH_TOP`.
    """
    # A component of LENGTH_TOP + 1 makes the length that too; clipped there, the squares stay below 2^52,
    # where the floor of the float64 square root is the integer square root.
    clipped = np.minimum(np.abs(vectors.astype(np.int64)), LENGTH_TOP + 1)
    squares = (clipped**2).sum(axis=-1)
    return np.minimum(np.floor(np.sqrt(squares)), LENGTH_TOP).astype(np.int32)


def length_at_rank(lengths: npt.NDArray[np.int32], rank: int) -> int:
    """The length at a 0-based rank of the sorted lengths: int32 [...] within 0..`LENGTH_TOP`."""
    return int(np.sort(lengths, axis=None)[rank])


def _fit_camera(motion: npt.NDArray[np.int16], mode: str, median: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Fit on the cells that move, then on those it explains best; an unsolvable fit changes nothing."""
    height, width = motion.shape[:2]
    moving = (motion != 0).any(axis=-1)
    first = solve_camera(camera_moments(motion, moving), mode, height, width)
    if first is None:
        return median
    points = int(moving.sum())
    if points < MIN_TRIM_POINTS:
        return first
    errors = magnitude(subtract_camera(motion, first))
    limit = length_at_rank(errors[moving], trim_rank(points))
    second = solve_camera(camera_moments(motion, moving & (errors <= limit)), mode, height, width)
    return first if second is None else second


def _centered_coordinates(height: int, width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    return 2 * x - (width - 1), 2 * y - (height - 1)
