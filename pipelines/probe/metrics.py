"""What a probe got right: counts that add up over batches and processes, accuracies by class; of clips that have
several classes, average precisions.

Several probes are counted at once, M of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
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

    def per_class(self) -> list[dict[str, Any]]:
        """The accuracies of each class, of all probes together."""
        return class_accuracies(self.confusion.sum(0).cpu())


@dataclass(frozen=True, eq=False)
class Ranking:
    """Of clips with several classes. logits: float32 [M, n, C], 0 where they are not counted yet; truth: bool [n, C].

    An average precision needs all clips at once; there are few sets of this kind, and they are small.
    """

    logits: Tensor
    truth: Tensor

    @classmethod
    def empty(cls, probes: int, truth: Tensor) -> Ranking:
        """Nothing counted yet; truth: of all clips of the split."""
        return cls(torch.zeros(probes, *truth.shape, device=truth.device), truth)

    def add(self, logits: Tensor, clips: Tensor) -> None:
        """Count clips: logits [M, B, C], their numbers int64 [B]."""
        self.logits[:, clips] = logits.float()

    def sum_(self, ranks: Ranks) -> None:
        """Count what all processes have counted, each clip by one of them."""
        ranks.sum_([self.logits])

    def scores(self) -> list[Scores]:
        """Of each probe: mean average precision; how often its first guess, or one of five, is one of the clip's."""
        return [self._scores(logits) for logits in self.logits]

    def per_class(self) -> list[dict[str, Any]]:
        """Clips and average precision of each class, None where there is no clip; the mean over probes."""
        precisions = np.mean(
            [average_precisions(one.cpu().numpy(), self.truth.cpu().numpy()) for one in self.logits], 0
        )
        return [
            {"clips": int(clips), "average_precision": None if np.isnan(one) else float(one)}
            for clips, one in zip(self.truth.sum(0).tolist(), precisions, strict=True)
        ]

    def _scores(self, logits: Tensor) -> Scores:
        right = self.truth.gather(1, logits.topk(min(5, logits.shape[1])).indices)  # [n, 5]
        return Scores(
            top1=float(right[:, 0].float().mean()),
            top5=float(right.any(1).float().mean()),
            loss=float(F.binary_cross_entropy_with_logits(logits, self.truth.float())),
            clips=len(logits),
            mean_ap=float(np.nanmean(average_precisions(logits.cpu().numpy(), self.truth.cpu().numpy()))),
        )


@dataclass(frozen=True)
class Scores:
    """One probe on one split: accuracies 0..1, mean cross-entropy, clips; mean_ap: the mean of the classes' average
    precisions, 0..1, where clips have several classes.
    """

    top1: float
    top5: float
    loss: float
    clips: int
    mean_ap: float | None = None

    @property
    def judged(self) -> float:
        """What one probe is better than another by."""
        return self.top1 if self.mean_ap is None else self.mean_ap

    @classmethod
    def of(cls, confusion: Tensor, near: Tensor, loss: Tensor) -> Scores:
        """Out of a probe's counts."""
        clips = int(confusion.sum())
        return cls(int(confusion.trace()) / clips, int(near) / clips, float(loss) / clips, clips)


def class_accuracies(confusion: Tensor) -> list[dict[str, Any]]:
    """For each class of a confusion matrix its clips and which part of them was right, None where there is no clip."""
    pairs = zip(confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
    return [{"clips": clips, "accuracy": right / clips if clips else None} for right, clips in pairs]


def average_precisions(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """For each class the area under precision over recall: sum of (R_i - R_i-1) P_i over distinct scores, descending.

    scores: float [n, C]; truth: bool [n, C]. float64 [C], nan for a class without a clip. Clips of the same score come
    in together, so that their order does not matter.
    """
    found = np.full(scores.shape[1], np.nan)
    for at in np.flatnonzero(truth.any(0)):
        order = np.argsort(-scores[:, at], kind="stable")
        ranked, right = scores[order, at], np.cumsum(truth[order, at])
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last clip of each distinct score
        precision, recall = right[ends] / (ends + 1), right[ends] / right[-1]
        found[at] = np.sum(np.diff(recall, prepend=0) * precision)
    return found
