"""A clip studied: scored in every way that a page's sliders can ask for, so that only the selection is left to make.

Decoded twice, once for the codec's own signals and once for a plain frame difference; each slot is scored for every
preset and camera mode while it is there. Selecting is `select_kept`, which takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from codecsieve.codec.clip import in_true_order
from codecsieve.machine import MAX_MEMORY
from codecsieve.pipelines.config import PRESETS, SieveConfig
from codecsieve.pipelines.look.draw import whole_frame
from codecsieve.pipelines.sieve.clip import open_clip
from codecsieve.pipelines.sieve.crops import cut_patches, hold_crop, slot_corners
from codecsieve.pipelines.sieve.kept import select_from
from codecsieve.pipelines.sieve.scores import ClipScores

CAMERAS: tuple[str, ...] = SieveConfig.__dataclass_fields__["mv_compensate"].metadata["rule"].choices
DIFFERENCE = "difference"
AS_IT_IS = "as it is"
"""Stands for options that no preset has."""
COLUMNS = 8
_QUALITY = 85


@dataclass(frozen=True)
class Study:
    """A clip, and what there is to select from.

    config: what it was scored with, but for preset and camera mode; presets: that with each preset's options, the one
    that it has itself first; frames: a JPEG of all slots' pictures at model resolution, `COLUMNS` in a row; scores:
    int64 [T, gh, gw] by (preset, camera mode); difference: likewise, of signals `difference`; facts: of the clip, as
    plain JSON values.
    """

    config: SieveConfig
    presets: dict[str, SieveConfig]
    frames: bytes
    scores: dict[tuple[str, str], np.ndarray]
    difference: np.ndarray
    facts: dict[str, Any]


def study_clip(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None = None,
    end: float | None = None,
    max_memory: int = MAX_MEMORY,
) -> Study:
    """Study a clip. start, end: seconds; max_memory: bytes. Raises VideoError where the file cannot be used."""
    return in_true_order(lambda believe: _study(path, config, start, end, believe, max_memory))


def presets_for(config: SieveConfig) -> dict[str, SieveConfig]:
    """A configuration with each preset's options in place of its own, and first as it is: by the preset that it is of,
    whatever its camera mode, or as `AS_IT_IS`.
    """
    found = {name: config.by_preset(name) for name in PRESETS}
    alike = {name: dataclasses.replace(used, mv_compensate=config.mv_compensate) for name, used in found.items()}
    own = next((name for name, used in alike.items() if used == config), AS_IT_IS)
    return {own: config, **{name: used for name, used in found.items() if name != own}}


def select_kept(study: Study, preset: str, config: SieveConfig) -> np.ndarray:
    """What a selection keeps of a studied clip: int32 [K], see `select_from`, `t*gh*gw + h*gw + w`.

    preset: of the study's; config: the study's with another k_keep, anchors, camera mode or policy; its signals
    `difference` stand for a plain frame difference. Raises ConfigError where k_keep is more than there is.
    """
    if config.signals == DIFFERENCE:
        return select_from(study.difference, config)
    return select_from(study.scores[preset, config.mv_compensate], config)


def _study(
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None,
    end: float | None,
    believe: bool,
    max_memory: int,
) -> Study:
    presets = presets_for(config)
    ways = {
        (name, camera): dataclasses.replace(used, mv_compensate=camera)
        for name, used in presets.items()
        for camera in CAMERAS
    }
    corners, frames = slot_corners(config.grid, config.patch_size), {}
    with open_clip(path, config, start, end, believe, max_memory) as clip:
        scores = {way: ClipScores(clip, used) for way, used in ways.items()}
        for slot in clip.slots(config.input_size, config.fitting):
            index = slot.picture.display_index
            for scored in scores.values():
                scored.add(slot)
            crop = hold_crop(slot.picture, config.input_size, config.patch_size, config.fitting)
            frames[index] = whole_frame(cut_patches(crop, corners), config)
        ids = clip.nearest_decoded(list(frames))
        facts = {
            **{name: getattr(clip.source.facts, name) for name in ("codec", "width", "height", "fps")},
            "frames": clip.sample.frames,
            "signals": clip.signals,
            "frame_ids": ids.tolist(),
        }
    compared = dataclasses.replace(config, signals=DIFFERENCE)
    with open_clip(path, compared, start, end, believe, max_memory) as clip:
        plain = ClipScores(clip, compared)
        for slot in clip.slots(config.input_size, config.fitting):
            plain.add(slot)
        difference = plain.of(clip.nearest_decoded(plain.pictures))
    return Study(
        config=config,
        presets=presets,
        frames=_jpeg(_sheet(np.stack([frames[index] for index in ids.tolist()]))),
        scores={way: scored.of(ids) for way, scored in scores.items()},
        difference=difference,
        facts=facts,
    )


def _sheet(frames: np.ndarray) -> np.ndarray:
    """Pictures uint8 [T, size, size, 3] in rows of `COLUMNS`, the last one filled up with black."""
    rows, size = -(-len(frames) // COLUMNS), frames.shape[1]
    padded = np.zeros((rows * COLUMNS, *frames.shape[1:]), np.uint8)
    padded[: len(frames)] = frames
    return padded.reshape(rows, COLUMNS, size, size, 3).swapaxes(1, 2).reshape(rows * size, COLUMNS * size, 3)


def _jpeg(picture: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
