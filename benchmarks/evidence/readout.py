"""How well a frozen representation tells classes apart, on splits that never part a group.

Two readouts: logistic regression on one vector a clip, its C chosen within the training groups; and an attentive
probe on the tokens themselves. Both say which clips they got right when these were in no training set, so that two
representations can be compared clip by clip.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""C of the logistic regression, on standardised features."""
INNER = 3
"""Parts of the training groups, each held out once to choose C."""


@dataclass(frozen=True)
class Splits:
    """Grouped cross-validation, repeated. held: int [R, n], the fold that each clip is tested in."""

    labels: np.ndarray
    groups: np.ndarray
    held: np.ndarray
    folds: int

    @classmethod
    def make(cls, labels: np.ndarray, groups: np.ndarray, repeats: int, folds: int = 5) -> Splits:
        """The first repeat deals the groups out in turn, so that each fold has every fifth; the others draw them."""
        names, group = np.unique(groups, return_inverse=True)
        held = [np.arange(len(names)) % folds]
        held += [np.random.default_rng(seed).permutation(held[0]) for seed in range(1, repeats)]
        return cls(labels, groups, np.stack([fold[group] for fold in held]), folds)

    def repeated(self, seeds: int) -> Splits:
        """Every repeat `seeds` times."""
        return dataclasses.replace(self, held=self.held.repeat(seeds, axis=0))

    def accuracies(self, right: np.ndarray) -> np.ndarray:
        """Of every split: bool [R, n] -> [R * folds]."""
        return np.array([right[r][held == k].mean() for r, held in enumerate(self.held) for k in range(self.folds)])

    def by_group(self, right: np.ndarray) -> np.ndarray:
        """Mean over repeats and a group's clips: [R, n] -> [groups], ascending."""
        mean = right.mean(axis=0)
        return np.array([mean[self.groups == group].mean() for group in np.unique(self.groups)])


def paired(difference: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of differences by group, [groups]: groups are what is independent here."""
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def logistic_readout(features: np.ndarray, splits: Splits) -> np.ndarray:
    """Features [n, d] -> bool [R, n], which clips were right when tested."""
    right = np.zeros(splits.held.shape, bool)
    for (r, held), fold in product(enumerate(splits.held), range(splits.folds)):
        with threadpool_limits(1):
            test = held == fold
            train, rest = _on_training_span(features[~test], features[test])
            labels, groups = splits.labels[~test], splits.groups[~test]
            model = _fit(train, labels, _choose_strength(train, labels, groups))
            right[r, test] = model.predict(rest) == splits.labels[test]
    return right


def _on_training_span(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise by the training clips, and turn to the axes they span: the same regression, far fewer columns."""
    mean, std = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, test = (train - mean) / std, (test - mean) / std
    axes = np.linalg.svd(train, full_matrices=False)[2].T
    return train @ axes, test @ axes


def _choose_strength(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """The C of least log loss over INNER parts of the groups."""
    part = np.unique(groups, return_inverse=True)[1] % INNER
    losses = np.zeros(len(STRENGTHS))
    for i, strength in enumerate(STRENGTHS):
        for fold in range(INNER):
            out = part == fold
            model = _fit(features[~out], labels[~out], strength)
            chance = model.predict_proba(features[out])[np.arange(out.sum()), labels[out]]
            losses[i] -= np.log(chance + 1e-12).sum()
    return STRENGTHS[int(losses.argmin())]


def _fit(features: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(features, labels)


class AttentiveProbes(nn.Module):
    """Many probes at once, one a split and seed: a learned query over layer-normalised tokens, then a linear layer."""

    def __init__(self, probes: int, width: int, classes: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.query = nn.Parameter(torch.randn(probes, width) * 0.02)
        self.weight = nn.Parameter(torch.randn(probes, width, classes) * 1e-3)
        self.bias = nn.Parameter(torch.zeros(probes, 1, classes))

    def forward(self, tokens: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
        """Tokens [n, K, d] and which clips each probe trains on [R, n, 1] -> logits [R, n, classes]."""
        clips, count, width = tokens.shape
        attention = (self.query @ tokens.view(-1, width).T).view(-1, clips, count).softmax(dim=-1)
        pooled = torch.bmm(attention.transpose(0, 1), tokens).transpose(0, 1)
        total = train.sum(dim=1, keepdim=True)
        centred = pooled - (pooled * train).sum(dim=1, keepdim=True) / total
        scale = ((centred.square() * train).sum(dim=1, keepdim=True) / total + 1e-6).rsqrt()
        return centred * scale @ self.weight + self.bias


def attentive_readout(tokens: np.ndarray, splits: Splits, seeds: int, steps: int = 60) -> np.ndarray:
    """Tokens [n, K, d] -> float [R * seeds, n]: which clips were right when tested, each repeat `seeds` times."""
    x = nn.functional.layer_norm(torch.from_numpy(tokens).float(), tokens.shape[-1:])
    labels = torch.from_numpy(splits.labels)
    right = []
    for held in splits.held:
        test = torch.from_numpy(held) == torch.arange(splits.folds)[:, None]
        train = (~test).float().repeat(seeds, 1)[..., None]
        model = AttentiveProbes(len(train), x.shape[-1], int(labels.max()) + 1, seed=0)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.01, steps)
        for _ in range(steps):
            logits = model(x, train)
            targets = labels.expand(len(train), -1)
            loss = nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none", label_smoothing=0.1)
            optimiser.zero_grad()
            (loss * train[..., 0]).sum(dim=1).div(train[..., 0].sum(dim=1)).sum().backward()
            optimiser.step()
            schedule.step()
        with torch.inference_mode():
            hits = (model(x, train).argmax(dim=-1) == labels).view(seeds, splits.folds, -1)
        right.append((hits & test).any(dim=1).numpy())
    return np.concatenate(right)
