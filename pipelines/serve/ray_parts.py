"""The parts of a service under Ray, as the service has them: it asks replicas, and Ray says which.

How many requests wait is Ray's to count (`max_queued_requests`); that it takes no more becomes what it is here. What
the replicas do is left to `ray_replicas`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.ray_cluster import import_serve

from .limits import Limits
from .measures import Measures
from .parts import ClipEmbedder, Crew, Embedded, FullError, known_as, observe_batch
from .refusal import RefusedError
from .tasks import Done, Refused, Task

APPLICATION, SIEVE, EMBED, INGRESS = "codecsieve", "sieve", "embed", "ingress"
_LOOK_SECONDS = 2.0
_GONE = "the process that was at this request has gone; send it again"


@dataclass(frozen=True)
class Answered:
    """answer: to one clip; batches: clips and seconds of those that the replica has done since it last told."""

    answer: Embedded | Refused
    batches: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Model:
    """error: why it could not be loaded, or ""; gpus: that a replica sees."""

    error: str
    gpus: list[dict[str, Any]]


def ray_parts(
    workers: int, sieve: Any, embed: Any | None, limits: Limits, model: str | None, measures: Measures
) -> tuple[Crew, ClipEmbedder | None]:
    """workers: of all replicas together; sieve, embed: handles of Ray's."""
    embedder = None if model is None or embed is None else RayEmbedder(embed, known_as(model), measures)
    return RayCrew(sieve, workers), embedder


class RayCrew:
    """Replicas, each with workers of its own."""

    def __init__(self, handle: Any, workers: int) -> None:
        self._handle = handle
        self.workers = workers
        self.ready = False
        self._look: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look from now on whether there are replicas."""
        self._look = asyncio.create_task(self._watch())

    async def do(self, task: Task) -> Done | Refused | Lost:
        """As of `Crew`."""
        answer: Done | Refused | Lost = await asked(self._handle.do, task)
        return answer

    async def close(self) -> None:
        """Look no more; the replicas are Ray's to end."""
        if self._look is not None:
            self._look.cancel()

    async def _watch(self) -> None:
        serve = import_serve().serve
        while True:
            with contextlib.suppress(Exception):  # Ray's controller is restarted where it dies; till then, as before
                status = await asyncio.to_thread(serve.status)
                replicas = status.applications[APPLICATION].deployments[SIEVE].replica_states
                self.ready = any(count for state, count in replicas.items() if str(state).endswith("RUNNING"))
            await asyncio.sleep(_LOOK_SECONDS)


class RayEmbedder:
    """Replicas of a model, each with batches of its own."""

    def __init__(self, handle: Any, name: str, measures: Measures) -> None:
        self._handle, self._measures = handle, measures
        self.name = name
        self._gpus: list[dict[str, Any]] = []
        self._look: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look from now on how full GPUs are."""
        self._look = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Look no more; the replicas are Ray's to end."""
        if self._look is not None:
            self._look.cancel()

    async def embed(self, patches: np.ndarray, positions: np.ndarray) -> Embedded:
        """As of `ClipEmbedder`. Raises RefusedError, also 429 where too many wait."""
        try:
            answered: Answered = await asked(self._handle.embed, patches, positions)
        except FullError:
            raise RefusedError(
                429, "too many clips wait for the model; come again in 1 s", {"Retry-After": "1"}
            ) from None
        except WorkerError as error:
            raise RefusedError(503, str(error)) from None
        for clips, seconds in answered.batches:
            observe_batch(self._measures, clips, seconds)
        if isinstance(answered.answer, Refused):
            raise RefusedError(answered.answer.status, answered.answer.error)
        return answered.answer

    def gpus(self) -> list[dict[str, Any]]:
        """Those of one replica, as they were a moment ago."""
        return self._gpus

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(FullError, WorkerError):
                about: Model = await asked(self._handle.about)
                self._gpus = about.gpus
            await asyncio.sleep(5 * _LOOK_SECONDS)


async def asked(method: Any, *arguments: Any) -> Any:
    """What a replica answers. Raises FullError where Ray takes no more, WorkerError where the replica has gone."""
    ray = import_serve()
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

    try:
        return await method.remote(*arguments)
    except BackPressureError:
        raise FullError from None
    except ray.exceptions.RayTaskError:  # raised by our own code
        raise
    except (ray.exceptions.RayError, DeploymentUnavailableError):
        raise WorkerError(_GONE) from None
