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
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from benchmarks.faults.outcome import Verdict

Trial = TypeVar("Trial")
Answer = TypeVar("Answer")
Prepare = Callable[[], Callable[[Trial], Answer]]
"""Called once in each worker; gives what does a trial there."""

START_SECONDS = 300.0
"""What a worker may take to prepare: kernels may have to be compiled."""
_PRELOADED = [
    "benchmarks.faults.outcome",
    "codecsieve.cli",
    "codecsieve.pipelines.precompute.run",
    "codecsieve.pipelines.look.draw",
]


@dataclass
class _Worker(Generic[Trial]):
    process: BaseProcess
    pipe: Connection
    deadline: float
    began: float = 0.0
    trial: list[Trial] = field(default_factory=list)


def run_trials(
    prepare: Prepare[Trial, Answer],
    trials: Iterable[Trial],
    limit: float,
    workers: int,
    memory: int,
    preload: Sequence[str] = (),
) -> Generator[tuple[Trial, Answer | Verdict, float]]:
    """Do every trial in one of the workers; yield it, its answer and its seconds as each is done.

    Where a worker was killed, or died, the answer is a Verdict: hung, or crashed. limit: seconds a trial may take;
    memory: bytes a worker may take on top of what it has once it is prepared; preload: modules that workers are given
    imported. Raises RuntimeError where a trial raises.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([*_PRELOADED, *preload])
    left = iter(trials)
    crew: dict[Connection, _Worker[Trial]] = {}

    def hire() -> None:
        ours, theirs = processes.Pipe()
        process = processes.Process(target=_serve, args=(theirs, prepare, memory), daemon=True)
        process.start()
        theirs.close()
        crew[ours] = _Worker(process, ours, time.monotonic() + START_SECONDS)

    def bury(worker: _Worker[Trial]) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        del crew[worker.pipe]

    def give(worker: _Worker[Trial]) -> None:
        for trial in left:
            worker.trial = [trial]
            worker.began = time.monotonic()
            worker.deadline = worker.began + limit
            with contextlib.suppress(OSError):  # it has just died: what it says will tell
                worker.pipe.send(trial)
            return
        bury(worker)

    try:
        for _ in range(workers):
            hire()
        while crew:
            next_end = min(worker.deadline for worker in crew.values())
            heard = set(wait(list(crew), max(0.0, next_end - time.monotonic())))
            for worker in list(crew.values()):
                answer: Any
                if worker.pipe in heard:
                    answer = _receive(worker)
                elif time.monotonic() >= worker.deadline:
                    answer = Verdict("hung", f"not done after {limit:g} s")
                else:
                    continue
                seconds, trial = time.monotonic() - worker.began, worker.trial
                if not trial and answer is not None:
                    raise RuntimeError(f"a worker of the attack itself did not start: {answer}")
                if isinstance(answer, _Raised):
                    raise RuntimeError(f"the attack itself failed at {trial[0]}:\n{answer.trace}")
                if isinstance(answer, _Gone) or (isinstance(answer, Verdict) and answer.outcome == "hung"):
                    bury(worker)
                    hire()
                    answer = answer.verdict if isinstance(answer, _Gone) else answer
                else:
                    give(worker)
                if trial:
                    yield trial[0], answer, seconds
    finally:
        for worker in list(crew.values()):
            bury(worker)


@dataclass(frozen=True)
class _Raised:
    trace: str


@dataclass(frozen=True)
class _Gone:
    verdict: Verdict


def _receive(worker: _Worker[Any]) -> Any:
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return _Gone(Verdict("crashed", f"the process died ({name})"))


def _serve(pipe: Connection, prepare: Prepare[Any, Any], memory: int) -> None:
    """The life of a worker: None once it is prepared, then an answer for each trial."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("always")  # the same whichever trial comes first
    try:
        attempt = prepare()
        _limit_memory(memory)
        pipe.send(None)
        while True:
            trial = pipe.recv()
            try:
                answer = attempt(trial)
            except Exception:
                answer = _Raised(traceback.format_exc())
            pipe.send(answer)
    except (EOFError, OSError):
        return


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes of addresses more than it has, where the system tells and knows limits."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
