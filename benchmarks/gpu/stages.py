"""The steps after decoding, each for a batch of clips at once, with the bytes that it cannot but move.

What a clip is here: 64 slots, and for each the picture before it. How long the steps take is left to `kernels`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.gpu.scenes import Scale, Surfaces, clip_surfaces
from codecsieve.codec.search import luma_taps
from codecsieve.codec.upright import upright_layout
from codecsieve.kernels.cupy.gather import gather_patches
from codecsieve.kernels.cupy.motion import estimate_cameras, length_limits, lengths_without_cameras, residual_limits
from codecsieve.kernels.cupy.resample import model_levels
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.kernels.resample import Taps, colour_matrix
from codecsieve.kernels.triton.energy import pool_energy
from codecsieve.kernels.triton.residual import search_residual, vector_cells
from codecsieve.kernels.triton.search import search_vectors
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.crops import crop_taps


@dataclass(frozen=True)
class Stage:
    """One step for a batch of clips. moved: bytes read and written, each once, of its input and its result; rows: of
    the pictures, where the step depends on them.
    """

    name: str
    work: Callable[[], object]
    moved: int
    clips: int
    rows: int | None = None


@dataclass(frozen=True)
class Batch:
    """Pictures of several clips, two for each slot, and what becomes of them stage by stage."""

    surfaces: Surfaces
    crops: tuple[torch.Tensor, torch.Tensor]
    corners: torch.Tensor
    slots: torch.Tensor
    distinct_samples: int
    """Bytes of the crops that the kept patches of one clip cover."""


def picture_stages(scale: Scale, size: tuple[int, int], clips: int) -> list[Stage]:
    """What is done with whole pictures: pyramids, crops, and the patches that are cut out of these."""
    config, batch = scale.config, _batch(scale, size, clips)
    luma = batch.surfaces.luma
    shown = upright_layout(batch.surfaces.layout)
    taps = luma_taps(shown, config.input_size)
    crops = crop_taps(shown, config.input_size, config.patch_size)
    matrix = colour_matrix(batch.surfaces.layout.matrix, batch.surfaces.layout.full_range)
    origins = tuple((-of.top, -of.left) for of in crops)
    seen = int(np.prod([axis.first[-1] + axis.weights.shape[1] - axis.first[0] for axis in taps]))

    def gather() -> torch.Tensor:
        weights = crops[0].taps, crops[1].taps
        return gather_patches(
            *batch.crops, origins, *weights, batch.corners, batch.slots, config.patch_size, 8, 0, matrix
        )

    resized = sum(array.numel() for array in model_levels(luma[:1], 0, 0, *taps, 0).arrays)
    held = sum(plane.numel() for plane in batch.crops)
    patches = gather().numel()
    resize_moves, gather_moves = len(luma) * (seen + resized), clips * batch.distinct_samples + patches
    return [
        Stage("resize and halve", lambda: model_levels(luma, 0, 0, *taps, 0), resize_moves, clips, size[0]),
        Stage("crops", lambda: cropped(batch.surfaces, config), 2 * held, clips, size[0]),
        Stage("gather", gather, gather_moves, clips, size[0]),
    ]


def slot_stages(scale: Scale) -> list[Stage]:
    """What is done with pyramids, at the model's size whatever the pictures' was."""
    config, clips = scale.config, scale.clips
    held = batch_levels(scale, clips)
    second = torch.arange(1, len(held.arrays[0]), 2, device=scale.device)
    current, previous = held.pictures(second), held.pictures(second - 1)
    vectors = search_vectors(current, previous)
    motion = vector_cells(vectors, config.input_size)
    residual, histograms = search_residual(current, previous, vectors)
    grids = geometry(*residual.shape[1:], config.input_size, config.patch_size)
    table = torch.tensor(center_table(grids, config.center_prior, config.center_sigma)).to(scale.device)
    cameras = estimate_cameras(motion, "median")
    lengths = lengths_without_cameras(motion, cameras)
    limits = length_limits(lengths), residual_limits(histograms)
    weights = fuse_weights(config.w_mv, config.w_res)

    def measure() -> tuple[torch.Tensor, ...]:
        found = lengths_without_cameras(motion, cameras)
        return found, length_limits(found), residual_limits(histograms)

    def pool() -> torch.Tensor:
        return pool_energy(lengths, limits[0], residual, limits[1], grids, table, "weighted", weights)

    pairs = nbytes(*current.arrays, *previous.arrays)
    finest = 2 * residual.numel()
    return [
        Stage("pair pyramids", lambda: (held.pictures(second), held.pictures(second - 1)), 2 * pairs, clips),
        Stage("search", lambda: search_vectors(current, previous), pairs + nbytes(vectors), clips),
        Stage(
            "residual and histogram",
            lambda: search_residual(current, previous, vectors),
            finest + nbytes(vectors, residual, histograms),
            clips,
        ),
        Stage("vectors to cells", lambda: vector_cells(vectors, config.input_size), nbytes(vectors, motion), clips),
        Stage("medians", lambda: estimate_cameras(motion, "median"), nbytes(motion, cameras), clips),
        Stage("lengths and limits", measure, nbytes(motion, cameras, histograms, lengths, *limits), clips),
        Stage("energy and pool", pool, nbytes(lengths, residual, *limits, table, pool()), clips),
    ]


def nbytes(*arrays: torch.Tensor) -> int:
    """Bytes of arrays."""
    return sum(array.numel() * array.element_size() for array in arrays)


# --- input


def _batch(scale: Scale, size: tuple[int, int], clips: int) -> Batch:
    config = scale.config
    surfaces = _several(clip_surfaces(2 * config.num_frames, size, 8, scale.device), clips)
    kept = np.sort(np.random.default_rng(3).choice(config.patches_per_clip, config.k_keep, replace=False))
    slots, *cells = np.unravel_index(kept, (config.num_frames, config.grid, config.grid))
    corners = np.stack(cells, axis=1).astype(np.int64) * config.patch_size
    every = np.concatenate([slots + clip * config.num_frames for clip in range(clips)])
    return Batch(
        surfaces,
        cropped(surfaces, config),
        torch.from_numpy(np.tile(corners, (clips, 1))).to(scale.device),
        torch.from_numpy(every.astype(np.int64)).to(scale.device),
        _distinct_samples(surfaces, config, slots, corners),
    )


def _several(clip: Surfaces, clips: int) -> Surfaces:
    """As many clips, each the same but shifted otherwise."""

    def shifted(planes: torch.Tensor, step: int) -> torch.Tensor:
        return torch.cat([planes.roll((step * number, 2 * step * number), (1, 2)) for number in range(clips)])

    return Surfaces(clip.layout, shifted(clip.luma, 2), shifted(clip.chroma, 1))


def cropped(surfaces: Surfaces, config: SieveConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples of the model's crop of every second picture, as `gpu_stack.PictureStack` holds them."""
    shown = upright_layout(surfaces.layout)
    numbers = torch.arange(1, len(surfaces.luma), 2, device=surfaces.luma.device)
    luma, chroma = (
        planes[:, of.top : of.bottom, of.left : of.right][numbers].contiguous()
        for planes, of in zip(
            (surfaces.luma, surfaces.chroma), crop_taps(shown, config.input_size, config.patch_size), strict=True
        )
    )
    return luma, chroma


