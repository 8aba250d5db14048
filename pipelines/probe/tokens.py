"""What probes are trained and judged on: tokens of a split's clips, in one sampling or several, and their labels.

Where tokens come from is the caller's, which clips make a batch that of `loading.order`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codecsieve.pipelines.loading.order import PADDING

Read = Callable[[Sequence[int]], np.ndarray]
"""Clip numbers 0..n-1 to their tokens, float16 or float32 [B, N, D]."""


@dataclass(frozen=True, eq=False)
class LabelledTokens:
    """A split. read: its tokens; labels: int64 [n], or, where clips have several classes, bool [n, C]; others: tokens
    of the same clips, sampled otherwise.
    """

    read: Read
    labels: Tensor
    others: tuple[Read, ...] = ()

    @property
    def views(self) -> tuple[Read, ...]:
        """All samplings."""
        return (self.read, *self.others)

    def __len__(self) -> int:
        return len(self.labels)


def read_ahead(
    views: Sequence[Read], batches: Sequence[Sequence[int]], device: torch.device
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Numbers int64 [B] of each batch's clips, without padding, and their tokens in each view, on the device; the next
    batch is read meanwhile.
    """

    def read(batch: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        clips = [number for number in batch if number != PADDING]
        # A batch of padding alone has no clip, but still tokens of the right shape.
        tokens = [torch.from_numpy(view(clips or [0])[: len(clips)]).to(device) for view in views]
        return torch.tensor(clips, dtype=torch.int64), tokens

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, batches[0])
        for following in [*batches[1:], None]:
            current = ahead.result()
            if following is not None:
                ahead = reader.submit(read, following)
            yield current
