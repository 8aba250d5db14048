"""A clip sieved again with its whole slots at hand, to draw pictures of. How these look is left to `pictures`."""

from __future__ import annotations

import os

import numpy as np

from codecsieve.codec.clip import in_true_order
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.look.pictures import DrawnClip
from codecsieve.pipelines.sieve.clip import open_clip
from codecsieve.pipelines.sieve.crops import cut_patches, hold_crop, slot_corners
from codecsieve.pipelines.sieve.kept import select_by_sampling, select_from
from codecsieve.pipelines.sieve.scores import ClipScores
from codecsieve.text import printable


def draw_clip(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None = None,
    end: float | None = None,
) -> DrawnClip:
    """Sieve a clip again with its whole slots at hand, for the pictures that are drawn of it.

    start, end: seconds, of a clip that is not all of its file; the title is the file's name, with them. Raises
    VideoError where the file cannot be used.
    """
    return in_true_order(lambda believe: _draw(path, config, start, end, believe))


def _draw(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None,
    end: float | None,
    believe: bool,
) -> DrawnClip:
    with open_clip(path, config, start, end, believe) as clip:
        corners = slot_corners(config.grid, config.patch_size)
        scores, frames = ClipScores(clip, config), {}
        for slot in clip.slots(config.input_size, config.fitting):
            index = slot.picture.display_index
            scores.add(slot)
            crop = hold_crop(slot.picture, config.input_size, config.patch_size, config.fitting)
            frames[index] = whole_frame(cut_patches(crop, corners), config)
        ids = clip.nearest_decoded(scores.pictures)
        slot_scores = scores.of(ids)
        return DrawnClip(
            frames=np.stack([frames[index] for index in ids.tolist()]),
            scores=slot_scores,
            indices=select_from(slot_scores, config),
            sampled=select_by_sampling(slot_scores, config),
            title=_title(os.fspath(path), start, end),
            codec=clip.source.facts.codec,
            signals=clip.signals,
            policy=config.policy,
            groups=config.groups,
        )


def _title(path: str, start: float | None, end: float | None) -> str:
    name = printable(os.path.basename(path))
    if start is None and end is None:
        return name
    until = "the end" if end is None else f"{end:g} s"
    return f"{name}, {start or 0:g} s to {until}"


def whole_frame(patches: np.ndarray, config: SieveConfig) -> np.ndarray:
    """All patches [gh * gw, 3, P, P] of a slot put together: uint8 [size, size, 3]."""
    grid, side = config.grid, config.patch_size
    tiles = patches.reshape(grid, grid, 3, side, side)
    return tiles.transpose(0, 3, 1, 4, 2).reshape(grid * side, grid * side, 3)
