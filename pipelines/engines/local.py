"""Jobs over worker processes: a worker that crashes, is killed or hangs costs its own job and nothing else.

Every worker has a pipe to itself, so that one which dies half-way through an answer cannot garble or block
those of others. What a job is, is left to the caller: a function and its argument, which can be pickled.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, cast

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Answer, Job, Lost

_FALSE_STARTS = 3
_DEATHS = 3
_BURIAL_SECONDS = 10.0
# Forking a process that has threads (those of Arrow, numba, zarr) may deadlock the child.
_processes = multiprocessing.get_context("spawn")


def run_jobs(
    functions: Sequence[Callable[[Job], Answer]], jobs: Iterable[Job], timeout: float, depth: int = 1
) -> Generator[tuple[Job, Answer | Lost]]:
    """Do every job in one of the workers, one worker process a function; yield job and answer as each is done.

    A worker that has a job for longer than `timeout` seconds is killed. Jobs are taken from their iterable as
    workers become free. Closing the generator kills what still runs. Workers ignore an interrupt from the
    terminal: it is this process's to deal with.

    Args:
        functions: what each worker does with a job, to be pickled.
        jobs: to be pickled, too.
        timeout: seconds.
        depth: jobs that a worker does at once, each in a thread. Jobs that were with another in a worker that
            died, or that was killed, are tried again, each alone, so that only the one to blame is lost. A worker
            that dies three times in a row is not replaced if there are others, which take over its jobs.

    Raises WorkerError where no worker gets as far as its first job.
    """
    pending = _Pending(jobs)
    crew: _Crew[Job, Answer] = _Crew(depth)
    try:
        for function in functions:
            crew.hire(function)
        while pending or crew.busy:
            for worker in _ready(crew.workers, timeout):
                done: Sequence[tuple[Job, Answer | Lost]]
                try:
                    done = worker.receive(timeout)
                except _WorkerDiedError as death:
                    done = crew.bury(worker, death, pending)
                for able in crew.workers.values():  # one may be idle for want of a job that another has just lost
                    pending.fill(able, depth)
                yield from done
    finally:
        for worker in crew.workers.values():
            worker.kill()


class _Crew(Generic[Job, Answer]):
    """The workers there are, by their pipes, and what is done when one dies."""

    def __init__(self, depth: int) -> None:
        self.workers: dict[Connection, _Worker[Job, Answer]] = {}
        self._depth = depth
        self._false_starts = 0

    @property
    def busy(self) -> bool:
        """Whether any has a job."""
        return any(worker.jobs for worker in self.workers.values())

    def hire(self, function: Callable[[Job], Answer], deaths: int = 0) -> None:
        """Start a worker; deaths: of those it comes after, see `_Worker`."""
        worker = _Worker(function, self._depth, deaths)
        self.workers[worker.connection] = worker

    def bury(
        self, worker: _Worker[Job, Answer], death: _WorkerDiedError, pending: _Pending[Job]
    ) -> Sequence[tuple[Job, Lost]]:
        """Replace a dead worker where there is work for another, and put jobs back that are not laid to it.

        Returns the jobs that are. Raises WorkerError where no worker gets as far as its first job.
        """
        self.workers.pop(worker.connection).kill()
        self._false_starts = 0 if worker.started else self._false_starts + 1
        if self._false_starts == _FALSE_STARTS:
            raise WorkerError(str(death)) from None
        pending.suspects.extend(death.suspects)
        lost: Sequence[tuple[Job, Lost]] = death.lost
        retired = self._depth > 1 and worker.deaths + 1 >= _DEATHS and bool(self.workers)
        doubtful = self._depth > 1 and 0 < worker.deaths < _DEATHS - 1 and not death.late
        if retired or doubtful:
            # It may not be the job: what this worker works with may be no good, a GPU say.
            pending.suspects.extend(job for job, _ in lost)
            lost = ()
        if pending and not retired:
            self.hire(worker.function, worker.deaths + 1)
        return lost


class _Pending(Generic[Job]):
    """Jobs that no worker has: those not yet begun, and the suspects, which are to be done alone."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = iter(jobs)
        self._next = list(itertools.islice(self._jobs, 1))
        self.suspects: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._next or self.suspects)

    def fill(self, worker: _Worker[Job, Answer], depth: int) -> None:
        """Give a worker what it may have now. One that is to do a suspect first finishes what it has."""
        if not worker.started or (worker.jobs and (worker.alone or self.suspects)):
            return
        worker.alone = bool(self.suspects)
        if self.suspects:
            worker.give(self.suspects.popleft())
            return
        while self._next and len(worker.jobs) < depth:
            worker.give(self._next[0])
            self._next = list(itertools.islice(self._jobs, 1))


