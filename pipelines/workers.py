"""Jobs over worker processes: a worker that crashes, is killed or hangs costs its own job and nothing else.

Every worker has a pipe to itself, so that one which dies half-way through an answer cannot garble or block
those of others. What a job is, is left to the caller: a function and its argument, which can be pickled.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar, cast

Job = TypeVar("Job")
Answer = TypeVar("Answer")

_FALSE_STARTS = 3
# Forking a process that has threads (those of Arrow, numba, zarr) may deadlock the child.
_processes = multiprocessing.get_context("spawn")


class WorkerError(RuntimeError):
    """Worker processes cannot be started at all; the message is one line that says why."""


@dataclass(frozen=True)
class Lost:
    """Comes in place of an answer. reason: why there is none; seconds: how long the worker was at it."""

    reason: str
    seconds: float


def run_jobs(
    function: Callable[[Job], Answer], jobs: Iterable[Job], workers: int, timeout: float
) -> Generator[tuple[Job, Answer | Lost]]:
    """Do `function(job)` for every job, `workers` (> 0) at a time; yield job and answer as each is done.

    A job that takes longer than `timeout` seconds is killed. Jobs are taken from their iterable as workers
    become free. Closing the generator kills what still runs. Workers ignore an interrupt from the terminal:
    it is this process's to deal with.

    Raises WorkerError where no worker gets as far as its first job.
    """
    waiting = iter(jobs)
    crew: dict[Connection, _Worker[Job, Answer]] = {}
    false_starts = 0

    def hire(job: Job) -> None:
        worker = _Worker(function, job)
        crew[worker.connection] = worker

    try:
        for _, job in zip(range(workers), waiting, strict=False):
            hire(job)
        while crew:
            for worker in _ready(crew, timeout):
                done = worker.job
                try:
                    answer = worker.receive(timeout)
                except _NotStartedError as error:
                    false_starts += 1
                    if false_starts == _FALSE_STARTS:
                        raise WorkerError(str(error)) from None
                    crew.pop(worker.connection).kill()
                    hire(done)
                    continue
                if isinstance(answer, _Started):
                    false_starts = 0
                    continue
                following = next(waiting, None)
                if following is not None and not isinstance(answer, Lost):
                    worker.give(following)
                else:
                    crew.pop(worker.connection).kill()
                    if following is not None:
                        hire(following)
                yield done, answer
    finally:
        for worker in crew.values():
            worker.kill()


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Started:
    """A worker's first message: it is ready for a job."""


class _NotStartedError(Exception):
    """A worker ended before it was ready for a job."""


class _Worker(Generic[Job, Answer]):
    """One process, this end of its pipe, and the job it has."""

    def __init__(self, function: Callable[[Job], Answer], job: Job) -> None:
        self.connection, theirs = _processes.Pipe()
        self.process = _processes.Process(target=_serve, args=(theirs, function), daemon=True)
        self.job = job
        self.since = math.inf  # when it was given its job
        try:
            with _interrupts_held():
                self.process.start()
        except OSError as error:
            raise WorkerError(f"cannot start a worker process ({error.strerror}); use fewer workers") from error
        theirs.close()

    def give(self, job: Job) -> None:
        self.job, self.since = job, time.monotonic()
        with contextlib.suppress(OSError):  # it has just died: `receive` will tell
            self.connection.send(job)

    def receive(self, timeout: float) -> Answer | Lost | _Started:
        """What this worker has to say, or has come to."""
        try:
            if not self.connection.poll():
                self.process.kill()
                return Lost(f"took longer than {timeout:g} s", time.monotonic() - self.since)
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            reason = f"its worker process died ({_cause(self.process.exitcode)})"
            if self.since == math.inf:
                raise _NotStartedError(
                    f"worker processes do not start ({_cause(self.process.exitcode)}); a script that needs "
                    'them must do its work under `if __name__ == "__main__":`'
                ) from None
            return Lost(reason, time.monotonic() - self.since)
        if isinstance(message, _Started):
            self.give(self.job)
            return message
        return cast(Answer, message)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _ready(crew: dict[Connection, _Worker[Job, Answer]], timeout: float) -> list[_Worker[Job, Answer]]:
    """Workers that have something to say, or have had their time; waits until there is one."""
    deadline = min(worker.since for worker in crew.values()) + timeout
    left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
    heard = wait(list(crew), left)
    late = time.monotonic() - timeout
    return [worker for pipe, worker in crew.items() if pipe in heard or worker.since <= late]


def _serve(connection: Connection, function: Callable[[Job], Answer]) -> None:
    """The life of a worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):  # the other end has gone: nobody wants an answer
        connection.send(_Started())
        while True:
            connection.send(function(connection.recv()))


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
