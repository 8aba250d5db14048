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
from codecsieve.kernels.cpu.motion import (
    SQUARE_TOP,
    estimate_camera,
    length_at_rank,
    lengths_without_camera,
    median_motion,
    squares_without,
    stands_for,
)
from codecsieve.kernels.cpu.ranks import level_at_rank, values_at_rank
from codecsieve.kernels.geometry import CELL, CENTER_BITS, POOL_BITS, Geometry, Pooling
from codecsieve.kernels.reference.energy import (
    ENERGY_BITS,
    ENERGY_ONE,
    SCALE_BITS,
    WEIGHT_BITS,
    check_fuse_mode,
    check_signals,
    fuse_weights,
    percentile_rank,
    residual_limit,
)
from codecsieve.kernels.rules import FUSE_MODES

__all__ = [
    "cell_energy",
    "fuse_weights",
    "motion_energy",
    "pool_scores",
    "residual_histogram",
    "residual_limit",
    "score_clip",
    "slot_scores",
]

_ONE = np.int32(ENERGY_ONE)
_SCALE_HALF = np.int32(1 << (SCALE_BITS - 1))
_SCALE_SHIFT = np.int32(SCALE_BITS)
_WEIGHT_HALF = np.int32(1 << (WEIGHT_BITS - 1))
_WEIGHT_SHIFT = np.int32(WEIGHT_BITS)
_CENTER_HALF = np.int32(1 << (CENTER_BITS - 1))
_CENTER_SHIFT = np.int32(CENTER_BITS)
_WEIGHTED, _MAX, _SUM = (FUSE_MODES.index(name) for name in ("weighted", "max", "sum"))
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
) -> npt.NDArray[np.int64]:
    """Scores of every patch of a clip, int64 [T, grid, grid]."""
    check_signals(motion, residual, keyframe, geometry)
    scores = np.zeros((len(keyframe), geometry.grid, geometry.grid), np.int64)
    for t in np.flatnonzero(~keyframe):
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
) -> npt.NDArray[np.int64]:
    """Scores of the patches of one slot, int64 [grid, grid]."""
    check_fuse_mode(fuse)
    check_camera_mode(mode)
    pool_y, pool_x = geometry.pool_y, geometry.pool_x
    shown = (*_span(pool_y), *_span(pool_x))
    return _scores(
        _moved(motion, mode, shown), residual, table, FUSE_MODES.index(fuse), *weights, shown,
        pool_y.first, pool_y.weights, pool_x.first, pool_x.weights, geometry.patch,
    )  # fmt: skip


def _span(pool: Pooling) -> tuple[int, int]:
    """The first cell of an axis that any patch covers, and the end of the last."""
    return int(pool.first[0]), int(pool.first[-1]) + pool.weights.shape[1]


def _moved(motion: npt.NDArray[np.int16], mode: str, shown: tuple[int, int, int, int]) -> npt.NDArray[np.int32]:
    """Energy of motion of the cells that are shown: int32 [Hc, Wc], whatever else it holds."""
    if mode in ("none", "median"):
        energy = _still_energy(motion, mode == "median", shown)
        if energy.size:
            return energy
    return motion_energy(lengths_without_camera(motion, estimate_camera(motion, mode)))


