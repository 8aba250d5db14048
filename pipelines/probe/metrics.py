"""What a probe got right: counts that add up over batches and processes, accuracies by class.

Several probes are counted at once, M of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from codecsieve.pipelines.learn.ranks import Ranks


@dataclass(frozen=True, eq=False)
class Tally:
    """confusion: int64 [M, C, C], clips by true class, then by predicted class; near: int64 [M], clips whose class is
    among the first five; loss: float64 [M], the sum of cross-entropies.
    """

    confusion: Tensor
    near: Tensor
    loss: Tensor

    @classmethod
    def empty(cls, probes: int, classes: int, device: torch.device | str = "cpu") -> Tally:
        """Nothing counted yet."""
        return cls(
            torch.zeros(probes, classes, classes, dtype=torch.int64, device=device),
            torch.zeros(probes, dtype=torch.int64, device=device),
            torch.zeros(probes, dtype=torch.float64, device=device),
        )

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count clips: logits [M, B, C], labels int64 [B]."""
        probes, clips, classes = logits.shape
        if not clips:
            return
        best = logits.topk(min(5, classes), dim=-1).indices  # [M, B, 5]
        cells = labels * classes + best[..., 0]  # [M, B]
        ones = torch.ones_like(cells)
        self.confusion.flatten(1).scatter_add_(1, cells, ones)
        self.near.add_((best == labels[:, None]).any(-1).sum(1))
        losses = F.cross_entropy(logits.float().flatten(0, 1), labels.repeat(probes), reduction="none")
        self.loss.add_(losses.view(probes, clips).double().sum(1))

    def sum_(self, ranks: Ranks) -> None:
        """Count what all processes have counted."""
        ranks.sum_([self.confusion, self.near, self.loss])

    def scores(self) -> list[Scores]:
        """The accuracies of each probe."""
        return [Scores.of(*probe) for probe in zip(self.confusion.cpu(), self.near.cpu(), self.loss.cpu(), strict=True)]


@dataclass(frozen=True)
class Scores:
    """One probe on one split: accuracies 0..1, mean cross-entropy, clips."""

    top1: float
    top5: float
    loss: float
    clips: int

    @classmethod
    def of(cls, confusion: Tensor, near: Tensor, loss: Tensor) -> Scores:
        """Out of a probe's counts."""
        clips = int(confusion.sum())
        return cls(int(confusion.trace()) / clips, int(near) / clips, float(loss) / clips, clips)


def class_accuracies(confusion: Tensor) -> list[dict[str, Any]]:
    """For each class of a confusion matrix its clips and which part of them was right, None where there is no clip."""
    pairs = zip(confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
    return [{"clips": clips, "accuracy": right / clips if clips else None} for right, clips in pairs]
