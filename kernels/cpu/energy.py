"""From the motion and the residual of a slot to the scores of its patches: numba.

Equal bit for bit to `codecsieve.kernels.reference.energy`, which defines and documents these functions. What
counts as 1.0 is measured over the whole picture; energies of pixels only where the patches are. Nothing as large
as the picture is written.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, uintp

from codecsieve.kernels.camera import VECTOR_UNITS, check_camera_mode
from codecsieve.kernels.cpu.cells import cell_means
from codecsieve.kernels.cpu.contrast import Shown, motion_lengths, residual_gradient
from codecsieve.kernels.cpu.held import HeldSlot, clip_limits, hold_slot
from codecsieve.kernels.cpu.motion import (
    SQUARE_TOP,
    length_at_rank,
    median_motion,
    squares_without,
    stands_for,
)
from codecsieve.kernels.cpu.ranks import level_at_rank, residual_histogram, values_at_rank
from codecsieve.kernels.geometry import POOL_BITS, Geometry, Pooling
from codecsieve.kernels.reference.contrast import check_measure
from codecsieve.kernels.reference.energy import (
    ENERGY_BITS,
    ENERGY_ONE,
    FIXED_LIMITS,
    check_fuse_mode,
    check_signals,
    fuse_weights,
    percentile_rank,
    residual_limit,
)
from codecsieve.kernels.rules import FUSE_MODES, Measure

__all__ = [
    "cell_energy",
    "fuse_weights",
    "held_scores",
    "motion_energy",
    "pool_scores",
    "residual_histogram",
    "residual_limit",
    "score_clip",
    "slot_scores",
]

_percentile_rank = njit(percentile_rank)


def score_clip(
    motion: npt.NDArray[np.int16],
    residual: npt.NDArray[np.uint8],
    keyframe: npt.NDArray[np.bool_],
    geometry: Geometry,
    table: npt.NDArray[np.int32],
    mode: str,
    fuse: str,
    weights: tuple[int, int],
    measure: Measure = Measure(),  # noqa: B008  # it is frozen
) -> npt.NDArray[np.int64]:
    """Scores of every patch of a clip, int64 [T, grid, grid]."""
    check_signals(motion, residual, keyframe, geometry)
    check_measure(measure)
    predicted = np.flatnonzero(~keyframe)
    scores = np.repeat(geometry.unscored[None], len(keyframe), axis=0)
    if measure.scale != "clip":
        for t in predicted:
            scores[t] = slot_scores(motion[t], residual[t], geometry, table, mode, fuse, weights, measure)
    elif len(predicted):
        held = [hold_slot(motion[t], residual[t], geometry, mode, measure) for t in predicted]
        limits = clip_limits(held)
        for t, slot in zip(predicted, held, strict=True):
            scores[t] = held_scores(slot, limits, table, fuse, weights)
    return scores


def slot_scores(
    motion: npt.NDArray[np.int16],
    residual: npt.NDArray[np.uint8],
    geometry: Geometry,
    table: npt.NDArray[np.int32],
    mode: str,
    fuse: str,
    weights: tuple[int, int],
    measure: Measure = Measure(),  # noqa: B008  # it is frozen
) -> npt.NDArray[np.int64]:
    """Scores of the patches of one slot, int64 [grid, grid]."""
    check_camera_mode(mode)
    check_measure(measure)
    levels = residual_gradient(residual) if measure.res_use_grad else residual
    limit = FIXED_LIMITS[1] if measure.scale == "none" else 0
    return _scored(_moved(motion, mode, measure, geometry.shown), levels, limit, geometry, table, fuse, weights)


def held_scores(
    held: HeldSlot, limits: tuple[int, int], table: npt.NDArray[np.int32], fuse: str, weights: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Scores of the patches of a slot that was held until its clip's limits were known, int64 [grid, grid]."""
    moved = _relative(held.lengths, limits[0])
    return _scored(moved, held.levels(), limits[1], held.geometry, table, fuse, weights)


