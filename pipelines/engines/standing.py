"""Worker processes that stay: jobs come at any time, from any thread, and each gets its answer as a future.

For a service, where `local` is for a run. What is done when a worker crashes or hangs is `workforce`'s, and costs its
own job only; who died is replaced when there is a job for the next.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Answer, Job, Lost
from codecsieve.pipelines.engines.workforce import START_SECONDS, Pending, Workforce


@dataclass(frozen=True)
class _Ticket(Generic[Job]):
    """A job by its number, so that two alike are two."""

    number: int
    job: Job


@dataclass
class _OfTicket(Generic[Job, Answer]):
    function: Callable[[Job], Answer]

    def __call__(self, ticket: _Ticket[Job]) -> Answer:
        return self.function(ticket.job)


class StandingCrew(Generic[Job, Answer]):
    """Workers, one process a function, until it is closed; see `run_jobs` for the arguments."""

    def __init__(
        self,
        functions: Sequence[Callable[[Job], Answer]],
        timeout: float,
        start_timeout: float = START_SECONDS,
        depth: int = 1,
    ) -> None:
        self._functions = [_OfTicket(function) for function in functions]
        self._timeout, self._start_timeout, self._depth = timeout, start_timeout, depth
        self._pending: Pending[_Ticket[Job]] = Pending(())
        self._futures: dict[int, Future[Answer | Lost]] = {}
        self._numbers = itertools.count()
        self._closing = threading.Event()
        self._given_up: WorkerError | None = None
        self._lock = threading.Lock()
        self._force: Workforce[_Ticket[Job], Answer] = Workforce(depth, timeout, start_timeout)
        for function in self._functions:
            self._force.hire(function)
        self._thread = threading.Thread(target=self._run, name="standing-crew", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether a worker has started and none of this has been given up."""
        return self._given_up is None and any(worker.started for worker in list(self._force.workers))

    @property
    def waiting(self) -> int:
        """Jobs that have no answer yet."""
        return len(self._futures)

    def submit(self, job: Job) -> Future[Answer | Lost]:
        """Have a job done, in the order in which they come. A cancelled one is not begun, or its answer is dropped.

        Raises WorkerError where it is closed, or no worker can be started.
        """
        ticket = _Ticket(next(self._numbers), job)
        future: Future[Answer | Lost] = Future()
        with self._lock:
            if self._given_up is not None or self._closing.is_set():
                raise self._given_up or WorkerError("the workers have been let go; nothing more is taken")
            self._futures[ticket.number] = future
        future.add_done_callback(lambda done: self._withdraw(ticket) if done.cancelled() else None)
        self._pending.add(ticket)
        self._force.wake()
        return future

    def close(self) -> None:
        """Kill the workers at once, and whatever they are at; what has no answer gets a WorkerError."""
        self._closing.set()
        self._force.wake()
        self._thread.join()

    def _withdraw(self, ticket: _Ticket[Job]) -> None:
        if self._pending.withdraw(ticket):
            self._futures.pop(ticket.number, None)

    def _run(self) -> None:
        force, pending = self._force, self._pending
        end = WorkerError("the workers have been let go; nothing more is taken")
        try:
            while not self._closing.is_set():
                done: Sequence[tuple[_Ticket[Job], Any]] = force.listen(pending)
                if pending:
                    employed = [worker.function for worker in force.workers]
                    for function in self._functions:
                        if not any(function is one for one in employed):
                            force.hire(function)
                for worker in force.workers:
                    pending.fill(worker, self._depth, force.clock.now)
                for ticket, answer in done:
                    self._answer(ticket.number, answer)
                force.dismiss_late()
        except WorkerError as error:
            end = error
        finally:
            with self._lock:
                self._given_up, left = end, list(self._futures)
            force.disband()
            for number in left:
                future = self._futures.pop(number, None)
                if future is not None and future.set_running_or_notify_cancel():
                    future.set_exception(end)

    def _answer(self, number: int, answer: Answer | Lost) -> None:
        future = self._futures.pop(number, None)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(answer)