def motion_energy(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Energy of motion: int32 [Hc, Wc] lengths in 1/4096 px -> int32 [Hc, Wc]."""
    return _relative(lengths, max(length_at_rank(lengths, percentile_rank(lengths.size)), 1))


@njit(cache=True, nogil=True)
def _scores(
    moved: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    table: npt.NDArray[np.int32],
    fuse: int,
    w_mv: int,
    w_res: int,
    shown: tuple[int, int, int, int],
    first_y: npt.NDArray[np.int32],
    weights_y: npt.NDArray[np.int32],
    first_x: npt.NDArray[np.int32],
    weights_x: npt.NDArray[np.int32],
    patch: int,
) -> npt.NDArray[np.int64]:
    limit = max(level_at_rank(residual, _percentile_rank(residual.size)), 1)
    energy = _cell_means(moved, residual, np.uint8(limit), table, fuse, w_mv, w_res, shown)
    return _pool(energy, shown[2], shown[3], first_y, weights_y, first_x, weights_x, patch)


@njit(cache=True, nogil=True, error_model="numpy")
def _still_energy(
    motion: npt.NDArray[np.int16], median: bool, shown: tuple[int, int, int, int]
) -> npt.NDArray[np.int32]:
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


@njit(cache=True, nogil=True)
def residual_histogram(residual: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """How many pixels have each residual: uint8 [H, W] -> int32 [256]. For the tests: `slot_scores` needs none."""
    pixels = np.ascontiguousarray(residual).reshape(residual.size)
    words = pixels[: residual.size - residual.size % 8].view(np.uint64)
    # Neighbours are often equal: in counts of their own, one increment need not wait for the last.
    counts = np.zeros((8, 256), np.int32)
    for word in words:
        if word == 0:
            counts[0, 0] += 8
        else:
            for i in range(8):
                counts[i, (word >> np.uint64(8 * i)) & np.uint64(255)] += 1
    for pixel in pixels[8 * len(words) :]:
        counts[0, pixel] += 1
    return counts.sum(axis=0)


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
    return _cell_means(motion, residual, np.uint8(limit), table, FUSE_MODES.index(fuse), *weights, everywhere)


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


# Below, every intermediate fits 32 bits and is kept there, so that the loops vectorise: `ENERGY_ONE <<
# SCALE_BITS`, `ENERGY_ONE << WEIGHT_BITS`, and `ENERGY_ONE` times the largest lift are each below 2^31 with
# their rounding. Offsets are unsigned for the same reason.


@njit(cache=True, nogil=True)
def _cell_means(
    motion: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    limit: np.uint8,
    table: npt.NDArray[np.int32],
    fuse: int,
    w_mv: int,
    w_res: int,
    shown: tuple[int, int, int, int],
) -> npt.NDArray[np.int32]:
    """`cell_energy` of the rows and columns of cells that are shown (begin and end of each); others are left."""
    height, width = residual.shape
    row_begin, row_end, begin, end = shown
    means = np.empty(motion.shape, np.int32)
    scale = np.int32((ENERGY_ONE << SCALE_BITS) // limit)
    start, pixels = uintp(begin * CELL), uintp(min(end * CELL, width) - begin * CELL)
    # A row of cells spread over its pixels; the sums of its columns of pixels; and a row of pixels.
    e_mv = np.empty((end - begin) * CELL, np.int32)
    lift = np.empty((end - begin) * CELL, np.int32)
    sums = np.empty((end - begin) * CELL, np.int32)
    energy = np.zeros((end - begin) * CELL, np.int32)
    for row in range(row_begin, row_end):
        _spread(motion, row, begin, e_mv)
        _spread(table, row, begin, lift)
        sums[:] = 0
        rows = min(CELL, height - row * CELL)
        for y in range(row * CELL, row * CELL + rows):
            for x in range(pixels):
                level = np.int32(min(residual[y, start + x], limit))
                energy[x] = np.int32(np.int32(level * scale) + _SCALE_HALF) >> _SCALE_SHIFT
            _fuse_row(energy, e_mv, fuse, np.int32(w_mv), np.int32(w_res))
            for x in range(pixels):
                lifted = np.int32(np.int32(energy[x] * lift[x]) + _CENTER_HALF) >> _CENTER_SHIFT
                sums[x] += min(lifted, _ONE)
        _mean_row(sums, rows, pixels, means, row, begin)
    return means


@njit(cache=True, nogil=True)
def _spread(cells: npt.NDArray[np.int32], row: int, begin: int, pixels: npt.NDArray[np.int32]) -> None:
    """Give every pixel of a row of cells its cell's value."""
    for column in range(uintp(len(pixels) // CELL)):
        value = cells[row, uintp(begin) + column]
        for i in range(uintp(CELL)):
            pixels[column * uintp(CELL) + i] = value


@njit(cache=True, nogil=True)
def _mean_row(
    sums: npt.NDArray[np.int32], rows: int, width: int, means: npt.NDArray[np.int32], row: int, begin: int
) -> None:
    """Means of a row of cells from its sums by column of pixels; only cells of 16 pixels need no division."""
    whole = width // CELL if rows == CELL else 0
    for column in range(uintp(whole)):
        x = column * uintp(CELL)
        total = np.int32(sums[x] + sums[x + uintp(1)]) + np.int32(sums[x + uintp(2)] + sums[x + uintp(3)])
        means[row, uintp(begin) + column] = np.int32(total + CELL * CELL // 2) // (CELL * CELL)
    for column in range(whole, len(sums) // CELL):
        x = column * CELL
        pixels = rows * min(CELL, np.int64(width) - x)
        total = 0
        for i in range(min(CELL, np.int64(width) - x)):
            total += sums[x + i]
        means[row, begin + column] = (total + pixels // 2) // pixels


@njit(cache=True, nogil=True)
def _fuse_row(
    energy: npt.NDArray[np.int32], e_mv: npt.NDArray[np.int32], fuse: int, w_mv: np.int32, w_res: np.int32
) -> None:
    """Replace the energies of residual by the fused ones."""
    if fuse == _WEIGHTED:
        for x in range(len(energy)):
            both = np.int32(w_mv * e_mv[x] + w_res * energy[x] + _WEIGHT_HALF)
            energy[x] = np.int32(both >> _WEIGHT_SHIFT)
    elif fuse == _MAX:
        for x in range(len(energy)):
            energy[x] = max(e_mv[x], energy[x])
    elif fuse == _SUM:
        for x in range(len(energy)):
            energy[x] = min(np.int32(e_mv[x] + energy[x]), _ONE)
    else:
        for x in range(len(energy)):
            energy[x] = np.int32(np.sqrt(np.float64(e_mv[x]) * np.float64(energy[x])))


def pool_scores(energy: npt.NDArray[np.int32], pool_y: Pooling, pool_x: Pooling, patch: int) -> npt.NDArray[np.int64]:
    """Mean energy of each patch by area, times its pixels: int64 [grid, grid]."""
    return _pool(energy, *_span(pool_x), pool_y.first, pool_y.weights, pool_x.first, pool_x.weights, patch)


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
