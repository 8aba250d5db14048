"""The workers there are, the jobs that none of them has, and what is done when one dies or has had its time.

Which jobs come, and where answers go, is left to `local`, for a run, and to `standing`, for as long as a service lives.
What comes through a worker's pipe is left to `worker`.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Answer, Job, Lost
from codecsieve.pipelines.engines.clock import AwakeClock
from codecsieve.pipelines.engines.worker import Answered, Ended, Message, Ready, Worker

START_SECONDS = 120.0
_FALSE_STARTS = 3
_DEATHS = 3
_BURIAL_SECONDS = 10.0
_LONGEST_TICK = 1.0

_log = logging.getLogger(__name__)


class Workforce(Generic[Job, Answer]):
    """The workers there are, and what is done when one dies or has had its time."""

    def __init__(self, depth: int, timeout: float, start_timeout: float) -> None:
        self.clock = AwakeClock(min(_LONGEST_TICK, timeout / 8, start_timeout / 8))
        self.workers: list[Worker[Job, Answer]] = []
        self._gone: list[Worker[Job, Answer]] = []
        self._inbox: SimpleQueue[tuple[Worker[Job, Answer] | None, Message]] = SimpleQueue()
        self._depth = depth
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._false_starts = 0
        self._one_started = False

    @property
    def busy(self) -> bool:
        """Whether any has a job."""
        return any(worker.jobs for worker in self.workers)

    def hire(self, function: Callable[[Job], Answer], false_starts: int = 0, deaths: int = 0) -> None:
        """Start a worker; false_starts, deaths: of those it comes after, see `Worker`."""
        self.workers.append(Worker(function, self._depth, self._inbox, self.clock.now, false_starts, deaths))

    def listen(self, pending: Pending[Job]) -> Sequence[tuple[Job, Answer | Lost]]:
        """Wait for news, but only so long, and do what follows from it; the jobs that are done with.

        Raises WorkerError where no worker gets as far as its first job.
        """
        try:
            worker, message = self._inbox.get(timeout=self.clock.tick)
        except Empty:
            return ()
        if worker not in self.workers or worker is None:  # it has been replaced, or this only wakes
            return ()
        match message:
            case Ready():
                worker.started = self._one_started = True
                worker.false_starts = self._false_starts = 0
                return ()
            case Answered(number, answer):
                worker.deaths = 0
                return [(worker.jobs.pop(number).job, answer)]
        self.workers.remove(worker)
        self._gone.append(worker)
        worker.kill()
        return self._replace(worker, message, pending) if worker.started else self._restart(worker, message, pending)

    def wake(self) -> None:
        """Have `listen` come back at once. From any thread."""
        self._inbox.put((None, Ready()))

    def dismiss_late(self) -> None:
        """Kill who has had its time. A little more is given, in which this process hears what has been said before."""
        before = self.clock.now - self.clock.blink
        for worker in self.workers:
            if worker.dismissed:
                continue
            given = [job.since for number, job in list(worker.jobs.items()) if number not in worker.arrived]
            if given and min(given) + self._timeout < before:
                worker.dismiss(Ended(f"took longer than {self._timeout:g} s", late=True))
            elif not worker.started and worker.since + self._start_timeout < before:
                worker.dismiss(Ended(f"not ready after {self._start_timeout:g} s", late=True))

    def disband(self) -> None:
        """Kill everybody at once, and see them buried."""
        self.clock.stop()
        for worker in self.workers:
            worker.kill()
        deadline = time.monotonic() + _BURIAL_SECONDS
        for worker in self._gone + self.workers:
            worker.bury(max(0.0, deadline - time.monotonic()))

    def _restart(self, worker: Worker[Job, Answer], end: Ended, pending: Pending[Job]) -> Sequence[tuple[Job, Lost]]:
        """Try again what has not started, unless that has been tried often enough."""
        if end.error is not None and not isinstance(end.error, OSError):
            raise end.error
        self._false_starts += 1
        reason = (
            f"worker processes do not start ({end.cause}); a script that needs them must do its work under "
            '`if __name__ == "__main__":`'
        )
        if end.late:
            reason = f"worker processes do not start ({end.cause}); is what they import on a disk that hangs?"
        if end.error is not None:
            reason = f"cannot start a worker process ({end.error.strerror or end.error}); use fewer workers"
        tries = worker.false_starts + 1
        all_in_vain = not self._one_started and self._false_starts >= _FALSE_STARTS
        if end.error is None and tries < _FALSE_STARTS and not all_in_vain:
            if pending:
                self.hire(worker.function, tries, worker.deaths)
        elif self.workers:
            _log.warning("going on with %d worker processes: %s", len(self.workers), reason)
        elif pending:
            raise WorkerError(reason)
        return ()

    def _replace(self, worker: Worker[Job, Answer], end: Ended, pending: Pending[Job]) -> Sequence[tuple[Job, Lost]]:
        """Replace a dead worker where there is work for another, and put jobs back that are not laid to it.

        Returns the jobs that are.
        """
        held = list(worker.jobs.values())
        lost: list[tuple[Job, Lost]] = []
        if len(held) == 1 and (worker.has_begun(*worker.jobs) or worker.deaths + 1 >= _DEATHS):
            # Of several any may have held up the others; one that was not begun is to blame if that goes on and on.
            reason = end.cause if end.late else f"its worker process died ({end.cause})"
            lost = [(job, Lost(reason, self.clock.now - since)) for job, since in held]
        retired = self._depth > 1 and worker.deaths + 1 >= _DEATHS and bool(self.workers)
        doubtful = self._depth > 1 and 0 < worker.deaths < _DEATHS - 1 and not end.late
        if retired or doubtful:
            # It may not be the job: what this worker works with may be no good, a GPU say.
            lost = []
        if not lost:
            pending.suspects.extend(job for job, _ in held)
        if pending and not retired:
            self.hire(worker.function, deaths=worker.deaths + 1)
        return lost


class Pending(Generic[Job]):
    """Jobs that no worker has: those not yet begun, and the suspects, which are to be done alone."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = iter(jobs)
        self._next = deque(itertools.islice(self._jobs, 1))
        self.suspects: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._next or self.suspects)

    def add(self, job: Job) -> None:
        """One more job, behind those there are. From any thread."""
        self._next.append(job)

    def withdraw(self, job: Job) -> bool:
        """Take a job back that was added; False where a worker has it, or has had it. From any thread."""
        try:
            self._next.remove(job)
        except ValueError:
            return False
        return True

    def fill(self, worker: Worker[Job, Any], depth: int, now: float) -> None:
        """Give a worker what it may have now. One that is to do a suspect first finishes what it has."""
        if not worker.started or worker.dismissed or (worker.jobs and (worker.alone or self.suspects)):
            return
        worker.alone = bool(self.suspects)
        if self.suspects:
            worker.give(self.suspects.popleft(), now)
            return
        while len(worker.jobs) < depth:
            try:
                job = self._next.popleft()
            except IndexError:
                return
            worker.give(job, now)
            if not self._next:
                self._next.extend(itertools.islice(self._jobs, 1))
