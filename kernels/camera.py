"""The motion of a camera: its form, its unit, and the exact solution of its least-squares fit on the host.

A camera is six integers, int64 [2, 3]: at cell `(x, y)` of a grid of `width x height` cells it moves the
picture by `(c[0] + c[1] * X + c[2] * Y) / 65536` in each component (x, then y), in 1/4096 px, where `X = 2x -
(width - 1)` and `Y = 2y - (height - 1)` are the cell's coordinates about the grid's centre, in half cells.
The solution is found with Python's unbounded integers and only then rounded, so that it does not depend on
the order or the device of the sums. Which cells are summed, and the subtraction, are left to the `motion`
kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.rules import CAMERA_MODES

VECTOR_UNITS = 1024
"""Units of a camera and of what is left of motion (1/4096 px) in one quarter-pel.

As fine as this because energy is relative to a slot's own 95th percentile: where hardly anything moves, the
mean of a slot's motion is thousandths of a pixel, and decides much.
"""

CAMERA_BITS = 16
"""A camera's numbers are fixed point: 1/4096 px times `1 << CAMERA_BITS`."""

MIN_FIT_POINTS = 4
"""Fewer moving cells than this say nothing of a camera: 64 pixels, which the published pipeline counts."""

MIN_TRIM_POINTS = 8
"""With fewer moving cells than this the first fit stands: 128 pixels of the published pipeline."""

CAMERA_LIMIT = 1 << 26
"""A fit that moves a corner of the picture by this much (16384 px, in 1/4096 px) or more is not a camera."""


def check_camera_mode(mode: str) -> None:
    """Raise ValueError unless `mode` is one of `CAMERA_MODES`."""
    if mode not in CAMERA_MODES:
        raise ValueError(f"camera mode ({mode!r}) must be one of {', '.join(CAMERA_MODES)}")


def still_camera(x: int, y: int) -> npt.NDArray[np.int64]:
    """The camera that moves the whole picture by `(x, y)`, in 1/4096 px."""
    return np.array([[x << CAMERA_BITS, 0, 0], [y << CAMERA_BITS, 0, 0]], np.int64)


def trim_rank(points: int) -> int:
    """0-based rank, among the sorted errors of `points` cells, of the last of the best 70 %."""
    return (7 * points + 9) // 10 - 1


def solve_camera(moments: npt.NDArray[np.int64], mode: str, height: int, width: int) -> npt.NDArray[np.int64] | None:
    """The least-squares camera of a set of cells, from their exact sums.

    Every pixel of a cell is a point of the fit, as in the published pipeline: so cells in a row, or in one
    place, fix a camera too.

    Args:
        moments: int64 [12], sums over the cells of `1, X, Y, XX, XY, YY, u, Xu, Yu, v, Xv, Yv`, with `(u, v)`
            the cell's motion in quarter-pel.
        mode: `rigid` (shift, zoom and turn), `similarity` (the same on axes that each run from -1 to 1, as
            published: a rigid motion on square grids alone, where it has the bits of `rigid`) or `affine`, which is
            the same on any axes.
        height: of the grid, in cells.
        width: of the grid, in cells.

    Returns:
        int64 [2, 3], each number rounded half up from its exact value, or None where the cells do not fix a
        camera: fewer than 4 of them, or a corner moved by 16384 px or more.
    """
    if moments[0] < MIN_FIT_POINTS:
        return None
    sums = _pixel_sums([int(value) for value in moments])
    if mode == "affine":
        solved = _affine(sums)
    else:
        solved = _turn_and_zoom(sums, *(_axis_scales(height, width) if mode == "similarity" else (1, 1)))
    corners = [(x, y) for x in (1 - width, width - 1) for y in (1 - height, height - 1)]
    limit = CAMERA_LIMIT << CAMERA_BITS
    if any(abs(c0 + c1 * x + c2 * y) >= limit for c0, c1, c2 in solved for x, y in corners):
        return None
    return np.array(solved, np.int64)


def _pixel_sums(sums: Sequence[int]) -> list[int]:
    """Sums over cells made means over their pixels, which stand at -3, -1, 1 and 3 quarters of X or Y."""
    n, sx, sy, sxx, sxy, syy, su, sxu, syu, sv, sxv, syv = sums
    inside = 5 * n
    squares = [16 * sxx + inside, 16 * sxy, 16 * syy + inside]
    return [n, 4 * sx, 4 * sy, *squares, su, 4 * sxu, 4 * syu, sv, 4 * sxv, 4 * syv]


def _axis_scales(height: int, width: int) -> tuple[int, int]:
    """Whole numbers that make both axes, in quarters of X and Y, as long: the outermost pixels are at 4n - 1 of n."""
    return 4 * height - 1, 4 * width - 1


def _turn_and_zoom(sums: Sequence[int], p: int, q: int) -> list[list[int]]:
    """Minimise sum (u - tx - apX + bqY)^2 + (v - ty - bpX - aqY)^2, with `p` and `q` the scales of the axes."""
    n, sx, sy, sxx, _, syy, su, sxu, syu, sv, sxv, syv = sums
    sx, sxu, sxv, sxx = p * sx, p * sxu, p * sxv, p * p * sxx
    sy, syu, syv, syy = q * sy, q * syu, q * syv, q * q * syy
    spread = n * (sxx + syy) - sx * sx - sy * sy
    a = n * (sxu + syv) - sx * su - sy * sv
    b = n * (sxv - syu) - sx * sv + sy * su
    shift_x = _fixed(su * spread - a * sx + b * sy, n * spread)
    shift_y = _fixed(sv * spread - b * sx - a * sy, n * spread)
    zoom_x, turn_x = _fixed(4 * p * a, spread), _fixed(4 * p * b, spread)
    zoom_y, turn_y = _fixed(4 * q * a, spread), _fixed(4 * q * b, spread)
    return [[shift_x, zoom_x, -turn_y], [shift_y, turn_x, zoom_y]]


def _affine(sums: Sequence[int]) -> list[list[int]]:
    """Minimise sum (u - c0 - c1 X - c2 Y)^2, and the same of v, by Cramer's rule."""
    n, sx, sy, sxx, sxy, syy = sums[:6]
    columns = [(n, sx, sy), (sx, sxx, sxy), (sy, sxy, syy)]
    whole = _determinant(columns)
    solved = []
    for right in (tuple(sums[6:9]), tuple(sums[9:12])):
        shift, slope_x, slope_y = (_determinant([*columns[:i], right, *columns[i + 1 :]]) for i in range(3))
        solved.append([_fixed(shift, whole), _fixed(4 * slope_x, whole), _fixed(4 * slope_y, whole)])
    return solved


def _determinant(columns: Sequence[tuple[int, ...]]) -> int:
    (a, b, c), (d, e, f), (g, h, i) = columns
    return a * (e * i - f * h) - d * (b * i - c * h) + g * (b * f - c * e)


def _fixed(numerator: int, denominator: int) -> int:
    """A ratio in quarter-pel, its denominator positive, in fixed point of 1/4096 px, rounded half up."""
    return (2 * numerator * (VECTOR_UNITS << CAMERA_BITS) + denominator) // (2 * denominator)
