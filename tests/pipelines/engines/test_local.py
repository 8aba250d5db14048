"""Jobs over processes: every job gets an answer or a reason, and no worker outlives the run."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.local import run_jobs


def act(job: str) -> object:
    """What a job asks for."""
    match job:
        case "hang":
            time.sleep(60)
        case "slow 1" | "slow 2" | "slow 3":
            time.sleep(0.3)
        case "raise":
            raise RuntimeError("a fault")
        case "exit":
            os._exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "real-time signal":
            os.kill(os.getpid(), signal.SIGRTMIN + 1)
        case "killed in mid-answer":
            return bytes(128 << 20), DiesWhenSent()
    return job.upper()


class DiesWhenSent:
    """Kills its process a little after it was pickled, while the large answer it is part of is on its way."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        threading.Timer(0.005, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return DiesWhenSent, ()


class Together:
    """Answers once `count` jobs are there at the same time."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __reduce__(self) -> tuple[object, ...]:
        return Together, (self.count,), {"barrier": None}

    def __setstate__(self, state: dict[str, None]) -> None:
        self.barrier = threading.Barrier(self.count, timeout=10)

    def __call__(self, job: str) -> str:
        self.barrier.wait()
        return job.upper()


class AlwaysDies:
    """A worker of which nothing comes."""

    def __call__(self, job: str) -> str:
        os._exit(5)


class StartsNoWorker:
    """A function that cannot be had in another process."""

    def __call__(self, job: str) -> str:
        return job

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (7,)


def workers_alive() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_every_job_is_answered_once() -> None:
    jobs = [f"job {number}" for number in range(20)]
    answers = list(run_jobs([act] * 2, jobs, timeout=30))
    assert sorted(answers) == sorted((job, job.upper()) for job in jobs)
    assert not workers_alive()


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("exit", "died (exit status 3)"),
        ("segfault", "died (SIGSEGV)"),
        ("real-time signal", f"died (signal {signal.SIGRTMIN + 1})"),
        ("killed in mid-answer", "died (killed, perhaps for want of memory)"),
    ],
)
def test_a_worker_that_dies_costs_its_job_only(job: str, reason: str) -> None:
    answers = dict(run_jobs([act] * 2, ["a", job, "b", "c"], timeout=30))
    lost = answers.pop(job)
    assert isinstance(lost, Lost)
    assert reason in lost.reason
    assert answers == {"a": "A", "b": "B", "c": "C"}


def test_a_job_that_hangs_is_killed_in_its_time() -> None:
    answers = dict(run_jobs([act], ["hang", "a", "b"], timeout=0.5))
    lost = answers.pop("hang")
    assert isinstance(lost, Lost)
    assert lost.reason == "took longer than 0.5 s"
    assert 0.5 <= lost.seconds < 5
    assert answers == {"a": "A", "b": "B"}


def test_stopping_early_leaves_no_worker_behind() -> None:
    with closing(run_jobs([act] * 2, ["a", "hang", "hang"], timeout=60)) as answers:
        assert next(answers) == ("a", "A")
        assert workers_alive()
    assert not workers_alive()


def test_workers_that_never_start_are_an_error_and_not_an_endless_run() -> None:
    with pytest.raises(WorkerError, match=r"do not start \(exit status 7\)"):
        list(run_jobs([StartsNoWorker()], ["a", "b"], timeout=30))
    assert not workers_alive()


def test_jobs_side_by_side_in_one_worker() -> None:
    jobs = ["wait for three"] * 3
    answers = list(run_jobs([Together(3)], jobs, timeout=30, depth=3))
    assert answers == [("wait for three", "WAIT FOR THREE")] * 3


@pytest.mark.slow
@pytest.mark.parametrize("job", ["exit", "segfault", "raise"])
def test_only_the_job_to_blame_is_lost_of_those_side_by_side(job: str) -> None:
    jobs = ["slow 1", "slow 2", job, "slow 3", *"abcdef"]
    answers = dict(run_jobs([act], jobs, timeout=30, depth=4))
    lost = answers.pop(job)
    assert isinstance(lost, Lost)
    assert "its worker process died" in lost.reason
    assert answers == {other: other.upper() for other in jobs if other != job}


def test_a_worker_that_always_dies_costs_no_job_of_the_others() -> None:
    jobs = [f"job {number}" for number in range(40)]
    answers = list(run_jobs([act, AlwaysDies()], jobs, timeout=30, depth=3))
    assert sorted(answers) == sorted((job, job.upper()) for job in jobs)


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    """Even if one hangs."""
    code = "from test_local import act, run_jobs\nlist(run_jobs([act], ['hang', 'a'], timeout=60, depth=2))"
    run = subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__':\n exec({code!r})"], cwd=Path(__file__).parent
    )
    while not (children := [c for c in psutil.Process(run.pid).children() if "spawn_main" in " ".join(c.cmdline())]):
        assert run.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    run.kill()
    run.wait()
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.slow
def test_only_the_job_that_hangs_is_lost_of_those_side_by_side() -> None:
    answers = dict(run_jobs([act], ["hang", "a", "slow 1", "b"], timeout=1, depth=2))
    lost = answers.pop("hang")
    assert isinstance(lost, Lost)
    assert lost.reason == "took longer than 1 s"
    assert answers == {"a": "A", "slow 1": "SLOW 1", "b": "B"}
