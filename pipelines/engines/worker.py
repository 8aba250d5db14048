"""One worker process and this end of its pipe, with threads that start it, write to it and listen to it.

So nobody else ever waits for a process that may be stopped, stuck, or half-way through a message: what it has to say,
and its end, come as messages into an inbox that all workers share. What follows from them, and when a worker has had
its time, is left to `local`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.process
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple

from codecsieve.pipelines.engines.base import Answer, Job
from codecsieve.pipelines.engines.serve import serve

_EXIT_SECONDS = 2.0
# Forking a process that has threads (those of Arrow, numba, zarr) may deadlock the child.
_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Ready:
    """A worker has started and waits for jobs."""


@dataclass(frozen=True)
class Answered(Generic[Answer]):
    """A job is done."""

    number: int
    answer: Answer


@dataclass(frozen=True)
class Ended:
    """A worker comes to nothing more. late: it had had its time; error: it could not be started at all."""

    cause: str
    late: bool = False
    error: Exception | None = None


Message = Ready | Answered[Any] | Ended


class Given(NamedTuple, Generic[Job]):
    """A job that a worker has, and when it was given, in seconds of the run's clock."""

    job: Job
    since: float


class Worker(Generic[Job, Answer]):
    """One process and the jobs it has. Its messages come to `inbox`, in their order, and at last `Ended`.

    since: when it was hired, in seconds of the run's clock; false_starts, deaths: of those it comes after, since one
    started, or answered.
    """

    def __init__(
        self,
        function: Callable[[Job], Answer],
        depth: int,
        inbox: SimpleQueue[tuple[Worker[Any, Any] | None, Message]],
        since: float,
        false_starts: int = 0,
        deaths: int = 0,
    ) -> None:
        self.function = function
        self.since, self.false_starts, self.deaths = since, false_starts, deaths
        self.started = False
        self.alone = False  # has a job with which it gets no other
        self.dismissed = False  # gets no more jobs
        self.jobs: dict[int, Given[Job]] = {}
        self.arrived: set[int] = set()  # the jobs whose answers are in the inbox, or have been
        self._inbox = inbox
        self._outbox: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._given = 0
        self._begun: Any = None  # shared with the process
        self._process: multiprocessing.process.BaseProcess | None = None
        self._killed = False
        self._kill = threading.Lock()
        self._life = threading.Thread(target=self._live, args=(pickle.dumps(function), depth), daemon=True)
        try:
            self._life.start()
        except RuntimeError as error:  # no more threads
            self._tell(Ended(str(error), error=OSError(0, str(error))))

    def give(self, job: Job, now: float) -> None:
        """Give it one more job."""
        number, pickled = self._given, pickle.dumps(job)
        self._given += 1
        self.jobs[number] = Given(job, now)
        self._outbox.put((number, pickled))

    def has_begun(self, number: int) -> bool:
        """Whether a job was begun, and not only given."""
        return self._begun is not None and self._begun.value >= number

    def dismiss(self, message: Ended) -> None:
        """Kill it, and have the inbox say so, behind what has come from it so far."""
        self.dismissed = True
        self.kill()
        self._tell(message)

    def kill(self) -> None:
        """Kill its process, also one that is only being started. Waits for nothing."""
        with self._kill:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def bury(self, seconds: float) -> None:
        """Wait until the process has gone, but no longer than that: a driver or a disk may hold it for ever."""
        if self._life.ident is not None:
            self._life.join(seconds)
        if self._life.is_alive() and self._process is not None:
            # Python would wait for it at exit.
            multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined]

    # --- in threads

    def _live(self, function: bytes, depth: int) -> None:
        """Start the process, and listen until there is nothing more to come."""
        try:
            connection, process = self._start(function, depth)
        except Exception as error:
            self._tell(Ended("", error=error))
            return
        writing = threading.Thread(target=self._write, args=(connection,), daemon=True)
        writing.start()
        cause = self._listen(connection)
        self._tell(Ended(cause or _how_it_ended(process)))
        self._outbox.put(None)
        writing.join()
        # Not before: a file that is opened next may get the number that a thread still waits on.
        connection.close()
        process.join()  # however long that takes: nobody else lets go of a process that has ended

    def _start(self, function: bytes, depth: int) -> tuple[Connection, multiprocessing.process.BaseProcess]:
        ours, theirs = _processes.Pipe()
        self._begun = _processes.RawValue("q", -1)
        process = _processes.Process(target=serve, args=(theirs, self._begun, function, depth), daemon=True)
        resource_tracker.ensure_running()  # it lets go of interrupts when it starts
        with _interrupts_held():
            process.start()
        theirs.close()
        with self._kill:
            self._process = process
            if self._killed:
                process.kill()
        return ours, process

    def _write(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):  # it has just died: `_listen` will tell
            while (message := self._outbox.get()) is not None:
                connection.send(message)

    def _listen(self, connection: Connection) -> str:
        """Pass on what comes; why nothing more will, "" where the pipe has ended."""
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                return ""
            except Exception as error:
                return f"it sent what cannot be read: {type(error).__name__}"
            match message:
                case None:
                    self._tell(Ready())
                case (int(number), _) if number in self.arrived:
                    pass  # said twice; the job that it has by now is not to pay for it
                case (int(number), answer) if number in self.jobs:
                    self.arrived.add(number)
                    self._tell(Answered(number, answer))
                case _:
                    return "it sent what is no answer"

    def _tell(self, message: Message) -> None:
        self._inbox.put((self, message))


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep interrupts from a child that is not yet ignoring them; this process gets them in another thread."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how_it_ended(process: multiprocessing.process.BaseProcess) -> str:
    """How a process whose pipe has ended did, which should be at once.

    Asked again and again: `join` waits without end for one that has closed its files and goes on.
    """
    deadline = time.monotonic() + _EXIT_SECONDS
    while process.exitcode is None:
        if time.monotonic() > deadline:
            return "it closed its pipe and did not exit"
        time.sleep(0.002)
    process.join(0)  # which lets go of it
    code = process.exitcode
    if code >= 0:
        return f"exit status {code}"
    if -code == signal.SIGKILL:
        return "killed, perhaps for want of memory"
    names = {number.value: number.name for number in signal.Signals}  # real-time signals have none
    return names.get(-code, f"signal {-code}")
