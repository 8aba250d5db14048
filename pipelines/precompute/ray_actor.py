"""One of Ray's actors in a run: it makes shards, with worker processes of its own, and writes their files.

Its workers are those of a run on one machine, so a clip that crashes or hangs costs itself alone; what is lost with an
actor are the shards that it had not ended. What is given to whom is left to `ray_engine`.
"""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from importlib.metadata import version

from codecsieve.cache import ClipArrays, IndexRecord, Layout, Location, MadeShard, ShardTask, can_see, make_shard
from codecsieve.errors import CacheError
from codecsieve.pipelines.config import METHOD, SieveConfig
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.standing import StandingCrew
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.crew import gather_crew, lost_clip
from codecsieve.pipelines.precompute.device import choose_device
from codecsieve.pipelines.precompute.engine import for_cache
from codecsieve.pipelines.precompute.outcome import ClipOutcome

_LOOK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class ActorFacts:
    """What an actor found where it is; all of a run's must agree, but for how many clips they make at a time.

    version, method: of codecsieve; signals, reader: as of `Device.resolve`; at_once: clips that it makes at a time.
    """

    version: str
    method: int
    signals: str
    reader: str | None
    at_once: int


@dataclasses.dataclass(frozen=True)
class ActorTerms:
    """What an actor is hired for; see `run.precompute`. draft: names its files until they are adopted."""

    location: Location
    layout: Layout
    config: SieveConfig
    device: str
    workers: int
    gpu_share: float
    max_memory: int
    clip_timeout: float
    draft: str


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """A shard for an actor. requests: the clips to be made, in row order; failed: records of clips that are not to be
    tried any more; one_at_a_time: a clip is begun only when the one before is done.
    """

    task: ShardTask
    requests: tuple[ClipRequest, ...]
    failed: tuple[IndexRecord, ...] = ()
    one_at_a_time: bool = False


class ShardActor:
    """Makes shards; see `engines.ray_pool.RayPool` for the methods."""

    def __init__(self, terms: ActorTerms) -> None:
        self._terms = terms
        self._stopped = threading.Event()
        self._crew: StandingCrew[ClipRequest, ClipOutcome]

    def start(self) -> ActorFacts:
        """Start workers. Raises ConfigError where the device cannot be used, or not with these options."""
        terms = self._terms
        device = choose_device(terms.device)
        signals, reader = device.resolve(terms.config)
        used = dataclasses.replace(terms.config, signals=signals)
        workers = terms.workers
        if device.gpus:
            workers = max(1, int(device.gpus[0].sessions * terms.gpu_share))
        pixels = terms.layout.store == "patches"
        crew = gather_crew(device, used, pixels, workers, terms.max_memory, max(workers, 1))
        self._crew = StandingCrew(crew.functions, terms.clip_timeout, depth=crew.depth)
        return ActorFacts(version("codecsieve"), METHOD, signals, reader, len(crew.functions) * crew.depth)

    def make(self, job: ShardJob) -> Iterator[IndexRecord | MadeShard]:
        """Records of clips as they are done, and the shard when it is written.

        Raises CacheError where the cache cannot be seen from here, or the disk fails.
        """
        terms = self._terms
        if not can_see(terms.location):
            raise CacheError(
                f"cache {terms.location} cannot be seen from {socket.gethostname()}, a node of the cluster; use an "
                "--out that all nodes share, or the URL of an object store"
            )
        records, clips = list(job.failed), dict[str, ClipArrays]()
        for outcome in self._outcomes(job):
            record, arrays = for_cache(outcome, terms.layout)
            records.append(record)
            if arrays is not None:
                clips[record.id] = arrays
            yield record
        if records:
            yield make_shard(terms.location, terms.layout, job.task, clips, records, terms.draft)

    def stop(self) -> None:
        """Begin no more clips."""
        self._stopped.set()

    def _outcomes(self, job: ShardJob) -> Generator[ClipOutcome]:
        groups = [[request] for request in job.requests] if job.one_at_a_time else [list(job.requests)]
        for group in groups:
            pending: dict[Future[ClipOutcome | Lost], ClipRequest] = {
                self._crew.submit(request): request for request in group if not self._stopped.is_set()
            }
            while pending:
                done, _ = wait(pending, _LOOK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    request = pending.pop(future)
                    answer = future.result()
                    yield lost_clip(request, answer) if isinstance(answer, Lost) else answer
                if self._stopped.is_set():
                    for future in [future for future in pending if future.cancel()]:
                        del pending[future]
