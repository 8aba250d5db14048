"""The clips of a training: those that a cache has and concepts know, some held out; and what of each its row gets.

Which clips are whose and when is left to `reader`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codecsieve.cache import SparseCache
from codecsieve.encoder.draws import draw
from codecsieve.errors import ConfigError
from codecsieve.pipelines.loading.dataset import SparseDataset

from .config import TrainConfig
from .inputs import CODEC, COLLAGE, FRAMES, KINDS, Group, choose_frames, kind_of, make_collage, take_frames

_HELD_OUT = 5  # a stream of draws


@dataclass(frozen=True)
class Labelled:
    """Clips with their concepts. dataset: of the cache; frames: the same clips in the cache of whole frames; concepts:
    int64 [N, L], nearest first.
    """

    dataset: SparseDataset
    frames: SparseDataset | None
    concepts: Tensor

    def __len__(self) -> int:
        return len(self.dataset)


def labelled_clips(
    cache: SparseCache, frames: SparseCache | None, ids: Sequence[str], concepts: np.ndarray, config: TrainConfig
) -> tuple[Labelled, Labelled | None]:
    """The clips that are trained on, and those that are held out, None where there are none.

    ids, concepts: of the concept bank, [N] and int [N, L]. A clip is held out by a draw of its own, whichever others
    there are. Raises ConfigError where no clip is left, or a cache has no pixels.
    """
    places = {clip_id: place for place, clip_id in enumerate(ids)}
    known = [clip_id for clip_id in cache.clip_ids if clip_id in places]
    if frames is not None:
        _check_frames(cache, frames)
        whole = set(frames.clip_ids)
        known = [clip_id for clip_id in known if clip_id in whole]
    if not known:
        raise ConfigError(f"cache {cache.location} has no clip that the concepts know; make them of this cache")
    kept = [clip_id for clip_id in known if not _is_held_out(clip_id, config)]
    held = [clip_id for clip_id in known if _is_held_out(clip_id, config)]
    if not kept:
        raise ConfigError(f"held_out ({config.held_out}) leaves none of {len(known)} clips; lower it")

    def of(clips: list[str]) -> Labelled:
        rows = torch.from_numpy(np.ascontiguousarray(concepts[[places[clip_id] for clip_id in clips]]).astype(np.int64))
        return Labelled(SparseDataset(cache, clips), None if frames is None else SparseDataset(frames, clips), rows)

    return of(kept), of(held) if held else None


@dataclass(frozen=True)
class ClipSource:
    """Clips as a step's rows get them: codec-selected patches, whole frames, collages."""

    clips: Labelled
    config: TrainConfig

    @property
    def ids(self) -> Sequence[str]:
        """Of all clips."""
        return self.clips.dataset.ids

    @property
    def concepts(self) -> Tensor:
        """Of all clips: int64 [N, L]."""
        return self.clips.concepts

    def groups(self, numbers: Sequence[int], rows: Sequence[int], step: int) -> list[Group]:
        """Some of them, by number, in these rows of a step: a group a kind. Raises ConfigError, CacheError."""
        kinds = [kind_of(row, self.config) for row in rows]
        groups = []
        for kind in KINDS:
            places = [place for place, one in enumerate(kinds) if one == kind]
            if places:
                taken = [numbers[place] for place in places], [rows[place] for place in places]
                groups.append(Group(kind, *self._read(kind, *taken, step), torch.tensor(places)))
        return groups

    def _read(self, kind: str, numbers: Sequence[int], rows: Sequence[int], step: int) -> tuple[Tensor, Tensor]:
        """Patches [B, K, 3, P, P] and positions [B, K, 3] of clips of one kind."""
        if kind == CODEC:
            batch = self.clips.dataset.__getitems__(list(numbers))
            return batch.patches, batch.positions
        assert kind in (FRAMES, COLLAGE)
        if self.clips.frames is None:
            raise ConfigError(
                "frames_cache must be given where codec_share is below 1; make one with --policy sampling"
            )
        batch = self.clips.frames.__getitems__(list(numbers))
        taken = []
        for patches, positions, row in zip(batch.patches, batch.positions, rows, strict=True):
            present = sorted(set(positions[:, 0].tolist()))
            slots = choose_frames(present, self.config.frames, self.config.seed, step, row)
            some, places = take_frames(patches, positions, slots)
            taken.append((some, make_collage(places, slots) if kind == COLLAGE else places))
        patches, positions = zip(*taken, strict=True)
        return torch.stack(patches), torch.stack(positions)


def _check_frames(cache: SparseCache, frames: SparseCache) -> None:
    """Raise ConfigError where a cache of whole frames is none, or of another resolution."""
    if frames.config.get("policy", "sampling") != "sampling":
        raise ConfigError(f"frames_cache {frames.location} must hold whole frames; make it with --policy sampling")
    for name in ("input_size", "patch_size"):
        ours, theirs = cache.config.get(name), frames.config.get(name)
        if ours != theirs:
            raise ConfigError(
                f"frames_cache {frames.location} has {name} {theirs}, and cache {cache.location} {ours}; make it with "
                f"--{name.replace('_', '-')} {ours}"
            )


def _is_held_out(clip_id: str, config: TrainConfig) -> bool:
    letters = list(clip_id.encode("utf-8", "surrogatepass"))
    folded = 0
    for letter in letters:
        folded = (folded * 257 + letter) % (2**61 - 1)
    return int(draw(config.seed, _HELD_OUT, folded)) < config.held_out * 2**63