def _scored(
    moved: npt.NDArray[np.int32],
    levels: npt.NDArray[np.uint8],
    limit: int,
    geometry: Geometry,
    table: npt.NDArray[np.int32],
    fuse: str,
    weights: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Scores of patches, whose energy of motion is known; limit: 0 for the picture's own 95th percentile."""
    check_fuse_mode(fuse)
    pool_y, pool_x = geometry.pool_y, geometry.pool_x
    scores = _scores(
        moved, levels, limit, table, FUSE_MODES.index(fuse), *weights, geometry.shown,
        pool_y.first, pool_y.weights, pool_x.first, pool_x.weights, geometry.patch,
    )  # fmt: skip
    return scores + geometry.unscored


def _moved(motion: npt.NDArray[np.int16], mode: str, measure: Measure, shown: Shown) -> npt.NDArray[np.int32]:
    """Energy of motion of the cells that are shown: int32 [Hc, Wc], whatever else it holds."""
    if measure.scale == "none":
        return _relative(motion_lengths(motion, mode, measure, shown), FIXED_LIMITS[0])
    if measure.mv_inconsistency == "none" and mode in ("none", "median"):
        energy = _still_energy(motion, mode == "median", shown)
        if energy.size:
            return energy
    return motion_energy(motion_lengths(motion, mode, measure))


def motion_energy(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Energy of motion: int32 [Hc, Wc] lengths in 1/4096 px -> int32 [Hc, Wc]."""
    return _relative(lengths, max(length_at_rank(lengths, percentile_rank(lengths.size)), 1))


@njit(cache=True, nogil=True)
def _scores(
    moved: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    limit: int,
    table: npt.NDArray[np.int32],
    fuse: int,
    w_mv: int,
    w_res: int,
    shown: Shown,
    first_y: npt.NDArray[np.int32],
    weights_y: npt.NDArray[np.int32],
    first_x: npt.NDArray[np.int32],
    weights_x: npt.NDArray[np.int32],
    patch: int,
) -> npt.NDArray[np.int64]:
    limit = limit or max(level_at_rank(residual, _percentile_rank(residual.size)), 1)
    energy = cell_means(moved, residual, np.uint8(limit), table, fuse, w_mv, w_res, shown)
    return _pool(energy, shown[2], shown[3], first_y, weights_y, first_x, weights_x, patch)


@njit(cache=True, nogil=True, error_model="numpy")
def _still_energy(motion: npt.NDArray[np.int16], median: bool, shown: Shown) -> npt.NDArray[np.int32]:
    """`_moved` where the camera moves like the median, or is at rest; [0, 0] where motion is too fast for 16 bits."""
    row_begin, row_end, begin, end = shown
    rows = np.ascontiguousarray(motion).reshape(motion.shape[0], 2 * motion.shape[1])
    weights = stands_for(rows)
    x, y = median_motion(rows, weights) if median else (0, 0)
    squares = squares_without(rows, weights, x, y)
    top = values_at_rank(squares, weights, 1, _percentile_rank(squares.size))[0]
    if top == SQUARE_TOP:
        return np.empty((0, 0), np.int32)
    limit = max(_length(top), 1.0)
    half = np.floor(limit / 2)
    energy = np.empty(squares.shape, np.int32)
    latest = -1
    for row in range(row_begin, row_end):
        source = row
        while weights[source] == 0:
            source -= 1
        if source == latest:
            energy[row, begin:end] = energy[row - 1, begin:end]
            continue
        latest = source
        for column in range(uintp(begin), uintp(end)):
            clipped = min(_length(squares[source, column]), limit)
            energy[row, column] = np.int32((clipped * ENERGY_ONE + half) / limit)
    return energy


@njit(cache=True, nogil=True)
def _length(square: int) -> np.float64:
    """The length in 1/4096 px, rounded down, of a square in quarter-pels: a whole number."""
    return np.floor(np.sqrt(np.float64(square) * (VECTOR_UNITS * VECTOR_UNITS)))


def cell_energy(
    motion: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    limit: int,
    table: npt.NDArray[np.int32],
    fuse: str,
    weights: tuple[int, int],
) -> npt.NDArray[np.int32]:
    """Mean over each cell's pixels of the fused, lifted and clipped energy: int32 [Hc, Wc].

    For the tests: `slot_scores` asks only for the cells that are shown.
    """
    check_fuse_mode(fuse)
    everywhere = (0, motion.shape[0], 0, motion.shape[1])
    return cell_means(motion, residual, np.uint8(limit), table, FUSE_MODES.index(fuse), *weights, everywhere)


@njit(cache=True, nogil=True, error_model="numpy")
def _relative(lengths: npt.NDArray[np.int32], limit: int) -> npt.NDArray[np.int32]:
    height, width = lengths.shape
    energy = np.empty((height, width), np.int32)
    for row in range(height):
        for column in range(width):
            # Both are below 2^37, so the floor of their float64 quotient is that of the exact one.
            clipped = np.float64(min(lengths[row, column], np.int32(limit)))
            energy[row, column] = np.int32((clipped * ENERGY_ONE + limit // 2) / limit)
    return energy


def pool_scores(energy: npt.NDArray[np.int32], pool_y: Pooling, pool_x: Pooling, patch: int) -> npt.NDArray[np.int64]:
    """Mean energy of each patch by area, times its pixels: int64 [grid, grid]."""
    begin, end = int(pool_x.first[0]), int(pool_x.first[-1]) + pool_x.weights.shape[1]
    return _pool(energy, begin, end, pool_y.first, pool_y.weights, pool_x.first, pool_x.weights, patch)


@njit(cache=True, nogil=True)
def _pool(
    energy: npt.NDArray[np.int32],
    begin: int,
    end: int,
    first_y: npt.NDArray[np.int32],
    weights_y: npt.NDArray[np.int32],
    first_x: npt.NDArray[np.int32],
    weights_x: npt.NDArray[np.int32],
    patch: int,
) -> npt.NDArray[np.int64]:
    """`pool_scores`, all of whose patches are in columns begin .. end of the cells."""
    grid = len(first_y)
    scores = np.empty((grid, grid), np.int64)
    # At most ENERGY_ONE * 4096, which fits 32 bits.
    pooled = np.empty(end - begin, np.int32)
    bits = 2 * POOL_BITS + ENERGY_BITS
    for i in range(grid):
        pooled[:] = 0
        for tap in range(weights_y.shape[1]):
            weight = weights_y[i, tap]
            row = energy[first_y[i] + tap, begin:end]
            for x in range(uintp(end - begin)):
                pooled[x] += np.int32(weight * row[x])
        for j in range(grid):
            total = 0
            for tap in range(weights_x.shape[1]):
                total += np.int64(weights_x[j, tap]) * pooled[first_x[j] - begin + tap]
            scores[i, j] = (total * (patch * patch) + (1 << (bits - 1))) >> bits
    return scores
