"""What a probe got right, counted and drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codecsieve.pipelines.probe.metrics import Ranking, Tally, average_precisions, class_accuracies
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


def test_average_precision_is_that_of_a_case_worked_out_by_hand() -> None:
    scores = np.array([[0.9, 1.0, 3.0], [0.8, 1.0, 2.0], [0.7, 0.0, 1.0], [0.1, 0.0, 0.0]])
    truth = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]], bool)
    first = 1 / 3 * (1 / 1) + 1 / 3 * (2 / 3) + 1 / 3 * (3 / 4)
    ties = 1 / 2 * (1 / 2) + 1 / 2 * (2 / 4)  # two clips come in together, then the other two
    np.testing.assert_allclose(average_precisions(scores, truth), [first, ties, np.nan])
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(average_precisions(scores[order], truth[order]), [first, ties, np.nan])


def test_a_ranking_is_that_of_all_clips_in_whatever_batches_they_came() -> None:
    logits = torch.randn(2, 50, 7)
    truth = torch.rand(50, 7) < 0.3
    truth[:, 4] = False
    ranking = Ranking.empty(2, truth)
    for clips in torch.randperm(50).split(16):
        ranking.add(logits[:, clips], clips)
    for probe, scores in zip(logits, ranking.scores(), strict=True):
        order = probe.argsort(1, descending=True)
        assert scores.top1 == pytest.approx(float(truth.gather(1, order[:, :1]).float().mean()))
        assert scores.top5 == pytest.approx(float(truth.gather(1, order[:, :5]).any(1).float().mean()))
        expected = average_precisions(probe.numpy(), truth.numpy())
        assert scores.mean_ap == pytest.approx(np.nanmean(expected))
        assert scores.clips == 50
    assert ranking.per_class()[4] == {"clips": 0, "average_precision": None}
