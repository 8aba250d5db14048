"""From the motion and the residual of a slot to the scores of its patches: the definition.

Motion and residual become energies on the 4x4-pixel cells, each measured against its own 95th percentile in this
slot, are fused, lifted near the picture's centre, and pooled by area into patches. An energy of 1.0 is the integer
`ENERGY_ONE`, that is 256 parts of each of 255 levels. A score is in units of one level over one pixel of the model's
picture, so a patch scores 0 to `255 * patch * patch`. Follows arXiv 2602.08683's published pipeline, which has it in
floating point at full resolution. Camera motion is `motion`'s; choosing among scores is `select`'s.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.geometry import CELL, CENTER_BITS, POOL_BITS, Geometry, Pooling
from codecsieve.kernels.reference.motion import MAGNITUDE_TOP, magnitude, remove_camera

ENERGY_BITS = 8
"""Fractional bits of an energy: one of its 255 levels is `1 << ENERGY_BITS`."""

ENERGY_ONE = 255 << ENERGY_BITS
"""The integer that stands for an energy of 1.0."""

PERCENTILE = 95
"""What is at or above this percentile of a slot's magnitudes or residuals has energy 1.0."""

FUSE_MODES = ("weighted", "max", "sum", "geomean")
"""How the energies of motion and residual become one."""


def check_fuse_mode(fuse: str) -> None:
    """Raise ValueError unless `fuse` is one of `FUSE_MODES`."""
    if fuse not in FUSE_MODES:
        raise ValueError(f"fuse ({fuse!r}) must be one of {', '.join(FUSE_MODES)}")


def fuse_weights(w_mv: float, w_res: float) -> tuple[int, int]:
    """Integer weights of motion and residual in the `weighted` mode, in 1/1024.

    Raises:
        ValueError: a weight is outside [0, 1000000] or not a number, or both round to 0.
    """
    for name, weight in (("w_mv", w_mv), ("w_res", w_res)):
        if not 0 <= weight <= 1_000_000:
            raise ValueError(f"{name} ({weight}) must be in [0, 1000000]")
    weights = math.floor(w_mv * 1024 + 0.5), math.floor(w_res * 1024 + 0.5)
    if weights == (0, 0):
        raise ValueError(f"w_mv ({w_mv}) and w_res ({w_res}) must not both be 0")
    return weights


def check_signals(
    motion: npt.NDArray[np.int16],
    residual: npt.NDArray[np.uint8],
    keyframe: npt.NDArray[np.bool_],
    geometry: Geometry,
) -> None:
    """Raise ValueError unless a clip's signals have the dtypes and shapes that `score_clip` states."""
    for name, array, dtype in (("motion", motion, np.int16), ("residual", residual, np.uint8)):
        if array.dtype != dtype:
            raise ValueError(f"{name} ({array.dtype}) must be {np.dtype(dtype)}")
    if residual.ndim != 3 or residual.shape[1:] != (geometry.height, geometry.width):
        raise ValueError(f"residual {residual.shape} must be [T, {geometry.height}, {geometry.width}]")
    slots = residual.shape[0]
    cells = (slots, geometry.cells_height, geometry.cells_width, 2)
    if motion.shape != cells:
        raise ValueError(f"motion {motion.shape} must be {cells} for residual {residual.shape}: 4x4-pixel cells")
    if keyframe.shape != (slots,):
        raise ValueError(f"keyframe {keyframe.shape} must be ({slots},)")


