"""Clips seen in mirrors: eight of each to learn from, at the cost of drawing, encoding and sieving one.

A clip is turned by its patches: the pixels of each, where they are, and which way its things go. Nothing else that is
asked of it changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.language.crossings import WAYS
from codecsieve.pipelines.language.chat import Conversation
from codecsieve.pipelines.language.collate import Sample
from codecsieve.pipelines.learn.frozen import TokenEncoder

_NAMES = {step: way for way, step in WAYS.items()}


@dataclass(frozen=True)
class Mirror:
    """Columns, then rows, in reverse; then rows as columns. rows: patches on each side of the square."""

    columns: bool
    rows: bool
    diagonal: bool
    side: int

    def way(self, way: str) -> str:
        """Where that goes which went this way."""
        right, down = WAYS[way]
        right, down = -right if self.columns else right, -down if self.rows else down
        return _NAMES[(down, right) if self.diagonal else (right, down)]

    def places(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [..., K, 3] seen in it, by slot, row and column again, and the order [..., K] that does so."""
        slot, row, column = positions.unbind(-1)
        column = self.side - 1 - column if self.columns else column
        row = self.side - 1 - row if self.rows else row
        row, column = (column, row) if self.diagonal else (row, column)
        order = ((slot * self.side + row) * self.side + column).argsort(-1)
        return torch.stack([axis.gather(-1, order) for axis in (slot, row, column)], dim=-1), order

    def pixels(self, patches: Tensor) -> Tensor:
        """Patches [..., P, P] seen in it."""
        reverse = [axis for axis, reversed_ in ((-1, self.columns), (-2, self.rows)) if reversed_]
        patches = patches.flip(reverse)
        return patches.transpose(-1, -2) if self.diagonal else patches


def mirrors(side: int) -> list[Mirror]:
    """All eight, of which the first changes nothing."""
    return [Mirror(*flags, side) for flags in product((False, True), repeat=3)]


class MirroredTokens:
    """What a frozen encoder makes of clips seen in a mirror, as an encoder: see `TokenEncoder`."""

    def __init__(self, encoder: TokenEncoder, mirror: Mirror) -> None:
        """Take both."""
        self.encoder, self.mirror = encoder, mirror
        self.name, self.fingerprint = encoder.name, f"{encoder.fingerprint} {mirror}"

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Tokens of the patches by slot, row and column of the mirror's picture."""
        places, order = self.mirror.places(positions)
        rows = torch.arange(len(order))[:, None]
        return self.encoder(self.mirror.pixels(patches[rows, order]).contiguous(), places)


class MirroredSamples(Dataset[Sample]):
    """Samples of tokens that `MirroredTokens` made, with the places and the answers that belong to these."""

    def __init__(self, samples: Dataset[Sample], mirror: Mirror) -> None:
        """Take both; samples: with positions and answers of the clips as they were drawn."""
        self.samples, self.mirror = samples, mirror

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        """A conversation and its clips."""
        sample = self.samples[index]
        clips = tuple((tokens, self.mirror.places(positions)[0]) for tokens, positions in sample.clips)
        return Sample(self._said(sample.conversation), clips)

    def _said(self, conversation: Conversation) -> Conversation:
        turns = tuple(
            replace(turn, text=self.mirror.way(turn.text)) if turn.text in WAYS else turn for turn in conversation.turns
        )
        return replace(conversation, turns=turns)
