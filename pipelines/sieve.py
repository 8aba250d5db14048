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
from codecsieve.kernels.cpu.select import select_patches as select_kernel
from codecsieve.kernels.dispatch import Array, score_clip
from codecsieve.kernels.dispatch import select_patches as select_where_scored
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


def score_patches(
    motion: Array,
    residual: Array,
    keyframe: Array,
    size: int = 224,
    patch: int = 14,
    mv_compensate: str = "median",
    center_prior: float = 0.3,
    center_sigma: float = 0.35,
    fuse: str = "weighted",
    w_mv: float = 1.0,
    w_res: float = 1.0,
) -> Array:
    """Temporal saliency of every patch of a clip.

    Per slot: camera motion is taken out of the motion, its magnitude and the residual are divided by their 95th
    percentile and clipped to 1, fused, lifted towards the centre, and averaged over each patch (OneVision-Encoder,
    arXiv 2602.08683). All integer: every device gives the same bits. Numpy arrays are scored on the processor,
    torch tensors of a CUDA device on that device.

    Args:
        motion: int16 [T, ceil(H / 4), ceil(W / 4), 2], quarter-pel, x then y.
        residual: uint8 [T, H, W].
        keyframe: bool [T]; these slots score 0.
        size: the picture's short side is seen as this many model pixels, centre cropped to a square.
        patch: side of a patch in model pixels; size must be a multiple of it.
        mv_compensate: none, mean, median, similarity, affine.
        center_prior: how much more the centre counts.
        center_sigma: width of that prior, as a part of the short side.
        fuse: weighted, max, sum, geomean.
        w_mv: weight of motion, for `weighted`.
        w_res: weight of residual, for `weighted`.

    Returns:
        int64 [T, size / patch, size / patch]: energy (0..255) summed over the patch's pixels, so that
        score / patch**2 is the patch's mean energy, 0..255.

    Raises:
        ValueError: shapes that do not fit each other, or an option out of range.
    """
    if residual.ndim != 3:
        raise ValueError(f"residual {tuple(residual.shape)} must be [T, H, W]")
    grids = geometry(residual.shape[1], residual.shape[2], size, patch)
    table = center_table(grids, center_prior, center_sigma)
    weights = fuse_weights(w_mv, w_res)
    return score_clip(motion, residual, keyframe, grids, table, mv_compensate, fuse, weights)


def select_patches(
    scores: Array,
    k_keep: int,
    static_fallback: bool = False,
    static_abs_thresh: float = 126,
    static_rel_thresh: float = 0.38,
    static_uniform_frames: int = 4,
    anchors: int = 0,
    patch: int = 14,
) -> Array:
    """The patches worth keeping: top-K of the whole clip, not of each slot.

    The selection is made on the processor; torch tensors go there and back.

    Args:
        scores: int [T, gh, gw], as `score_patches` gives them.
        k_keep: K, patches to keep; all of them where the clip has fewer.
        static_fallback: keep some slots whole of a clip in which little happens, then the top-K of the rest.
        static_abs_thresh: a clip is static if the 95th percentile of its patches' mean energy is below this ...
        static_rel_thresh: ... or below twice that, with (p95 - p50) / p95 below this.
        static_uniform_frames: how many uniformly spaced slots a static clip keeps whole.
        anchors: uniformly spaced slots kept whole in any clip, counted in K.
        patch: side of a patch in model pixels, for the mean energy.

    Returns:
        int32 [K], ascending: slot * gh * gw + row * gw + column. Of equal scores the smaller index is kept.

    Raises:
        ValueError: an option out of range.
    """
    return select_where_scored(
        scores,
        k_keep,
        static_fallback=static_fallback,
        static_abs_thresh=static_abs_thresh,
        static_rel_thresh=static_rel_thresh,
        static_uniform_frames=static_uniform_frames,
        anchors=anchors,
        patch=patch,
    )


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
    return select_kernel(
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
