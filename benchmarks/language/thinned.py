"""Clips of which some tokens are left out, others each time: a model cannot learn a clip by heart by a few of them."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from codecsieve.encoder.tokens import Clip
from codecsieve.pipelines.language.collate import Sample


class ThinnedSamples(Dataset[Sample]):
    """Samples whose clips have lost a part of their tokens."""

    def __init__(self, samples: Dataset[Sample], part: float, seed: int) -> None:
        """Take samples; part: chance of a token to be left out, 0..1; seed: of which are."""
        self.samples, self.part = samples, part
        self.random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        """A conversation and what is left of its clips: at least the token that chance spared most."""
        sample = self.samples[index]
        return Sample(sample.conversation, tuple(map(self._thinned, sample.clips)))

    def _thinned(self, clip: Clip) -> Clip:
        tokens, positions = clip
        chances = torch.rand(len(tokens), generator=self.random)
        left = chances >= min(self.part, float(chances.max()))
        return tokens[left], positions[left]
