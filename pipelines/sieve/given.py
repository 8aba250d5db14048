"""A clip whose patches somebody else has chosen: its frames, and, where they are wanted, the pixels of those patches.

Nothing is scored. Since it is known beforehand what is kept, patches are cut out of each picture as it is decoded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from codecsieve.codec.clip import ClipDecoder, in_true_order
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.upright import upright_size
from codecsieve.errors import VideoError
from codecsieve.machine import MAX_MEMORY
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import open_clip
from codecsieve.pipelines.sieve.crops import cut_patches, view_crop


@dataclass(frozen=True)
class GivenClip:
    """What is known of such a clip."""

    positions: np.ndarray
    """uint16 [K, 3]: slot, row, column, in the order given."""
    patches: np.ndarray | None
    """uint8 [K, 3, P, P], RGB; None where pixels were not asked for."""
    frame_ids: np.ndarray
    """int32 [T]: display index in the file of the frame in each slot."""
    codec: str
    fps: float
    frames: int
    """Frames in the clip."""
    order: str
    """`timestamps` or `decoder`: what told the order of the frames."""
    size: tuple[int, int] | None
    """Width and height of a picture, upright; None where none was decoded."""


def take_given(
    path: str | os.PathLike[str],
    indices: np.ndarray,
    config: SieveConfig,
    start: float | None = None,
    end: float | None = None,
    pixels: bool = True,
    max_memory: int = MAX_MEMORY,
) -> GivenClip:
    """Look up the frames of a clip's slots and, with `pixels`, decode them and cut out the patches given.

    Args:
        path: a video file.
        indices: int64 [K], slot * grid^2 + row * grid + column, in 0..T * grid^2 - 1.
        config: says num_frames, input_size, patch_size, fit and how slots are spread.
        start: seconds from the file's first frame; None: from the beginning.
        end: seconds, exclusive; None: to the end.
        pixels: without, nothing is decoded.
        max_memory: bytes that the clip may take.

    Raises VideoError where the file cannot be used, or a frame that patches are of cannot be decoded.
    """
    return in_true_order(lambda believe: _take(path, indices, config, start, end, pixels, believe, max_memory))


def _take(
    path: str | os.PathLike[str],
    indices: np.ndarray,
    config: SieveConfig,
    start: float | None,
    end: float | None,
    pixels: bool,
    believe: bool,
    max_memory: int,
) -> GivenClip:
    with open_clip(path, config, start, end, believe, max_memory) as clip:
        shape = config.num_frames, config.grid, config.grid
        positions = np.stack(np.unravel_index(indices, shape), axis=1)
        patches, size = _cut(clip, positions, config) if pixels else (None, None)
        return GivenClip(
            positions=positions.astype(np.uint16),
            patches=patches,
            frame_ids=clip.sample.frame_ids.astype(np.int32),
            codec=clip.source.facts.codec,
            fps=clip.source.facts.fps,
            frames=clip.sample.frames,
            order=clip.source.order,
            size=size,
        )


def _cut(clip: ClipDecoder, positions: np.ndarray, config: SieveConfig) -> tuple[np.ndarray, tuple[int, int]]:
    """Patches at positions [K, 3], picture by picture, and the pictures' width and height."""
    side = config.patch_size
    patches = np.empty((len(positions), 3, side, side), np.uint8)
    shown = clip.sample.frame_ids[positions[:, 0]]
    missing, size = set(np.unique(shown).tolist()), (0, 0)
    for picture in decode_pictures(clip.source, np.unique(shown), motion=False):
        if picture.display_index not in missing:
            continue
        here = shown == picture.display_index
        crop = view_crop(picture, config.input_size, side, config.fitting)
        patches[here] = cut_patches(crop, positions[here, 1:] * side)
        missing.discard(picture.display_index)
        size = upright_size(picture)
    if missing:
        raise VideoError(f"{clip.path}: {len(missing)} frames, such as {min(missing)}, could not be decoded, of which "
                         "patches were chosen; the file is damaged, or another than it was")  # fmt: skip
    return patches, (size[1], size[0])