def _distinct_samples(surfaces: Surfaces, config: SieveConfig, slots: np.ndarray, corners: np.ndarray) -> int:
    """Bytes of 8-bit crops that the patches of one clip cover: what overlaps is counted once."""
    total = 0
    of_planes = crop_taps(upright_layout(surfaces.layout), config.input_size, config.patch_size)
    for of, channels in zip(of_planes, (1, 2), strict=True):
        seen = np.zeros((config.num_frames, of.bottom - of.top, of.right - of.left), bool)
        rows = _covered(of.taps[0], corners[:, 0], config.patch_size, of.top)
        columns = _covered(of.taps[1], corners[:, 1], config.patch_size, of.left)
        for slot, top, bottom, left, right in zip(slots, *rows, *columns, strict=True):
            seen[slot, top:bottom, left:right] = True
        total += channels * int(seen.sum())
    return total


def _covered(axis: Taps, at: np.ndarray, patch: int, origin: int) -> tuple[np.ndarray, np.ndarray]:
    """The first sample of an axis that each patch is made of, and the end of its last; `origin` is counted 0."""
    return axis.first[at] - origin, axis.first[at + patch - 1] + axis.weights.shape[1] - origin


def batch_levels(scale: Scale, clips: int) -> Levels:
    surfaces = _several(clip_surfaces(2 * scale.config.num_frames, scale.small_size, 8, scale.device), clips)
    taps = luma_taps(upright_layout(surfaces.layout), scale.config.input_size)
    return model_levels(surfaces.luma, 0, 0, *taps, 0)
