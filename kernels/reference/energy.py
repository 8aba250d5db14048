"""From the motion and the residual of a slot to the scores of its patches: the definition.

The motion of each 4x4-pixel cell and the residual of each pixel become energies, each measured against its
own 95th percentile in this slot, or in the clip, or against a constant; the two are fused at each pixel and lifted
near the picture's centre; the mean over each cell is pooled by area into patches. An energy of 1.0 is the integer
`ENERGY_ONE`: 255 levels of 256 parts. A score is in units of one level over one pixel of the model's picture, so a
patch scores 0 to `255 * patch * patch`. Of a picture that does not fill the square its own pixels alone are summed, and
a patch that shows none of it scores -1.

Follows arXiv 2602.08683's published pipeline, which has it in floating point and resizes whole energy
pictures. Camera motion is left to `motion`, what may stand for motion and residual to `contrast`, choosing among scores
to `select`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.geometry import CELL, CENTER_BITS, POOL_BITS, Geometry, Pooling
from codecsieve.kernels.reference.contrast import check_measure, motion_lengths, residual_gradient
from codecsieve.kernels.reference.motion import length_at_rank
from codecsieve.kernels.rules import FUSE_MODES, Measure

ENERGY_BITS = 8
"""Fractional bits of an energy: one of its 255 levels is `1 << ENERGY_BITS`."""

ENERGY_ONE = 255 << ENERGY_BITS
"""The integer that stands for an energy of 1.0."""

SCALE_BITS = 15
"""Fractional bits of the factor from residual to energy; with them `ENERGY_ONE` still fits 31 bits."""

WEIGHT_BITS = 14
"""The weights of motion and residual sum to `1 << WEIGHT_BITS`."""

FIXED_LIMITS = (1 << 16, 255)
"""What counts as 1.0 where no percentile does: motion of 16 px (a variance of 16 px^2), the reach of a search; and the
largest residual."""

Limits = tuple[int, int]
"""The length that counts as 1.0, in 1/4096 px, and the residual, 1 to 255."""


def check_fuse_mode(fuse: str) -> None:
    """Raise ValueError unless `fuse` is one of `FUSE_MODES`."""
    if fuse not in FUSE_MODES:
        raise ValueError(f"fuse ({fuse!r}) must be one of {', '.join(FUSE_MODES)}")


@lru_cache(maxsize=64)
def fuse_weights(w_mv: float, w_res: float) -> tuple[int, int]:
    """Weights of motion and residual in the `weighted` mode as integers that sum to 16384.

    Raises:
        ValueError: a weight is negative or not finite, or both are 0.
    """
    for name, weight in (("w_mv", w_mv), ("w_res", w_res)):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} ({weight}) must be finite and >= 0")
    if w_mv == w_res == 0:
        raise ValueError(f"w_mv ({w_mv}) and w_res ({w_res}) must not both be 0")
    largest = max(w_mv, w_res)
    part = (w_mv / largest) / (w_mv / largest + w_res / largest)
    motion = math.floor(part * (1 << WEIGHT_BITS) + 0.5)
    return motion, (1 << WEIGHT_BITS) - motion


def check_signals(
    motion: npt.NDArray[np.int16],
    residual: npt.NDArray[np.uint8],
    keyframe: npt.NDArray[np.bool_],
    geometry: Geometry,
) -> None:
    """Raise ValueError unless a clip's signals have the dtypes and shapes that `score_clip` states."""
    for name, array, dtype in (
        ("motion", motion, np.int16),
        ("residual", residual, np.uint8),
        ("keyframe", keyframe, np.bool_),
    ):
        if array.dtype != dtype:
            raise ValueError(f"{name} ({array.dtype}) must be {np.dtype(dtype)}")
    if residual.ndim != 3 or residual.shape[1:] != (geometry.height, geometry.width):
        raise ValueError(f"residual {residual.shape} must be [T, {geometry.height}, {geometry.width}]")
    slots = len(residual)
    cells = (slots, geometry.cells_height, geometry.cells_width, 2)
    if motion.shape != cells:
        raise ValueError(f"motion {motion.shape} must be {cells}, 4x4-pixel cells, for residual {residual.shape}")
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
    measure: Measure = Measure(),  # noqa: B008  # it is frozen
) -> npt.NDArray[np.int64]:
    """Scores of every patch of a clip; a keyframe predicts from nothing and scores 0.

    Args:
        motion: int16 [T, Hc, Wc, 2], quarter-pel, x then y, with Hc = ceil(H/4) and Wc = ceil(W/4).
        residual: uint8 [T, H, W], absolute difference of decoded and predicted luma.
        keyframe: bool [T].
        geometry: of a picture of H x W.
        table: int32 [Hc, Wc], from `codecsieve.kernels.geometry.center_table`.
        mode: camera mode, one of `codecsieve.kernels.rules.CAMERA_MODES`.
        fuse: one of `FUSE_MODES`.
        weights: from `fuse_weights`.
        measure: what is measured of motion and residual, and against what.

    Returns:
        int64 [T, grid, grid], levels (0..255) of energy summed over a patch's pixels; -1 where it shows padding only.

    Raises:
        ValueError: a shape, dtype or mode is not one of these.
    """
    check_signals(motion, residual, keyframe, geometry)
    check_measure(measure)
    predicted = np.flatnonzero(~keyframe)
    scores = np.repeat(geometry.unscored[None], len(keyframe), axis=0)
    signals = [measured(motion[t], residual[t], mode, measure) for t in predicted]
    limits = clip_limits(signals) if measure.scale == "clip" and signals else None
    for t, (lengths, levels) in zip(predicted, signals, strict=True):
        against = limits or slot_limits(lengths, levels, measure)
        scores[t] = scores_against(lengths, levels, against, geometry, table, fuse, weights)
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
    """Scores of the patches of one slot, int64 [grid, grid]; see `score_clip` for the arguments, without
    their T. A slot alone is its clip.
    """
    check_measure(measure)
    lengths, levels = measured(motion, residual, mode, measure)
    return scores_against(lengths, levels, slot_limits(lengths, levels, measure), geometry, table, fuse, weights)


