"""What a training has learnt, on clips that it does not train on: whether they find their concepts, and each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from .clips import Labelled
from .config import CLIPS
from .inputs import CODEC, Group
from .trainer import Trainer


@dataclass(frozen=True)
class Validated:
    """recall: part of the clips whose nearest centre is one of their concepts; neighbours: part whose nearest other
    clip has the same label, None where the cache has no two labels; clips: that were looked at; embeddings: float32
    [clips, C], of length 1.
    """

    recall: float
    neighbours: float | None
    clips: int
    embeddings: Tensor = field(repr=False, compare=False)

    @property
    def told(self) -> dict[str, float | int | None]:
        """What a log has of it."""
        return {"recall": self.recall, "neighbours": self.neighbours, "clips": self.clips}


@torch.no_grad()
def validate(trainer: Trainer, clips: Labelled) -> Validated:
    """Look at all of these clips, as the cache has them. Every process embeds them all, against its centres."""
    trainer.model.eval()
    embeddings, right = [], 0
    share = max(1, trainer.config.batch_size // trainer.config.accumulation)
    for start in range(0, len(clips), share):
        numbers = list(range(start, min(start + share, len(clips))))
        batch = clips.dataset.__getitems__(numbers)
        group = Group(CODEC, batch.patches, batch.positions, torch.arange(len(numbers)))
        embedded = functional.normalize(trainer.embed([group], len(numbers)))
        found = _nearest_centre(trainer, embedded).cpu()
        right += int((clips.concepts[numbers] == found[:, None]).any(1).sum())
        embeddings.append(embedded.float().cpu())
    trainer.model.train()
    everyone = torch.cat(embeddings)
    return Validated(right / len(clips), _neighbours(everyone, clips.dataset.labels), len(clips), everyone)


def _nearest_centre(trainer: Trainer, embedded: Tensor) -> Tensor:
    """Of unit embeddings [B, C] the class of the nearest centre, over all processes: int64 [B]."""
    head = trainer.heads[CLIPS]
    cosines = embedded @ functional.normalize(head.weight).T
    most, places = cosines.max(1)
    classes = places + head.first
    if trainer.ranks.size == 1:
        return classes
    best = most.clone()
    dist.all_reduce(best, dist.ReduceOp.MAX)
    classes = torch.where(most == best, classes, torch.iinfo(torch.int64).max)
    dist.all_reduce(classes, dist.ReduceOp.MIN)
    return classes


def _neighbours(embedded: Tensor, labels: Tensor) -> float | None:
    """Part of the clips whose nearest other one has their label."""
    if len(labels) < 2 or len(torch.unique(labels)) < 2:
        return None
    cosines = embedded @ embedded.T
    cosines.fill_diagonal_(-2)
    return float((labels[cosines.argmax(1)] == labels).float().mean())