def score_clip(
    motion: npt.NDArray[np.int16],
    residual: npt.NDArray[np.uint8],
    keyframe: npt.NDArray[np.bool_],
    geometry: Geometry,
    table: npt.NDArray[np.int32],
    mode: str,
    fuse: str,
    weights: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Scores of every patch of a clip; a keyframe predicts from nothing and scores 0.

    Args:
        motion: int16 [T, Hc, Wc, 2], quarter-pel, x then y, with Hc = ceil(H/4) and Wc = ceil(W/4).
        residual: uint8 [T, H, W], absolute difference of decoded and predicted luma.
        keyframe: bool [T].
        geometry: of a picture of H x W.
        table: int32 [Hc, Wc], from `codecsieve.kernels.geometry.center_table`.
        mode: camera mode, one of `CAMERA_MODES`.
        fuse: one of `FUSE_MODES`.
        weights: from `fuse_weights`.

    Returns:
        int64 [T, grid, grid], levels (0..255) of energy summed over a patch's pixels.

    Raises:
        ValueError: a shape, dtype or mode is not one of these.
    """
    check_signals(motion, residual, keyframe, geometry)
    scores = np.zeros((len(keyframe), geometry.grid, geometry.grid), np.int64)
    for t in np.flatnonzero(~keyframe.astype(bool)):
        scores[t] = slot_scores(motion[t], residual[t], geometry, table, mode, fuse, weights)
    return scores


def slot_scores(
    motion: npt.NDArray[np.int16],
    residual: npt.NDArray[np.uint8],
    geometry: Geometry,
    table: npt.NDArray[np.int32],
    mode: str,
    fuse: str,
    weights: tuple[int, int],
    residual_counts: npt.NDArray[np.int32] | None = None,
) -> npt.NDArray[np.int64]:
    """Scores of the patches of one slot, int64 [grid, grid]; see `score_clip`.

    `residual_counts` is `residual_histogram(residual)`, for a caller who has it already.
    """
    counts = residual_histogram(residual) if residual_counts is None else residual_counts
    lengths = magnitude(remove_camera(motion, mode))
    limit = percentile(counts)
    energy = fuse_energies(
        motion_energy(lengths, percentile(magnitude_histogram(lengths))),
        residual_energy(residual_cells(residual, limit), limit, geometry.cell_pixels_y, geometry.cell_pixels_x),
        fuse,
        weights,
    )
    return pool_scores(lift_center(energy, table), geometry.pool_y, geometry.pool_x, geometry.patch)


def magnitude_histogram(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """How many cells have each length: int32 [Hc, Wc] within 0..16383 -> int32 [16384]."""
    return np.bincount(lengths.ravel(), minlength=MAGNITUDE_TOP + 1).astype(np.int32)


def residual_histogram(residual: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """How many pixels have each residual: uint8 [H, W] -> int32 [256]."""
    return np.bincount(residual.ravel(), minlength=256).astype(np.int32)


def percentile(counts: npt.NDArray[np.int32]) -> int:
    """The 95th percentile of what a histogram counts, exactly: the value at 0-based rank floor(95 (n - 1) / 100)."""
    below = np.cumsum(counts.astype(np.int64))
    return int(np.searchsorted(below, PERCENTILE * (below[-1] - 1) // 100, side="right"))


def motion_energy(lengths: npt.NDArray[np.int32], limit: int) -> npt.NDArray[np.int32]:
    """Energy of motion: int32 [Hc, Wc] lengths in 1/64 px -> int32 [Hc, Wc] energies; `limit` or more is 1.0."""
    top = max(limit, 1)
    clipped = np.minimum(lengths.astype(np.int64), top)
    return ((clipped * ENERGY_ONE + top // 2) // top).astype(np.int32)


def residual_cells(residual: npt.NDArray[np.uint8], limit: int) -> npt.NDArray[np.int32]:
    """Sums over each cell's pixels of the residual clipped at `max(limit, 1)`: uint8 [H, W] -> int32 [Hc, Wc]."""
    height, width = residual.shape
    padded = np.pad(np.minimum(residual, max(limit, 1)), ((0, -height % CELL), (0, -width % CELL)))
    blocks = padded.reshape(padded.shape[0] // CELL, CELL, padded.shape[1] // CELL, CELL)
    return blocks.sum(axis=(1, 3), dtype=np.int32)


def residual_energy(
    sums: npt.NDArray[np.int32],
    limit: int,
    pixels_y: npt.NDArray[np.int32],
    pixels_x: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """Energy of residual: the mean over a cell's pixels, of which `limit` or more is 1.0.

    Args:
        sums: int32 [Hc, Wc], from `residual_cells` with the same limit.
        limit: the residual that counts as 1.0.
        pixels_y: int32 [Hc], rows of pixels in each row of cells.
        pixels_x: int32 [Wc], columns of pixels in each column of cells.

    Returns:
        int32 [Hc, Wc].
    """
    whole = np.outer(pixels_y, pixels_x).astype(np.int64) * max(limit, 1)
    return ((sums.astype(np.int64) * ENERGY_ONE + whole // 2) // whole).astype(np.int32)


def fuse_energies(
    motion: npt.NDArray[np.int32], residual: npt.NDArray[np.int32], fuse: str, weights: tuple[int, int]
) -> npt.NDArray[np.int32]:
    """One energy of two, int32 [Hc, Wc] each: weighted mean, maximum, sum clipped at 1.0, or geometric mean.

    Raises:
        ValueError: the fuse mode is unknown.
    """
    check_fuse_mode(fuse)
    e_mv, e_res = motion.astype(np.int64), residual.astype(np.int64)
    if fuse == "weighted":
        w_mv, w_res = weights
        whole = w_mv + w_res
        fused = (w_mv * e_mv + w_res * e_res + whole // 2) // whole
    elif fuse == "max":
        fused = np.maximum(e_mv, e_res)
    elif fuse == "sum":
        fused = np.minimum(e_mv + e_res, ENERGY_ONE)
    else:
        fused = np.floor(np.sqrt(e_mv * e_res)).astype(np.int64)
    return fused.astype(np.int32)


def lift_center(energy: npt.NDArray[np.int32], table: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Energies times the centre table, rounded half up and clipped at 1.0: int32 [Hc, Wc] both, and the result."""
    half = 1 << (CENTER_BITS - 1)
    return np.minimum(ENERGY_ONE, (energy.astype(np.int64) * table + half) >> CENTER_BITS).astype(np.int32)


def pool_scores(
    energy: npt.NDArray[np.int32], pool_y: Pooling, pool_x: Pooling, patch: int
) -> npt.NDArray[np.int64]:
    """Mean energy of each patch by area, times its pixels.

    Args:
        energy: int32 [Hc, Wc].
        pool_y: weights of the rows of cells.
        pool_x: weights of the columns of cells.
        patch: side of a patch, in the model's pixels.

    Returns:
        int64 [grid, grid], rounded half up to one level (0..255) over one pixel.
    """
    wide = energy.astype(np.int64)
    rows = np.stack([
        weights @ wide[first : first + len(weights)]
        for first, weights in zip(pool_y.first, pool_y.weights.astype(np.int64), strict=True)
    ])
    pooled = np.stack(
        [
            rows[:, first : first + len(weights)] @ weights
            for first, weights in zip(pool_x.first, pool_x.weights.astype(np.int64), strict=True)
        ],
        axis=1,
    )
    bits = 2 * POOL_BITS + ENERGY_BITS
    return (pooled * (patch * patch) + (1 << (bits - 1))) >> bits
