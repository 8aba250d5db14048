"""The road of one clip: decode, score every slot as it comes, select over the whole clip, gather what is kept.

A slot's residual is scored and let go, unless the whole clip's percentiles count (`scores`); only the model's crop of
each picture is held until the selection is known, so that no more patches are cut out than are kept. Which patches a
configuration keeps is left to `kept`; many clips, and writing them down, to `precompute`.
"""

from __future__ import annotations

import os

import numpy as np

from codecsieve.codec.clip import ClipDecoder, in_true_order
from codecsieve.codec.memory import HELD_BYTES
from codecsieve.codec.upright import upright_size
from codecsieve.machine import MAX_MEMORY
from codecsieve.pipelines.config import DEFAULT_PRESET, SieveConfig
from codecsieve.pipelines.sieve.crops import Crop, cut_patches, slot_corners, view_crop
from codecsieve.pipelines.sieve.kept import SievedClip, assemble_clip, select_from
from codecsieve.pipelines.sieve.scores import ClipScores
from codecsieve.pipelines.sieve.shelf import Shelf


def sieve_clip(
    path: str | os.PathLike[str],
    config: SieveConfig | None = None,
    start: float | None = None,
    end: float | None = None,
    pixels: bool = True,
    max_memory: int = MAX_MEMORY,
) -> SievedClip:
    """Sieve one clip down to its K patches.

    Args:
        path: a video file.
        config: what to sample, score and keep; the defaults where None.
        start: seconds from the file's first frame; None: from the beginning.
        end: seconds, exclusive; None: to the end.
        pixels: also cut out the patches; without, `patches` is empty.
        max_memory: bytes that the clip may take; one that may take more is refused before anything is decoded.

    Raises:
        VideoError: the file cannot be used: one line that names it and says what to do.
        ValueError: an option is out of range.
    """
    used = config or SieveConfig.preset(DEFAULT_PRESET)
    return in_true_order(lambda believe: _sieve(path, used, start, end, pixels, believe, max_memory))


def open_clip(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None,
    end: float | None,
    believe: bool = True,
    max_memory: int = MAX_MEMORY,
) -> ClipDecoder:
    """A clip's decoder as a configuration has it; arguments and errors are those of `ClipDecoder`."""
    return ClipDecoder(
        path,
        config.num_frames,
        config.signals,
        start,
        end,
        believe,
        max_memory,
        config.spreading,
        config.decoder_fields,
    )


def _sieve(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None,
    end: float | None,
    pixels: bool,
    believe: bool,
    max_memory: int,
) -> SievedClip:
    with open_clip(path, config, start, end, believe, max_memory) as clip:
        scores = ClipScores(clip, config)
        held: dict[int, Crop | np.ndarray] = {}
        sizes: dict[int, tuple[int, int]] = {}
        shelf = Shelf.of_thread()
        for slot in clip.slots(config.input_size, config.fitting):
            index = slot.picture.display_index
            sizes[index] = upright_size(slot.picture)
            scores.add(slot)
            if pixels:
                crop = view_crop(slot.picture, config.input_size, config.patch_size, config.fitting)
                if crop.nbytes * config.num_frames <= HELD_BYTES:
                    held[index] = crop.copied(shelf.copy)
                else:  # a clip with more to hold has its slots resized whole as they come
                    corners = slot_corners(config.grid, config.patch_size)
                    held[index] = cut_patches(crop.copied(np.ndarray.copy), corners)
        ids = clip.nearest_decoded(scores.pictures)
        slot_scores = scores.of(ids)
        indices = select_from(slot_scores, config)
        positions = np.stack(np.unravel_index(indices, slot_scores.shape), axis=1)
        patches = _cut(ids, positions, held, config)
        return assemble_clip(clip, config, ids, slot_scores, indices, patches, sizes[int(ids[0])], "ffmpeg")


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
