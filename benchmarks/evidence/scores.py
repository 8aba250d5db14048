"""Scores of a clip's patches in every way that the selection probe compares, those that the sieve has not among them.

A `Scoring` with only the sieve's own options gives `score_patches`' bits. The others change one step of
`kernels.reference.energy` each: what of the motion is measured, how it is compressed, and what counts as 1.0.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from codecsieve.codec.clip import ClipSignals
from codecsieve.kernels.cpu.energy import cell_energy, pool_scores, residual_histogram
from codecsieve.kernels.cpu.motion import estimate_camera, lengths_without_camera
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.reference.energy import ENERGY_ONE, fuse_weights
from codecsieve.kernels.reference.motion import LENGTH_BITS, LENGTH_TOP, magnitude

FIXED_LENGTH = 16 * 4096
"""Length that is 1.0 under `fixed`, in 1/4096 px: the reach of block search."""
FIXED_RESIDUAL = 255
"""Residual that is 1.0 under `fixed`: no clipping."""


@dataclass(frozen=True)
class Scoring:
    """How patches are scored. The defaults are those of `onevision`."""

    signals: str = "bitstream"
    """`bitstream`, `search`, or `difference`: the motion of `search` with frame difference for a residual."""
    camera: str = "median"
    w_mv: float = 1.0
    w_res: float = 1.0
    fuse: str = "weighted"
    center_prior: float = 0.3
    neighbours: int = 0
    """0: length of a cell's vector; r: of its difference to the mean over the (2r + 1)^2 cells about it."""
    scale: str = "slot95"
    """What is 1.0: `slot95`, `clip95`, `clip99` (a percentile over a slot, or over all predicted slots of the
    clip), or `fixed` (FIXED_LENGTH and FIXED_RESIDUAL)."""
    compress: str = "none"
    """`none`, `sqrt` or `log`, of lengths and residuals before they are scaled."""

    @property
    def slug(self) -> str:
        """A name for files."""
        return "-".join(str(value) for value in dataclasses.astuple(self))


def score_clip(signals: ClipSignals, scoring: Scoring, size: int, patch: int) -> np.ndarray:
    """Scores of every patch, int64 [T, gh, gw]; slots without prediction score 0."""
    grids = geometry(*signals.residual.shape[1:], size, patch)
    table = center_table(grids, scoring.center_prior, 0.35)
    weights = fuse_weights(scoring.w_mv, scoring.w_res)
    shown = np.flatnonzero(~signals.keyframe)
    lengths = np.stack([_compress_lengths(_lengths(signals.motion[t], scoring), scoring.compress) for t in shown])
    residual = signals.residual[shown]
    if scoring.compress != "none":
        residual = _residual_table(scoring.compress)[residual]
    motion_limits, residual_limits = _limits(lengths, residual, scoring.scale)
    scores = np.zeros((len(signals.keyframe), grids.grid, grids.grid), np.int64)
    for i, t in enumerate(shown):
        energy = _relative(lengths[i], motion_limits[i])
        cells = cell_energy(energy, residual[i], residual_limits[i], table, scoring.fuse, weights)
        scores[t] = pool_scores(cells, grids.pool_y, grids.pool_x, grids.patch)
    return scores


def _lengths(motion: np.ndarray, scoring: Scoring) -> np.ndarray:
    """Int16 [Hc, Wc, 2] -> int32 [Hc, Wc], 1/4096 px."""
    if scoring.neighbours == 0:
        return lengths_without_camera(motion, estimate_camera(motion, scoring.camera))
    return magnitude((1024 * motion.astype(np.int64) - _box_mean(motion, scoring.neighbours)).astype(np.int32))


def _box_mean(motion: np.ndarray, radius: int) -> np.ndarray:
    """Mean over the cells within `radius` that are in the picture, rounded half up: int64 [Hc, Wc, 2], 1/4096 px."""
    height, width = motion.shape[:2]
    sums = np.pad(motion.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    top, bottom = (np.clip(np.arange(height) + step, 0, height) for step in (-radius, radius + 1))
    left, right = (np.clip(np.arange(width) + step, 0, width) for step in (-radius, radius + 1))
    rows = sums[bottom] - sums[top]
    count = ((bottom - top)[:, None] * (right - left))[..., None]
    return (2048 * (rows[:, right] - rows[:, left]) + count) // (2 * count)


def _compress_lengths(lengths: np.ndarray, compress: str) -> np.ndarray:
    """`sqrt`: floor(sqrt(length << 20)); `log`: floor(log2(1 + length) * (1 << 20) / 20). 0..LENGTH_TOP stays so."""
    if compress == "none":
        return lengths
    if compress == "sqrt":
        return np.floor(np.sqrt(lengths.astype(np.float64) * (1 << LENGTH_BITS))).astype(np.int32)
    grown = np.log2(1.0 + lengths) * ((1 << LENGTH_BITS) / LENGTH_BITS)
    return np.minimum(grown, LENGTH_TOP).astype(np.int32)


def _residual_table(compress: str) -> np.ndarray:
    """Uint8 [256]: `sqrt` is round(sqrt(255 r)), `log` round(255 log2(1 + r) / 8)."""
    levels = np.arange(256, dtype=np.float64)
    kinds = {"none": levels, "sqrt": np.sqrt(255 * levels), "log": 255 * np.log2(1 + levels) / 8}
    return np.floor(kinds[compress] + 0.5).astype(np.uint8)


def _limits(lengths: np.ndarray, residual: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """What is 1.0 in each slot, motion and residual: at least 1."""
    slots = len(lengths)
    if scale == "fixed":
        return np.full(slots, FIXED_LENGTH), np.full(slots, FIXED_RESIDUAL)
    percent = int(scale[-2:])
    counts = np.stack([residual_histogram(r) for r in residual]).astype(np.int64)
    flat = lengths.reshape(slots, -1)
    if scale.startswith("clip"):
        flat, counts = flat.reshape(1, -1), counts.sum(axis=0, keepdims=True)
    rank = percent * (flat.shape[1] - 1) // 100
    motion = np.partition(flat, rank, axis=1)[:, rank]
    total = counts.sum(axis=1, keepdims=True)
    level = (counts.cumsum(axis=1) <= percent * (total - 1) // 100).sum(axis=1)
    return np.broadcast_to(np.maximum(motion, 1), slots), np.broadcast_to(np.maximum(level, 1), slots)


def _relative(lengths: np.ndarray, limit: int) -> np.ndarray:
    """Lengths against a limit, clipped at 1.0: int32 [Hc, Wc], 0..ENERGY_ONE, rounded half up."""
    clipped = np.minimum(lengths, limit).astype(np.int64)
    return ((clipped * ENERGY_ONE + limit // 2) // limit).astype(np.int32)
