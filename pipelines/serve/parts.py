"""What a service is put together of: who does its tasks, and who embeds its clips.

`local_parts` has them on this machine, `ray_parts` in a cluster of Ray; whoever uses them does not know which.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from codecsieve.pipelines.engines.base import Lost

from .limits import Limits
from .measures import Measures
from .tasks import Done, Refused, Task


class FullError(Exception):
    """A task was not taken, because as many wait as may."""


@dataclass(frozen=True)
class Embedded:
    """embedding: float32 [C]; tokens: float32 [K, C], the last hidden states."""

    embedding: np.ndarray
    tokens: np.ndarray


class Crew(Protocol):
    """Who does tasks. workers: how many at a time."""

    workers: int

    @property
    def ready(self) -> bool:
        """Whether a worker has started."""

    async def start(self) -> None:
        """Begin, in this event loop."""

    async def do(self, task: Task) -> Done | Refused | Lost:
        """The answer to a task. Raises FullError, WorkerError. Cancelled, it is not begun, or its answer is dropped."""

    async def close(self) -> None:
        """Let the workers go, whatever they are at."""


class ClipEmbedder(Protocol):
    """A model, wherever it is. name: as users know it."""

    name: str

    async def start(self) -> None:
        """Begin to take clips, in this event loop."""

    async def stop(self) -> None:
        """Take none any more."""

    async def embed(self, patches: np.ndarray, positions: np.ndarray) -> Embedded:
        """patches: uint8 [K, 3, P, P]; positions: [K, 3]. Raises RefusedError where the model cannot take them."""

    def gpus(self) -> list[dict[str, Any]]:
        """The GPUs that it sees: name, memory, free."""


Parts = Callable[[Limits, str | None, Measures], tuple[Crew, ClipEmbedder | None]]
"""Makes both, of limits and a model's folder or hub id; without a model there is nobody who embeds."""


def known_as(model: str) -> str:
    """What users know a model as: a hub id, or the name of its folder, without where that is."""
    return os.path.basename(os.path.abspath(model)) if os.path.isdir(model) else model


def observe_batch(measures: Measures, clips: int, seconds: float) -> None:
    """Count clips that went through a model at once."""
    measures.batch.observe(clips)
    measures.seconds.labels("embed").observe(seconds)
