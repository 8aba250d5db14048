"""A run's clips, made by actors of a Ray cluster: a task is a shard, which its actor writes; the index is written here.

Only records of clips come back, never their bytes. Shards of an actor that is lost are given to others. Clips that an
actor was at when it was lost may be to blame: their shard is made again a clip at a time, and a clip at which three
actors were lost is not tried any more. What an actor does is left to `ray_actor`, their number to `engines.ray_pool`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from codecsieve.cache import CacheWriter, IndexRecord, Layout, Location, MadeShard, ShardWork
from codecsieve.errors import CacheError, ConfigError, WorkerError
from codecsieve.machine import available_cores
from codecsieve.pipelines.config import METHOD, RunOptions, SieveConfig
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.ray_cluster import cluster, import_ray, prepare
from codecsieve.pipelines.engines.ray_pool import Died, RayPool, Said, Started
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.crew import lost_clip
from codecsieve.pipelines.precompute.engine import for_cache
from codecsieve.pipelines.precompute.ray_actor import ActorFacts, ActorTerms, ShardActor, ShardJob
from codecsieve.pipelines.precompute.ray_options import RayOptions

_DEATHS = 3
_STORE = 10**8  # bytes that Ray keeps for results, in a cluster of our own: only records pass
_AT_ONCE = 4  # calls that an actor answers: two shards, `start`, `stop`
_STOP_SECONDS = 60.0  # in which actors write what is done of their shards


class RayEngine:
    """Actors of a Ray cluster; see `engine.Engine`. Use `ray_engine`."""

    def __init__(self, ray: Any, terms: ActorTerms, options: RayOptions, size: int) -> None:
        self._draft, self._layout = terms.draft, terms.layout
        resources = {"num_cpus": options.ray_cpus, "num_gpus": options.ray_gpus, "max_concurrency": _AT_ONCE}
        actor = ray.remote(**resources)(ShardActor)
        self._pool: RayPool[ShardJob] = RayPool(
            ray, lambda number: actor.remote(dataclasses.replace(terms, draft=f"{terms.draft}-{number}")), size
        )
        self._facts: ActorFacts | None = None

    def resolve(self, config: SieveConfig) -> tuple[str, str | None]:
        """What the first actor that starts says of its device; see `Engine`."""
        while self._facts is None:
            for said in self._pool.listen():
                self._check(said)
        return self._facts.signals, self._facts.reader

    def make(
        self, writer: CacheWriter, work: Sequence[ShardWork], wanted: Mapping[str, ClipRequest], config: SieveConfig
    ) -> Generator[IndexRecord]:
        """See `Engine`."""
        todo = deque(work)
        losses: Counter[str] = Counter()
        done: dict[int, set[str]] = {}  # clips of shards in work that were told of
        disk_failed = False
        try:
            while todo or self._pool.busy:
                while todo and self._pool.hungry:
                    shard = todo.popleft()
                    task, requests = writer.task(shard.shard, shard.ids), [wanted[clip_id] for clip_id in shard.ids]
                    done[shard.shard] = set()
                    self._pool.submit(ShardJob(task, tuple(requests)))
                yield from self._news(writer, done, losses)
        except CacheError:
            disk_failed = True
            raise
        finally:
            if (todo or self._pool.busy) and not disk_failed:
                self._end_early(writer)
            _remove_drafts(writer.location, self._layout, self._draft)

    def close(self) -> None:
        """Let all actors go."""
        self._pool.close()

    def _news(self, writer: CacheWriter, done: dict[int, set[str]], losses: Counter[str]) -> Iterator[IndexRecord]:
        for said in self._pool.listen():
            self._check(said)
            match said:
                case Said(job, MadeShard() as made):
                    writer.commit(made)
                    del done[job.task.shard]
                case Said(job, IndexRecord() as record):
                    if record.id not in done[job.task.shard]:  # else another actor had told of it, and was lost
                        done[job.task.shard].add(record.id)
                        yield record
                case Died(jobs):
                    yield from self._try_again(jobs, done, losses)

    def _try_again(
        self, jobs: Sequence[ShardJob], done: Mapping[int, set[str]], losses: Counter[str]
    ) -> Iterator[IndexRecord]:
        """Give a lost actor's shards to others, without clips at which too many were lost: these have failed."""
        jobs = [job for job in jobs if job.task.shard in done]  # of others the shard came before the actor was lost
        at_once = 1 if self._facts is None else self._facts.at_once
        begun = [(job, request) for job in jobs for request in job.requests if request.id not in done[job.task.shard]]
        at = {request.id for _, request in begun[: 1 if jobs and jobs[0].one_at_a_time else at_once]}
        losses.update(at)
        if jobs and not at:  # all was made, and lost when it was written
            shard = f"shard {jobs[0].task.shard}"
            losses[shard] += 1
            if losses[shard] >= _DEATHS:
                raise WorkerError(f"{_DEATHS} actors died while they wrote {shard}; have they memory for two shards?")
        for job in reversed(jobs):  # each goes before those that wait
            given_up = [request for request in job.requests if losses[request.id] >= _DEATHS]
            reason = f"{_DEATHS} actors died while they were at it"
            failed = [for_cache(lost_clip(request, Lost(reason, 0.0)), self._layout)[0] for request in given_up]
            for record in failed:
                done[job.task.shard].add(record.id)
                yield record
            careful = job.one_at_a_time or any(request.id in at for request in job.requests)
            left = tuple(request for request in job.requests if request not in given_up)
            self._pool.submit(ShardJob(job.task, left, (*job.failed, *failed), careful), alone=careful)

    def _check(self, said: Any) -> None:
        """Of an actor that has started: raise ConfigError where it would make other clips than others do."""
        if not isinstance(said, Started):
            return
        facts: ActorFacts = said.facts
        here = version("codecsieve")
        if (facts.version, facts.method) != (here, METHOD):
            raise ConfigError(
                f"codecsieve is {facts.version} (method {facts.method}) on a node of the cluster, and {here} (method "
                f"{METHOD}) here; install the same everywhere"
            )
        before, self._facts = self._facts, facts
        if before is not None and (facts.signals, facts.reader) != (before.signals, before.reader):
            raise ConfigError(
                f"the cluster's nodes find other signals ({facts.signals}, {before.signals}) for the same clips; use "
                "--signals search, or nodes that are alike"
            )

    def _end_early(self, writer: CacheWriter) -> None:
        """Have what is done of shards in work published, as far as that comes soon."""
        deadline = time.monotonic() + _STOP_SECONDS
        self._pool.stop()
        while self._pool.busy and time.monotonic() < deadline:
            for said in self._pool.listen():
                match said:
                    case Said(_, MadeShard() as made):
                        writer.commit(made)


