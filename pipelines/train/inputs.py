"""What of a clip goes into the encoder: codec-selected patches, whole frames, or a collage of them (arXiv 2602.08683).

By a clip's row in its step: the first rows are codec-selected, the next frames, the rest collages. Which frames is a
function of seed, step and row. Reading caches is left to `loading`, single pictures to `pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codecsieve.encoder.draws import draw
from codecsieve.errors import ConfigError

from .config import TrainConfig

CODEC, FRAMES, COLLAGE, PICTURE = "codec", "frames", "collage", "picture"
KINDS = (CODEC, FRAMES, COLLAGE)
_FRAME_DRAWS = 4  # a stream of draws, apart from those of the concept head


@dataclass(frozen=True)
class Group:
    """Clips of a step that are of one kind. patches: [B, K, 3, P, P]; positions: [B, K, 3]; places: [B], where each
    clip is among this process's.
    """

    kind: str
    patches: Tensor
    positions: Tensor
    places: Tensor


def kind_of(row: int, config: TrainConfig) -> str:
    """What the clip of a row is, 0..batch_size - 1 of its step."""
    codec = int(config.batch_size * config.codec_share + 1e-9)
    frames = int(config.batch_size * config.frames_share + 1e-9)
    return CODEC if row < codec else FRAMES if row < codec + frames else COLLAGE


def choose_frames(present: Sequence[int], frames: int, seed: int, step: int, row: int) -> list[int]:
    """Which of a clip's slots are shown: one of each of so many even bins of those it has, at random."""
    if len(present) < frames:
        raise ConfigError(f"frames ({frames}) must be at most the {len(present)} slots that a clip of the cache has")
    bounds = [len(present) * number // frames for number in range(frames + 1)]
    drawn = draw(seed, _FRAME_DRAWS, step, row, torch.arange(frames)).tolist()
    return [present[start + one % (end - start)] for start, end, one in zip(bounds, bounds[1:], drawn, strict=False)]


def take_frames(patches: Tensor, positions: Tensor, slots: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The patches of some slots of a clip, slot by slot, with their positions.

    patches: [K, 3, P, P]; positions: [K, 3]. Raises ConfigError where a slot is not whole: its cache must hold whole
    frames.
    """
    side = int(positions[:, 1:].max()) + 1
    parts = []
    for slot in slots:
        here = torch.nonzero(positions[:, 0] == slot)[:, 0]
        if len(here) != side * side:
            raise ConfigError(f"slot {slot} has {len(here)} of {side * side} patches; frames_cache must hold whole "
                              "frames: make it with --policy sampling")  # fmt: skip
        parts.append(here)
    chosen = torch.cat(parts)
    return patches[chosen], positions[chosen]


def make_collage(positions: Tensor, slots: Sequence[int]) -> Tensor:
    """Positions of whole frames put below each other into one picture: slot 0, row frame x side + row."""
    side = int(positions[:, 1:].max()) + 1
    order = {slot: number for number, slot in enumerate(slots)}
    rows = torch.tensor([order[slot] for slot in positions[:, 0].tolist()]) * side
    collage = positions.clone()
    collage[:, 0], collage[:, 1] = 0, positions[:, 1] + rows.to(positions)
    return collage
