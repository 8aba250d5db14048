"""Jobs over processes: every job gets an answer or a reason, and no worker outlives the run."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing

import psutil
import pytest

from codecsieve.pipelines.workers import Lost, WorkerError, available_cores, run_jobs


def act(job: str) -> object:
    """What a job asks for."""
    match job:
        case "hang":
            time.sleep(60)
        case "exit":
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
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
    answers = list(run_jobs(act, jobs, workers=2, timeout=30))
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
    answers = dict(run_jobs(act, ["a", job, "b", "c"], workers=2, timeout=30))
    lost = answers.pop(job)
    assert isinstance(lost, Lost)
    assert reason in lost.reason
    assert answers == {"a": "A", "b": "B", "c": "C"}


def test_a_job_that_hangs_is_killed_in_its_time() -> None:
    answers = dict(run_jobs(act, ["hang", "a", "b"], workers=1, timeout=0.5))
    lost = answers.pop("hang")
    assert isinstance(lost, Lost)
    assert lost.reason == "took longer than 0.5 s"
    assert 0.5 <= lost.seconds < 5
    assert answers == {"a": "A", "b": "B"}


def test_stopping_early_leaves_no_worker_behind() -> None:
    with closing(run_jobs(act, ["a", "hang", "hang"], workers=2, timeout=60)) as answers:
        assert next(answers) == ("a", "A")
        assert workers_alive()
    assert not workers_alive()


def test_workers_that_never_start_are_an_error_and_not_an_endless_run() -> None:
    with pytest.raises(WorkerError, match=r"do not start \(exit status 7\)"):
        list(run_jobs(StartsNoWorker(), ["a", "b"], workers=1, timeout=30))
    assert not workers_alive()


def test_there_is_a_core_to_work_on() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