@contextlib.contextmanager
def ray_engine(location: Location, layout: Layout, config: SieveConfig, run: RunOptions,
               options: RayOptions) -> Iterator[RayEngine]:  # fmt: skip
    """An engine for one run, its cluster connected as long as the block runs. Raises ConfigError, WorkerError."""
    if run.workers is not None:
        raise ConfigError(f"workers ({run.workers}) is for engine local; say ray_actors and ray_cpus on Ray")
    if options.ray_gpus == 0 and run.device.startswith("cuda"):
        raise ConfigError(f"device ({run.device}) on Ray must come with ray_gpus, what an actor takes of a GPU")
    ray = prepare(options.ray_address, import_ray)
    wanted_cpus = (options.ray_actors or 0) * options.ray_cpus
    with cluster(ray, options.ray_address, max(available_cores(), wanted_cpus), None, _STORE):
        terms = ActorTerms(
            location, layout, config, "cuda" if options.ray_gpus else "cpu", options.ray_cpus, options.ray_gpus,
            run.max_memory, run.clip_timeout, f"ray-{secrets.token_hex(4)}",
        )  # fmt: skip
        engine = RayEngine(ray, terms, options, options.ray_actors or _room(ray, options))
        try:
            yield engine
        finally:
            engine.close()


def _room(ray: Any, options: RayOptions) -> int:
    """Actors that the cluster has room for. Raises ConfigError where it has none."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 0) // options.ray_cpus)
    if options.ray_gpus:
        room = min(room, int(there.get("GPU", 0) / options.ray_gpus))
    if room < 1:
        raise ConfigError(
            f"the cluster has {there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs, too few for one actor of "
            f"{options.ray_cpus} cores and {options.ray_gpus:g} GPUs; ask for less"
        )
    return room


def _remove_drafts(location: Location, layout: Layout, draft: str) -> None:
    """Remove what actors that were lost have left."""
    if location.local:
        for array in layout.arrays():
            with contextlib.suppress(FileNotFoundError):
                names = location.names(array.name, f"*.{draft}-*")
                location.remove(f"{array.name}/{name}" for name in names)
