"""A clip sieved again with its whole slots at hand, to draw pictures of. How these look is left to `pictures`."""

from __future__ import annotations

import os

import numpy as np

from codecsieve.codec.clip import ClipDecoder, in_true_order
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.look.pictures import DrawnClip
from codecsieve.pipelines.sieve.clip import score_slot
from codecsieve.pipelines.sieve.crops import cut_patches, hold_crop, slot_corners
from codecsieve.pipelines.sieve.kept import select_from


def draw_clip(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None = None,
    end: float | None = None,
    clip_id: str = "",
) -> DrawnClip:
    """Sieve a clip again with its whole slots at hand, for the pictures that are drawn of it.

    Raises VideoError where the file cannot be used.
    """
    name = clip_id or os.path.basename(os.fspath(path))
    return in_true_order(lambda believe: _draw(path, config, start, end, name, believe))


def _draw(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None,
    end: float | None,
    name: str,
    believe: bool,
) -> DrawnClip:
    with ClipDecoder(path, config.num_frames, config.signals, start, end, believe, spread=config.spreading) as clip:
        corners = slot_corners(config.grid, config.patch_size)
        scores, frames = {}, {}
        for slot in clip.slots(config.input_size):
            index = slot.picture.display_index
            scores[index] = score_slot(slot, config)
            crop = hold_crop(slot.picture, config.input_size, config.patch_size)
            frames[index] = _whole(cut_patches(crop, corners), config)
        ids = clip.nearest_decoded(list(scores)).tolist()
        slot_scores = np.stack([scores[index] for index in ids])
        return DrawnClip(
            frames=np.stack([frames[index] for index in ids]),
            scores=slot_scores,
            indices=select_from(slot_scores, config),
            clip_id=name,
            codec=clip.source.facts.codec,
            signals=clip.signals,
        )


def _whole(patches: np.ndarray, config: SieveConfig) -> np.ndarray:
    """All patches [gh * gw, 3, P, P] of a slot put together: uint8 [size, size, 3]."""
    grid, side = config.grid, config.patch_size
    tiles = patches.reshape(grid, grid, 3, side, side)
    return tiles.transpose(0, 3, 1, 4, 2).reshape(grid * side, grid * side, 3)
