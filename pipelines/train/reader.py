"""Steps of a training, read one ahead: of each data set this process's part, in an order of its own.

What a process reads of a step is a function of the step's number, so that it can be read before it is needed, and again
after a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from codecsieve.errors import ConfigError
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.loading.order import PADDING, ClipOrder

from .inputs import Group
from .trainer import Part


class Source(Protocol):
    """What can be trained on. ids: of N clips or pictures; concepts: int64 [N, L]."""

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def concepts(self) -> Tensor: ...

    def groups(self, numbers: Sequence[int], rows: Sequence[int], step: int) -> list[Group]:
        """Some of them, by number, in these rows of a step."""
        ...


@dataclass(frozen=True)
class DataSet:
    """What a head is trained on. batch_size: of a step, over all processes; seed: of its order."""

    head: str
    source: Source
    batch_size: int
    seed: int


class StepReader:
    """Reads this process's parts of steps, each while the one before is taken."""

    def __init__(self, data: Sequence[DataSet], steps: int, accumulation: int, ranks: Ranks) -> None:
        """steps: of the whole training. Raises ConfigError where a step cannot be shared out evenly."""
        self.data, self.steps, self.accumulation, self.ranks = data, steps, accumulation, ranks
        self._orders = [self._order(one) for one in data]

    def read_from(self, step: int) -> Iterator[tuple[int, list[Part]]]:
        """Steps and their parts, from one on to the last of the training."""
        with ThreadPoolExecutor(1, "reader") as reader:
            ahead: Future[list[Part]] | None = None
            for number in range(step, self.steps):
                current = ahead or reader.submit(self.read, number)
                ahead = reader.submit(self.read, number + 1) if number + 1 < self.steps else None
                yield number, current.result()

    def read(self, step: int) -> list[Part]:
        """A step's parts: of each data set as many as it is accumulated of."""
        return [
            self._part(data, order, step, turn)
            for data, order in zip(self.data, self._orders, strict=True)
            for turn in range(self.accumulation)
        ]

    def _part(self, data: DataSet, order: ClipOrder, step: int, turn: int) -> Part:
        epoch, at = divmod(step * self.accumulation + turn, len(order))
        step_clips = order.batch_size * self.ranks.size
        numbers = [number for number in order.batch(epoch, at * step_clips) if number != PADDING]
        rows = [turn * step_clips + self.ranks.rank + place * self.ranks.size for place in range(len(numbers))]
        return Part(
            head=data.head,
            groups=data.source.groups(numbers, rows, step) if numbers else [],
            labels=data.source.concepts[numbers],
            rows=torch.tensor(rows, dtype=torch.int64),
            ids=[data.source.ids[number] for number in numbers],
        )

    def _order(self, data: DataSet) -> ClipOrder:
        share, left = divmod(data.batch_size, self.accumulation * self.ranks.size)
        if left or not share:
            raise ConfigError(
                f"batch_size ({data.batch_size}) of {data.head} must be a multiple of accumulation "
                f"({self.accumulation}) x processes ({self.ranks.size})"
            )
        return ClipOrder(len(data.source.ids), share, data.seed, rank=self.ranks.rank, world_size=self.ranks.size)