def measured(
    motion: npt.NDArray[np.int16], residual: npt.NDArray[np.uint8], mode: str, measure: Measure
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """What is measured of a slot: lengths int32 [Hc, Wc], see `motion_lengths`, and levels of residual uint8 [H, W]."""
    levels = residual_gradient(residual) if measure.res_use_grad else residual
    return motion_lengths(motion, mode, measure), levels


def slot_limits(lengths: npt.NDArray[np.int32], levels: npt.NDArray[np.uint8], measure: Measure) -> Limits:
    """What counts as 1.0 in a slot on its own: its 95th percentiles, or constants."""
    return FIXED_LIMITS if measure.scale == "none" else clip_limits([(lengths, levels)])


def clip_limits(signals: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]]) -> Limits:
    """The 95th percentiles of the lengths of all cells and of the levels of all pixels of some slots, each at least 1.

    Args:
        signals: lengths and levels of each slot, from `measured`; one or more.
    """
    lengths = np.concatenate([lengths.ravel() for lengths, _ in signals])
    counts = np.stack([residual_histogram(levels) for _, levels in signals]).sum(axis=0, dtype=np.int64)
    return length_limit(lengths), residual_limit(counts)


def scores_against(
    lengths: npt.NDArray[np.int32],
    levels: npt.NDArray[np.uint8],
    limits: Limits,
    geometry: Geometry,
    table: npt.NDArray[np.int32],
    fuse: str,
    weights: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Scores of the patches of a slot of which lengths and levels are known, and what counts as 1.0 of them."""
    moved = energy_against(lengths, limits[0])
    energy = cell_energy(moved, levels, limits[1], table, fuse, weights)
    return pool_scores(energy, geometry.pool_y, geometry.pool_x, geometry.patch) + geometry.unscored


def percentile_rank(count: int) -> int:
    """0-based rank of the 95th percentile among `count` sorted values."""
    return 95 * (count - 1) // 100


def motion_energy(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Energy of motion: the length against the 95th percentile of all, which is 1.0, as is what exceeds it.

    Args:
        lengths: int32 [Hc, Wc], 1/4096 px, from `magnitude`.

    Returns:
        int32 [Hc, Wc], 0 to `ENERGY_ONE`, rounded half up.
    """
    return energy_against(lengths, length_limit(lengths))


def length_limit(lengths: npt.NDArray[np.int32]) -> int:
    """The length that counts as 1.0: the 95th percentile of all, int32 [...], at least 1."""
    return max(length_at_rank(lengths, percentile_rank(lengths.size)), 1)


def energy_against(lengths: npt.NDArray[np.int32], limit: int) -> npt.NDArray[np.int32]:
    """Energy of motion int32 [Hc, Wc], see `motion_energy`, where a given length counts as 1.0."""
    clipped = np.minimum(lengths, limit).astype(np.int64)
    return ((clipped * ENERGY_ONE + limit // 2) // limit).astype(np.int32)


def residual_histogram(residual: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """How many pixels have each residual: uint8 [H, W] -> int32 [256]."""
    return np.bincount(residual.ravel(), minlength=256).astype(np.int32)


def residual_limit(counts: npt.NDArray[np.integer]) -> int:
    """The residual that counts as 1.0: the 95th percentile of a histogram, integers [256], at least 1."""
    up_to = np.cumsum(counts, dtype=np.int64)
    return max(int(np.searchsorted(up_to, percentile_rank(int(up_to[-1])), side="right")), 1)


def cell_energy(
    motion: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    limit: int,
    table: npt.NDArray[np.int32],
    fuse: str,
    weights: tuple[int, int],
) -> npt.NDArray[np.int32]:
    """Mean over each cell's pixels of the fused energy, lifted near the centre and clipped at 1.0.

    Fused and clipped at each pixel and only then averaged: a cell in which a few pixels are all surprise is
    not one that is a little surprising everywhere. `product` is the other way about: the residual's energy is averaged
    over each cell, and then fused, lifted and clipped.

    Args:
        motion: int32 [Hc, Wc], energy of motion.
        residual: uint8 [H, W].
        limit: residual that counts as 1.0, 1 to 255.
        table: int32 [Hc, Wc], the centre table.
        fuse: weighted mean, maximum, sum clipped at 1.0, geometric mean rounded down, or, of cells, rounded
            (`product`); one of `FUSE_MODES`.
        weights: from `fuse_weights`.

    Returns:
        int32 [Hc, Wc], 0 to `ENERGY_ONE`, rounded half up.

    Raises:
        ValueError: the fuse mode is unknown.
    """
    height, width = residual.shape
    scale = (ENERGY_ONE << SCALE_BITS) // limit
    e_res = _round_shift(np.minimum(residual, limit).astype(np.int64) * scale, SCALE_BITS)
    if fuse == "product":
        # A square root is nowhere near enough to a half for its rounding in float64 to matter.
        fused = np.floor(np.sqrt(motion.astype(np.int64) * _cell_means(e_res)) + 0.5).astype(np.int64)
        return np.minimum(_round_shift(fused * table, CENTER_BITS), ENERGY_ONE).astype(np.int32)
    e_mv = _on_pixels(motion, height, width)
    lifted = _round_shift(_fused(e_mv, e_res, fuse, weights) * _on_pixels(table, height, width), CENTER_BITS)
    return _cell_means(np.minimum(lifted, ENERGY_ONE)).astype(np.int32)


def pool_scores(energy: npt.NDArray[np.int32], pool_y: Pooling, pool_x: Pooling, patch: int) -> npt.NDArray[np.int64]:
    """Mean energy of each patch by area, times its pixels.

    Args:
        energy: int32 [Hc, Wc].
        pool_y: weights of the rows of cells.
        pool_x: weights of the columns of cells.
        patch: side of a patch, in the model's pixels.

    Returns:
        int64 [grid, grid], rounded half up to one level (0..255) over one pixel; padding has no energy.
    """
    pooled = _pool_rows(_pool_rows(energy.astype(np.int64), pool_y).T, pool_x).T
    return _round_shift(pooled * (patch * patch), 2 * POOL_BITS + ENERGY_BITS)


def _fused(
    e_mv: npt.NDArray[np.int64], e_res: npt.NDArray[np.int64], fuse: str, weights: tuple[int, int]
) -> npt.NDArray[np.int64]:
    check_fuse_mode(fuse)
    if fuse == "weighted":
        return _round_shift(weights[0] * e_mv + weights[1] * e_res, WEIGHT_BITS)
    if fuse == "max":
        return np.maximum(e_mv, e_res)
    if fuse == "sum":
        return np.minimum(e_mv + e_res, ENERGY_ONE)
    return np.floor(np.sqrt(e_mv * e_res)).astype(np.int64)


def _round_shift(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    return (values + (1 << (bits - 1))) >> bits


def _on_pixels(cells: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.int64]:
    return cells.astype(np.int64).repeat(CELL, axis=0).repeat(CELL, axis=1)[:height, :width]


def _cell_means(pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Means of the pixels of each cell, rounded half up."""
    number = _over_cells(np.ones_like(pixels))
    return (_over_cells(pixels) + number // 2) // number


def _over_cells(pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % CELL), (0, -width % CELL)))
    return padded.reshape(padded.shape[0] // CELL, CELL, padded.shape[1] // CELL, CELL).sum(axis=(1, 3))


def _pool_rows(values: npt.NDArray[np.int64], pool: Pooling) -> npt.NDArray[np.int64]:
    taps = pool.weights.shape[1]
    return np.stack([w @ values[first : first + taps] for first, w in zip(pool.first, pool.weights, strict=True)])
