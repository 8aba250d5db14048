"""A fixed number of Ray's actors, each with a few tasks at a time, of which each says more than one thing.

An actor that is lost, with its node or alone, is replaced, and what it had comes back to whoever gave it, in the order
in which it was given: that something was said of a task does not mean that it was done. What a task is, and whom to
blame for a loss, is left to the caller, Ray's start to `ray_cluster`.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from codecsieve.errors import CodecsieveError, WorkerError
from codecsieve.pipelines.engines.base import Job
from codecsieve.text import one_line, shortened

_FALSE_STARTS = 3
_AHEAD = 2
"""Tasks that an actor has: while it ends one, its workers begin the next."""
_LOOK_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """An actor is ready. facts: what its `start` returned."""

    facts: Any


@dataclass(frozen=True)
class Said(Generic[Job]):
    """A task's actor said something of it."""

    job: Job
    what: Any


@dataclass(frozen=True)
class Died(Generic[Job]):
    """An actor is lost, and has left these tasks, the first of which it was at; nobody has them now."""

    jobs: Sequence[Job]


@dataclass
class _Actor(Generic[Job]):
    """handle: Ray's; starting: the answer of `start`, None once it is there; streams: tasks by what is said of them."""

    handle: Any
    starting: Any
    streams: dict[Any, Job] = field(default_factory=dict)
    alone: bool = False


class RayPool(Generic[Job]):
    """Actors with two methods: `start()`, asked once, and `make(job)`, a generator, of which two may run at a time.

    A third, `stop()`, has what is made at that moment end early.
    """

    def __init__(self, ray: Any, hire: Callable[[int], Any], size: int) -> None:
        """hire: a new actor's handle, of the how-many-eth; size: how many there are to be."""
        self._ray, self._hire = ray, hire
        self._hired = 0
        self._false_starts = 0
        self._waiting: deque[tuple[Job, bool]] = deque()
        self._actors: list[_Actor[Job]] = []
        for _ in range(size):
            self._add()

    @property
    def busy(self) -> bool:
        """Whether there are tasks that are not finished."""
        return bool(self._waiting) or any(actor.streams for actor in self._actors)

    @property
    def hungry(self) -> bool:
        """Whether an actor would take a task if there were more."""
        room = sum(_AHEAD - len(actor.streams) for actor in self._actors if not actor.alone)
        return room > len(self._waiting)

    def submit(self, job: Job, alone: bool = False) -> None:
        """One more task, behind those there are; alone: before them, and its actor is to have no other."""
        if alone:
            self._waiting.appendleft((job, True))
        else:
            self._waiting.append((job, False))

    def listen(self) -> Sequence[Started | Said[Job] | Died[Job]]:
        """Wait for news, but only so long.

        Raises WorkerError where no actor starts, or what an actor raised where that is one of our errors.
        """
        for actor in self._actors:
            self._feed(actor)
        asked = {actor.starting: actor for actor in self._actors if actor.starting is not None}
        asked |= {stream: actor for actor in self._actors for stream in actor.streams}
        ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=_LOOK_SECONDS)
        news: list[Started | Said[Job] | Died[Job]] = []
        for told in ready:
            actor = asked[told]
            if actor in self._actors:  # else it was lost a moment ago
                news.extend(self._hear(actor, told))
        return news

    def stop(self) -> None:
        """Have actors end early what they are at, and forget what none has begun."""
        self._waiting.clear()
        for actor in self._actors:
            actor.handle.stop.remote()

    def close(self) -> None:
        """Let all actors go, whatever they are at."""
        for actor in self._actors:
            self._kill(actor)
        self._actors.clear()

    def _add(self) -> None:
        handle = self._hire(self._hired)
        self._hired += 1
        self._actors.append(_Actor(handle, handle.start.remote()))

    def _kill(self, actor: _Actor[Job]) -> None:
        with contextlib.suppress(Exception):  # it may be gone, and so may Ray
            self._ray.kill(actor.handle)

    def _feed(self, actor: _Actor[Job]) -> None:
        while self._waiting and actor.starting is None and len(actor.streams) < _AHEAD and not actor.alone:
            alone = self._waiting[0][1]
            if alone and actor.streams:
                return
            job, actor.alone = self._waiting.popleft()
            stream = actor.handle.make.options(num_returns="streaming").remote(job)
            actor.streams[stream] = job

    def _hear(self, actor: _Actor[Job], told: Any) -> Sequence[Started | Said[Job] | Died[Job]]:
        errors = self._ray.exceptions
        try:
            if told is actor.starting:
                facts = self._ray.get(told)
                actor.starting, self._false_starts = None, 0
                return [Started(facts)]
            return [Said(actor.streams[told], self._ray.get(next(told)))]
        except StopIteration:
            actor.alone = False
            del actor.streams[told]
            return []
        except errors.RayTaskError as error:
            raise _ours(error) from None
        except errors.RayError as error:  # of many kinds, for actors, nodes and what they said that is lost
            return self._replace(actor, error)

    def _replace(self, actor: _Actor[Job], error: Exception) -> Sequence[Died[Job]]:
        self._kill(actor)
        self._actors.remove(actor)
        reason = shortened(one_line(str(error)))
        if actor.starting is not None:
            self._false_starts += 1
            if self._false_starts >= _FALSE_STARTS:
                raise WorkerError(f"Ray's actors do not start ({reason})")
        _log.warning("an actor was lost, and is replaced: %s", reason)
        self._add()
        return [Died(list(actor.streams.values()))]


def _ours(error: Any) -> Exception:
    """What an actor raised, as it was where it is one of our errors."""
    if isinstance(error.cause, CodecsieveError):
        return error.cause
    return WorkerError(f"an actor of Ray's failed: {shortened(one_line(repr(error.cause)))}")
