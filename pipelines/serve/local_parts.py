"""The parts of a service that runs on one machine: worker processes, and a model in this process.

Workers are the processes that a run of precompute has: a file that crashes one, or takes too long, costs its own
request and nothing else.
"""

from __future__ import annotations

import asyncio
import functools

from codecsieve.machine import available_cores
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.standing import StandingCrew
from codecsieve.pipelines.sieve.warm import warm_up

from .limits import Limits
from .measures import Measures
from .parts import ClipEmbedder, Crew, FullError, observe_batch
from .tasks import Done, Refused, ServeWorker, Task


def local_parts(limits: Limits, model: str | None, measures: Measures) -> tuple[Crew, ClipEmbedder | None]:
    """Workers, and the model loaded. Raises EncoderError."""
    embedder = None
    if model is not None:
        from .embedder import Embedder  # torch: only where there is a model

        embedder = Embedder(model, functools.partial(observe_batch, measures))
    return LocalCrew(limits), embedder


class LocalCrew:
    """Worker processes of this machine, and a queue that holds so many and no more."""

    def __init__(self, limits: Limits) -> None:
        """Start the workers; the kernels are compiled first, once for all of them."""
        warm_up()
        self.workers = limits.decodes or available_cores()
        self._queue = limits.queue
        functions = [ServeWorker(limits) for _ in range(self.workers)]
        self._crew: StandingCrew[Task, Done | Refused] = StandingCrew(functions, limits.request_seconds)

    @property
    def ready(self) -> bool:
        """Whether a worker has started."""
        return self._crew.ready

    async def start(self) -> None:
        """They have been started."""

    async def do(self, task: Task) -> Done | Refused | Lost:
        """As of `Crew`."""
        if self._crew.waiting >= self.workers + self._queue:
            raise FullError
        return await asyncio.wrap_future(self._crew.submit(task))

    async def close(self) -> None:
        """Kill the workers."""
        await asyncio.to_thread(self._crew.close)
