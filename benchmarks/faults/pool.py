"""Trials over worker processes, each with a time limit: a worker that is past it is killed, and its trial has hung.

Not the engine of codecsieve, which is among what is tried. What a trial is, is left to the caller.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmarks.faults.outcome import Verdict

Trial = TypeVar("Trial")
Answer = TypeVar("Answer")
Prepare = Callable[[], Callable[[Trial], Answer]]
"""Called once in each worker; gives what does a trial there."""

START_SECONDS = 300.0
"""What a worker may take to prepare: kernels may have to be compiled."""
# A server that has imported these forks a worker in milliseconds; starting one anew takes seconds.
_PRELOADED = ("codecsieve.cli", "codecsieve.pipelines.precompute.run", "codecsieve.pipelines.look.draw")
_processes = multiprocessing.get_context("forkserver")


def run_trials(
    prepare: Prepare[Trial, Answer],
    trials: Iterable[Trial],
    limit: float,
    workers: int,
    memory: int,
    preload: Sequence[str] = (),
) -> Generator[tuple[Trial, Answer | Verdict, float]]:
    """Do every trial in one of the workers; yield it, its answer and its seconds as each is done.

    Where a worker was killed, or died, the answer is a Verdict: hung, or crashed. A trial has hung if it is late twice,
    since it may be the machine that was busy. limit: seconds a trial may take;
    memory: bytes a worker may take on top of what it has once it is prepared; preload: modules that workers are given
    imported. Raises RuntimeError where a trial raises, or a worker does not get as far as its first.
    """
    _processes.set_forkserver_preload([*_PRELOADED, *preload])
    left, late = deque(trials), set[Trial]()
    crew: list[_Worker[Trial, Answer]] = [_Worker(prepare, memory) for _ in range(workers)]
    try:
        while crew:
            for worker in _ready(crew):
                done = worker.hear()
                if worker.ended:
                    worker.kill()
                    crew[crew.index(worker)] = _Worker(prepare, memory)
                elif left:
                    worker.give(left.popleft(), limit)
                else:
                    worker.kill()
                    crew.remove(worker)
                for trial, answer, seconds in done:
                    if isinstance(answer, Verdict) and answer.outcome == "hung" and trial not in late:
                        late.add(trial)
                        left.append(trial)
                    else:
                        yield trial, answer, seconds
    finally:
        for worker in crew:
            worker.kill()


class _Worker(Generic[Trial, Answer]):
    """One process, this end of its pipe, and the trial that it has: none as long as it prepares."""

    def __init__(self, prepare: Prepare[Trial, Answer], memory: int) -> None:
        self.pipe, theirs = _processes.Pipe()
        self._process = _processes.Process(target=_serve, args=(theirs, prepare, memory), daemon=True)
        self._process.start()
        theirs.close()
        self.ended = False
        self._trial: Trial | None = None
        self._began, self._limit = time.monotonic(), START_SECONDS

    @property
    def deadline(self) -> float:
        """When its time is up."""
        return self._began + self._limit

    def give(self, trial: Trial, limit: float) -> None:
        self._trial, self._began, self._limit = trial, time.monotonic(), limit
        with contextlib.suppress(OSError):  # it has just died: `hear` will tell
            self.pipe.send(trial)

    def hear(self) -> list[tuple[Trial, Answer | Verdict, float]]:
        """What came of its trial, of a worker that has something to say or has had its time."""
        answer: Any
        try:
            answer = self.pipe.recv() if self.pipe.poll() else Verdict("hung", f"not done after {self._limit:g} s")
            self.ended = isinstance(answer, Verdict) and answer.outcome == "hung"
        except (EOFError, OSError):
            self._process.join()
            answer, self.ended = Verdict("crashed", f"the process died ({_cause(self._process.exitcode)})"), True
        if isinstance(answer, _Raised):
            raise RuntimeError(f"the attack itself failed at {self._trial}:\n{answer.trace}")
        if self._trial is None and self.ended:
            raise RuntimeError(f"a worker of the attack itself did not start: {answer.said}")
        trial, self._trial = self._trial, None
        return [] if trial is None else [(trial, answer, time.monotonic() - self._began)]

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


class _Raised:
    """What a trial raised that is a fault of the attack's own."""

    def __init__(self, trace: str) -> None:
        self.trace = trace


def _ready(crew: Sequence[_Worker[Any, Any]]) -> list[_Worker[Any, Any]]:
    """Workers that have something to say, or have had their time; waits until there is one."""
    until = min(worker.deadline for worker in crew)
    heard: list[Any] = wait([worker.pipe for worker in crew], max(0.0, until - time.monotonic()))
    return [worker for worker in crew if worker.pipe in heard or time.monotonic() >= worker.deadline]


def _cause(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"


def _serve(pipe: Connection, prepare: Prepare[Any, Any], memory: int) -> None:
    """The life of a worker: None once it is prepared, then an answer for each trial."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("always")  # the same whichever trial comes first
    attempt = prepare()
    _limit_memory(memory)
    with contextlib.suppress(EOFError, OSError):  # the other end has gone: nobody wants an answer
        pipe.send(None)
        while True:
            trial = pipe.recv()
            try:
                answer = attempt(trial)
            except Exception:
                answer = _Raised(traceback.format_exc())
            pipe.send(answer)


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes more than it has, where the system tells and knows limits.

    Of memory that can be written to: addresses that are only reserved, as every thread does, would use up a limit of
    addresses, and a thread that finds none left is waited for for ever.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        has = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (has + more, has + more))
