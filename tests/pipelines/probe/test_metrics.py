"""What a probe got right, counted and drawn."""

from __future__ import annotations

import pytest
import torch

from codecsieve.pipelines.probe.metrics import Tally, class_accuracies
from codecsieve.pipelines.probe.report import draw_confusion


def test_counts_are_those_of_the_logits() -> None:
    logits = torch.randn(2, 50, 7)
    labels = torch.randint(0, 7, (50,))
    tally = Tally.empty(2, 7)
    for at in range(0, 50, 16):
        tally.add(logits[:, at : at + 16], labels[at : at + 16])
    tally.add(logits[:, :0], labels[:0])
    for probe, scores in zip(logits, tally.scores(), strict=True):
        ranks = (probe > probe.gather(1, labels[:, None])).sum(1)
        assert scores.top1 == pytest.approx((ranks == 0).float().mean())
        assert scores.top5 == pytest.approx((ranks < 5).float().mean())
        assert scores.loss == pytest.approx(torch.nn.functional.cross_entropy(probe, labels))
    confusion = torch.zeros(7, 7, dtype=torch.int64)
    for label, guess in zip(labels, logits[0].argmax(1), strict=True):
        confusion[label, guess] += 1
    assert torch.equal(tally.confusion[0], confusion)


def test_a_class_without_clips_has_no_accuracy() -> None:
    confusion = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 0, 5]])
    assert class_accuracies(confusion) == [
        {"clips": 4, "accuracy": 0.75},
        {"clips": 0, "accuracy": None},
        {"clips": 5, "accuracy": 1.0},
    ]
    assert draw_confusion(confusion, ["a", "b", "c"], "three").startswith(b"\x89PNG")
