"""The road of one clip: decode, score every slot as it comes, select over the whole clip, gather what is kept.

A slot's residual is scored and let go; only the model's crop of each picture is held until the selection is
known, so that no more patches are cut out than are kept. Many clips, and writing them down, are left to
`precompute`.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass

import numpy as np

from codecsieve.codec.clip import ClipDecoder, in_true_order
from codecsieve.codec.slots import SlotSignals
from codecsieve.codec.upright import upright_size
from codecsieve.kernels.cpu.energy import slot_scores
from codecsieve.kernels.cpu.select import select_patches
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.crops import Crop, cut_patches, hold_crop, slot_corners

HELD_BYTES = 256 << 20
"""Crops held at once for one clip; a clip with more has its slots resized whole as they come."""


@dataclass(frozen=True)
class SievedClip:
    """What is kept of one clip."""

    patches: np.ndarray
    """uint8 [K, 3, P, P], RGB; [0, 3, P, P] where pixels were not asked for."""
    positions: np.ndarray
    """uint16 [K, 3]: slot, patch row, patch column of each kept patch, ascending."""
    scores: np.ndarray
    """int32 [K]: energy (0..255) summed over the patch's pixels."""
    frame_ids: np.ndarray
    """int32 [T]: display index in the file of the frame in each slot."""
    indices: np.ndarray
    """int32 [K]: slot * gh * gw + row * gw + column, ascending."""
    slot_scores: np.ndarray
    """int64 [T, gh, gw]: scores of all patches, kept or not."""
    codec: str
    width: int
    """Of the upright picture, in luma samples."""
    height: int
    fps: float
    frames: int
    """Frames in the clip."""
    distinct_frames: int
    """Different frames among the slots."""
    signals: str
    """`bitstream` or `search`: what was used."""
    decoder: str
    """`ffmpeg` or `nvdec`: what decoded it."""
    pictures_decoded: int


def sieve_clip(
    path: str | os.PathLike[str],
    config: SieveConfig | None = None,
    start: float | None = None,
    end: float | None = None,
    pixels: bool = True,
) -> SievedClip:
    """Sieve one clip down to its K patches.

    Args:
        path: a video file.
        config: what to sample, score and keep; the defaults where None.
        start: seconds from the file's first frame; None: from the beginning.
        end: seconds, exclusive; None: to the end.
        pixels: also cut out the patches; without, `patches` is empty.

    Raises:
        VideoError: the file cannot be used: one line that names it and says what to do.
        ValueError: an option is out of range.
    """
    used = config or SieveConfig()
    return in_true_order(lambda believe: _sieve(path, used, start, end, pixels, believe))


def _sieve(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None,
    end: float | None,
    pixels: bool,
    believe: bool,
) -> SievedClip:
    with ClipDecoder(path, config.num_frames, config.signals, start, end, believe) as clip:
        scores: dict[int, np.ndarray] = {}
        held: dict[int, Crop | np.ndarray] = {}
        size = 0, 0
        for slot in clip.slots(config.input_size):
            index = slot.picture.display_index
            size = upright_size(slot.picture)
            scores[index] = score_slot(slot, config)
            if pixels:
                crop = hold_crop(slot.picture, config.input_size, config.patch_size)
                few = crop.nbytes * config.num_frames <= HELD_BYTES
                held[index] = crop if few else cut_patches(crop, slot_corners(config.grid, config.patch_size))
        ids = clip.nearest_decoded(list(scores))
        slot_scores = np.stack([scores[index] for index in ids.tolist()])
        indices = select_from(slot_scores, config)
        positions = np.stack(np.unravel_index(indices, slot_scores.shape), axis=1)
        patches = _cut(ids, positions, held, config)
        return assemble_clip(clip, ids, slot_scores, indices, patches, size, "ffmpeg")


def assemble_clip(
    clip: ClipDecoder,
    ids: np.ndarray,
    slot_scores: np.ndarray,
    indices: np.ndarray,
    patches: np.ndarray,
    size: tuple[int, int],
    decoder: str,
) -> SievedClip:
    """What is known of a clip once it is sieved; size: height and width of the upright picture."""
    facts = clip.source.facts
    positions = np.stack(np.unravel_index(indices, slot_scores.shape), axis=1)
    return SievedClip(
        patches=patches,
        positions=positions.astype(np.uint16),
        scores=slot_scores.ravel()[indices].astype(np.int32),
        frame_ids=ids.astype(np.int32),
        indices=indices,
        slot_scores=slot_scores,
        codec=facts.codec,
        width=size[1],
        height=size[0],
        fps=facts.fps,
        frames=clip.sample.frames,
        distinct_frames=len(np.unique(ids)),
        signals=clip.signals,
        decoder=decoder,
        pictures_decoded=clip.pictures_decoded,
    )


def score_slot(slot: SlotSignals, config: SieveConfig) -> np.ndarray:
    """Scores of one slot's patches: int64 [gh, gw], see `score_patches`; 0 where it has no prediction."""
    if not slot.predicted:
        return np.zeros((config.grid, config.grid), np.int64)
    grids = geometry(*slot.residual.shape, config.input_size, config.patch_size)
    table = center_table(grids, config.center_prior, config.center_sigma)
    weights = fuse_weights(config.w_mv, config.w_res)
    return slot_scores(slot.motion, slot.residual, grids, table, config.mv_compensate, config.fuse, weights)


def select_from(scores: np.ndarray, config: SieveConfig) -> np.ndarray:
    """The patches that a configuration keeps of a clip: int32 [K], ascending indices.

    By saliency, `select_patches`. By sampling, whole slots, round(i / (n - 1) * (T - 1)). At random, all patches alike:
    a clip's scores are the seed, so that each clip has patches of its own, the same ones every time.
    """
    if config.policy == "sampling":
        patches, count = config.grid**2, config.k_keep // config.grid**2
        slots = [(2 * i * (len(scores) - 1) + count - 1) // max(2 * (count - 1), 1) for i in range(count)]
        return (np.array(slots)[:, None] * patches + np.arange(patches)).ravel().astype(np.int32)
    if config.policy == "random":
        random = np.random.RandomState(zlib.crc32(np.ascontiguousarray(scores).tobytes()))  # the same in every numpy
        return np.sort(random.permutation(scores.size)[: config.k_keep]).astype(np.int32)
    return select_patches(
        scores,
        config.k_keep,
        static_fallback=config.static_fallback,
        static_abs_thresh=config.static_abs_thresh,
        static_rel_thresh=config.static_rel_thresh,
        static_uniform_frames=config.static_uniform_frames,
        anchors=config.anchors,
        patch=config.patch_size,
    )


def _cut(ids: np.ndarray, positions: np.ndarray, held: dict[int, Crop | np.ndarray], config: SieveConfig) -> np.ndarray:
    """Patches at positions [K, 3], slot by slot; a picture in several slots is cut once for each."""
    side = config.patch_size
    if not held:
        return np.empty((0, 3, side, side), np.uint8)
    patches = np.empty((len(positions), 3, side, side), np.uint8)
    edges = np.searchsorted(positions[:, 0], np.arange(config.num_frames + 1))
    for slot, index in enumerate(ids.tolist()):
        here = slice(edges[slot], edges[slot + 1])
        wanted = positions[here, 1:]
        source = held[index]
        if isinstance(source, np.ndarray):
            patches[here] = source[wanted[:, 0] * config.grid + wanted[:, 1]]
        elif len(wanted):
            patches[here] = cut_patches(source, wanted * side)
    return patches