class _WorkerDiedError(Exception):
    """A worker ended. lost: the jobs that is laid to; suspects: those that may or may not be to blame; late: it was
    killed, as its time was up.
    """

    def __init__(self, reason: str, lost: list[tuple[Any, Lost]], suspects: list[Any], late: bool = False) -> None:
        super().__init__(reason)
        self.lost = lost
        self.suspects = suspects
        self.late = late


class _Worker(Generic[Job, Answer]):
    """One process, this end of its pipe, and the jobs it has."""

    def __init__(self, function: Callable[[Job], Answer], depth: int, deaths: int) -> None:
        self.function = function
        self.deaths = deaths  # of those it comes after, since the last answer
        self.connection, theirs = _processes.Pipe()
        self.process = _processes.Process(target=_serve, args=(theirs, function, depth), daemon=True)
        self.started = False
        self.alone = False  # has a job with which it gets no other
        self.jobs: dict[int, tuple[Job, float]] = {}  # by number, and when each was given
        self._given = 0
        try:
            with _interrupts_held():
                self.process.start()
        except OSError as error:
            raise WorkerError(f"cannot start a worker process ({error.strerror}); use fewer workers") from error
        theirs.close()

    @property
    def since(self) -> float:
        """When it was given the job that it has had for longest."""
        return min((given for _, given in self.jobs.values()), default=math.inf)

    def give(self, job: Job) -> None:
        self.jobs[self._given] = job, time.monotonic()
        with contextlib.suppress(OSError):  # it has just died: `receive` will tell
            self.connection.send((self._given, job))
        self._given += 1

    def receive(self, timeout: float) -> list[tuple[Job, Answer]]:
        """What this worker has to say; _WorkerDiedError where it has come to its end, or has had its time."""
        try:
            if not self.connection.poll():
                self.process.kill()
                raise self._late(timeout)
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise self._died(_cause(self.process.exitcode)) from None
        if message is None:
            self.started = True
            return []
        self.deaths = 0
        number, answer = cast(tuple[int, Answer], message)
        return [(self.jobs.pop(number)[0], answer)]

    def _died(self, cause: str) -> _WorkerDiedError:
        if not self.started:
            reason = (
                f"worker processes do not start ({cause}); a script that needs them must do its work under "
                '`if __name__ == "__main__":`'
            )
            return _WorkerDiedError(reason, [], [])
        return self._blame(f"its worker process died ({cause})")

    def _late(self, timeout: float) -> _WorkerDiedError:
        return self._blame(f"took longer than {timeout:g} s", late=True)

    def _blame(self, reason: str, late: bool = False) -> _WorkerDiedError:
        """Lay an end to the only job there was; of several any may have held up the others."""
        now, jobs = time.monotonic(), list(self.jobs.values())
        if len(jobs) > 1:
            return _WorkerDiedError(reason, [], [job for job, _ in jobs], late)
        return _WorkerDiedError(reason, [(job, Lost(reason, now - given)) for job, given in jobs], [], late)

    def kill(self) -> None:
        self.process.kill()
        self.process.join(_BURIAL_SECONDS)  # a driver may hold a process for longer than that
        self.connection.close()


def _ready(crew: dict[Connection, _Worker[Job, Answer]], timeout: float) -> list[_Worker[Job, Answer]]:
    """Workers that have something to say, or have had their time; waits until there is one."""
    deadline = min(worker.since for worker in crew.values()) + timeout
    left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
    heard = wait(list(crew), left)
    late = time.monotonic() - timeout
    return [worker for pipe, worker in crew.items() if pipe in heard or worker.since <= late]


def _serve(connection: Connection, function: Callable[[Job], Answer], depth: int) -> None:
    """The life of a worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):  # the other end has gone: nobody wants an answer
        connection.send(None)
        if depth == 1:
            while True:
                number, job = connection.recv()
                connection.send((number, function(job)))
        _serve_side_by_side(connection, function, depth)


def _serve_side_by_side(connection: Connection, function: Callable[[Job], Answer], depth: int) -> None:
    one_at_a_time = threading.Lock()

    def answer(number: int, job: Job) -> None:
        done = function(job)
        with one_at_a_time, contextlib.suppress(OSError):
            connection.send((number, done))

    threads = ThreadPoolExecutor(depth)
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, job = connection.recv()
            threads.submit(answer, number, job).add_done_callback(_end_if_raised)
    os._exit(0)  # nobody wants what the threads are at


def _end_if_raised(answer: Future[None]) -> None:
    """A job whose function raises ends its worker, as it does where there is one thread."""
    error = answer.exception()
    if error is not None:
        traceback.print_exception(error)
        os._exit(1)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep interrupts from a child that is not yet ignoring them; this process gets them afterwards."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    if -exitcode == signal.SIGKILL:
        return "killed, perhaps for want of memory"
    names = {number.value: number.name for number in signal.Signals}  # real-time signals have none
    return names.get(-exitcode, f"signal {-exitcode}")
