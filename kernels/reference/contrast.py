"""What stands out from its surroundings in one slot, in place of motion and residual as they are: the definition.

A cell's motion may be replaced by how far it differs from that around it, the residual by how steeply it changes.
`variance` and the gradient are those of OneVision-Encoder's evaluation (arXiv 2602.08683, `--mv_use_inconsistency` and
`--res_use_grad`), `mean` is this project's (docs/evidence.md). Camera motion is left to `motion`, what counts as 1.0 to
`energy`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.reference.motion import LENGTH_TOP, magnitude, remove_camera
from codecsieve.kernels.rules import INCONSISTENCY_MODES, LEAST_KSIZE, MOST_KSIZE, SCALE_MODES, Measure

VARIANCE_BITS = 12
"""Variances in (1/4096 px)^2 are shifted down by so many bits, to 1/4096 px^2."""


def check_measure(measure: Measure) -> None:
    """Raise ValueError unless the fields of a `Measure` are within their ranges."""
    if measure.mv_inconsistency not in INCONSISTENCY_MODES:
        names = ", ".join(INCONSISTENCY_MODES)
        raise ValueError(f"mv_inconsistency ({measure.mv_inconsistency!r}) must be one of {names}")
    if not (LEAST_KSIZE <= measure.mv_incon_ksize <= MOST_KSIZE and measure.mv_incon_ksize % 2):
        raise ValueError(f"mv_incon_ksize ({measure.mv_incon_ksize}) must be odd and in {LEAST_KSIZE}..{MOST_KSIZE}")
    if measure.scale not in SCALE_MODES:
        raise ValueError(f"scale ({measure.scale!r}) must be one of {', '.join(SCALE_MODES)}")


def motion_lengths(motion: npt.NDArray[np.int16], mode: str, measure: Measure) -> npt.NDArray[np.int32]:
    """How much each cell of a slot moves, by one of `INCONSISTENCY_MODES`, once camera motion is out.

    Args:
        motion: int16 [Hc, Wc, 2], quarter-pel, x then y.
        mode: camera mode, one of `codecsieve.kernels.rules.CAMERA_MODES`.
        measure: of which `mv_inconsistency` and `radius` are read.

    Returns:
        int32 [Hc, Wc], at most `LENGTH_TOP`: 1/4096 px, or with `variance` 1/4096 px^2.
    """
    vectors = remove_camera(motion, mode)
    if measure.mv_inconsistency == "mean":
        return magnitude(less_mean(vectors, measure.radius))
    lengths = magnitude(vectors)
    return local_variance(lengths, measure.radius) if measure.mv_inconsistency == "variance" else lengths


def less_mean(vectors: npt.NDArray[np.int32], radius: int) -> npt.NDArray[np.int32]:
    """Each vector less the mean of those around it, rounded half up.

    A camera that moves all cells alike makes no difference to it.

    Args:
        vectors: int32 [Hc, Wc, 2], 1/4096 px, x then y.
        radius: cells to each side, and in each direction, that count, as far as they are in the picture.

    Returns:
        int32 [Hc, Wc, 2], 1/4096 px.
    """
    number = box_sums(np.ones(vectors.shape[:2], np.int64), radius)[..., None]
    sums = np.stack([box_sums(part.astype(np.int64), radius) for part in np.moveaxis(vectors, -1, 0)], axis=-1)
    return (vectors - (2 * sums + number) // (2 * number)).astype(np.int32)


def local_variance(lengths: npt.NDArray[np.int32], radius: int) -> npt.NDArray[np.int32]:
    """Variance of the lengths around each cell, its own among them, in 1/4096 px^2 and rounded down.

    Args:
        lengths: int32 [Hc, Wc], 1/4096 px, 0 to `LENGTH_TOP`.
        radius: as for `less_mean`.

    Returns:
        int32 [Hc, Wc], at most `LENGTH_TOP`, which is 256 px^2: a standard deviation of 16 px.
    """
    wide = lengths.astype(np.int64)
    number, sums, squares = (box_sums(part, radius) for part in (np.ones_like(wide), wide, wide**2))
    # Exact: 289 cells of 20 bits make this less than 2^57.
    variance = (number * squares - sums**2) // (number**2 << VARIANCE_BITS)
    return np.minimum(variance, LENGTH_TOP).astype(np.int32)


def box_sums(values: npt.NDArray[np.int64], radius: int) -> npt.NDArray[np.int64]:
    """Sums over the square of 2 radius + 1 cells about each cell, clipped to the picture: int64 [Hc, Wc], likewise."""
    for axis in (0, 1):
        length = values.shape[axis]
        up_to = np.insert(np.cumsum(values, axis), 0, 0, axis)
        at = np.arange(length)
        begin, end = np.maximum(at - radius, 0), np.minimum(at + radius + 1, length)
        values = up_to.take(end, axis) - up_to.take(begin, axis)
    return values


def residual_gradient(residual: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """How steeply a residual changes: half the sum of its differences across and down, rounded half up.

    A difference is that of the two pixels next to a pixel, on either side; the border is repeated around the picture.
    (The published one has the opposite border there, and differences of the signed residual.)

    Args:
        residual: uint8 [H, W], absolute difference of decoded and predicted luma.

    Returns:
        uint8 [H, W].
    """
    around = np.pad(residual.astype(np.int32), 1, mode="edge")
    across = np.abs(around[1:-1, 2:] - around[1:-1, :-2])
    down = np.abs(around[2:, 1:-1] - around[:-2, 1:-1])
    return ((across + down + 1) // 2).astype(np.uint8)
