"""Jobs over processes: every job gets an answer or a reason, and no worker outlives the run."""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing.spawn
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from children import children_with

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines import workforce
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.local import run_jobs

HARD_LIMIT = 90


@pytest.fixture(autouse=True)
def hard_limit() -> Iterator[None]:
    """What hangs here fails, and does not keep the other tests waiting."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"hangs: not done after {HARD_LIMIT} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HARD_LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def act(job: str) -> object:
    """What a job asks for."""
    match job:
        case "hang":
            time.sleep(60)
        case "hang with Python's lock":
            ctypes.PyDLL(None).sleep(60)
        case "slow 1" | "slow 2" | "slow 3":
            time.sleep(0.3)
        case "slow 4":
            time.sleep(5)
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
        case "stopped in mid-answer":
            return bytes(128 << 20), StopsWhenSent()
        case "killed after its answer":
            return DiesWhenLetGo()
        case "stop":
            stop()
        case "half a message, then stop":
            os.write(pipe().fileno(), struct.pack("!i", 1000) + b"half")
            stop()
        case "half a message, then exit":
            os.write(pipe().fileno(), struct.pack("!i", 1000) + b"half")
            os._exit(3)
        case "close the pipe":
            socket.socket(fileno=os.dup(pipe().fileno())).shutdown(socket.SHUT_WR)
            time.sleep(60)
        case "half a pickle":
            pipe().send_bytes(pickle.dumps((0, "HALF A PICKLE"))[:-3])
        case "no pickle":
            pipe().send_bytes(b"Segmentation fault\n")
        case "another object":
            pipe().send({"another": "object"})
        case "another's answer":
            pipe().send((1000, "ANOTHER'S ANSWER"))
        case "the answer twice":
            pipe().send((0, "THE ANSWER TWICE"))
            pipe().send((0, "THE ANSWER TWICE"))
        case _ if job.startswith("hang beside "):
            Path(job.removeprefix("hang beside ")).touch()
            time.sleep(120)
    return job.upper()


def stop() -> None:
    """Stop this process; another of its threads may be the one that does, a little later."""
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)


class DiesWhenSent:
    """Kills its process when half of the large answer that it is part of is on its way."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        break_off(signal.SIGKILL)
        return DiesWhenSent, ()


class StopsWhenSent:
    """As `DiesWhenSent`, but stops it."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        break_off(signal.SIGSTOP)
        return StopsWhenSent, ()


def break_off(by: signal.Signals) -> None:
    """Have this process get a signal when it has sent half of what is large, however quick its pipe is."""
    connection: Any = pipe()
    send = connection._send

    def send_half(data: memoryview) -> None:
        if len(data) > 1 << 20:
            send(data[: len(data) // 2])
            os.kill(os.getpid(), by)
            time.sleep(60)  # another thread may be the one that is told, a little later
        send(data)

    connection._send = send_half


class DiesWhenLetGo:
    """Kills its process once it has been sent, as a damaged heap does when a clip's memory is given back."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return str, ("KILLED AFTER ITS ANSWER",)

    def __del__(self) -> None:
        os._exit(4)


def pipe() -> Connection:
    """The end of its pipe that a worker has."""
    (connection,) = (thing for thing in gc.get_objects() if isinstance(thing, Connection))
    return connection


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

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os._exit, (7,)


class StopsAtStart(StartsNoWorker):
    """A function of which its worker stops before it is ready."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return signal.raise_signal, (signal.SIGSTOP,)


class HangsAtStart(StartsNoWorker):
    """A function that is on a disk which does not answer."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return time.sleep, (60,)


def workers_alive(run: int | None = None) -> list[psutil.Process]:
    """Of a run's process, this one or another."""
    return children_with("spawn_main", run)


def all_waited_for(children: list[psutil.Process], seconds: float) -> bool:
    """Whether, within that time, nothing is left of them; psutil's own waiting would let go of them itself."""
    deadline = time.monotonic() + seconds
    while any(psutil.pid_exists(child.pid) for child in children):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_every_job_is_answered_once() -> None:
    jobs = [f"job {number}" for number in range(20)]
    answers = list(run_jobs([act] * 2, jobs, timeout=30))
    assert sorted(answers) == sorted((job, job.upper()) for job in jobs)
    assert not workers_alive()


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_job_that_hangs_is_killed_in_its_time() -> None:
    answers = dict(run_jobs([act], ["hang", "a", "b"], timeout=0.5))
    lost = answers.pop("hang")
    assert isinstance(lost, Lost)
    assert lost.reason == "took longer than 0.5 s"
    assert 0.5 <= lost.seconds < 30
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
@pytest.mark.parametrize("job", ["hang", "hang with Python's lock"])
def test_workers_do_not_outlive_a_killed_run(job: str) -> None:
    """Even if one hangs, and lets no thread of its own run."""
    code = f"from test_local import act, run_jobs\nlist(run_jobs([act], [{job!r}, 'a'], timeout=60))"
    run = subprocess.Popen([sys.executable, "-c", f"if __name__ == '__main__':\n exec({code!r})"], env=environment())
    while not (children := workers_alive(run.pid)):
        assert run.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    run.kill()
    run.wait()
    assert not psutil.wait_procs(children, timeout=60)[1]


@pytest.mark.slow
def test_only_the_job_that_hangs_is_lost_of_those_side_by_side() -> None:
    answers = dict(run_jobs([act], ["hang", "a", "slow 1", "b"], timeout=1, depth=2))
    lost = answers.pop("hang")
    assert isinstance(lost, Lost)
    assert lost.reason == "took longer than 1 s"
    assert answers == {"a": "A", "slow 1": "SLOW 1", "b": "B"}


# --- workers that stop, hang, or say what nobody understands


@pytest.mark.slow
@pytest.mark.parametrize("job", ["stop", "half a message, then stop", "stopped in mid-answer"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_worker_that_stops_is_killed_when_its_jobs_time_is_up(job: str, depth: int) -> None:
    answers = dict(run_jobs([act] * 2, ["a", job, "b", "c"], timeout=1, depth=depth))
    lost = answers.pop(job)
    assert isinstance(lost, Lost)
    assert lost.reason == "took longer than 1 s"
    assert 1 <= lost.seconds < 30
    assert answers == {"a": "A", "b": "B", "c": "C"}
    assert not workers_alive()


@pytest.mark.slow
def test_a_job_that_a_stopped_worker_does_not_read_holds_nobody_up() -> None:
    """However large it is: what a pipe holds is not waited for."""
    large = "x" * (4 << 20)
    answers = dict(run_jobs([act], ["stop", large, "a"], timeout=1, depth=2))
    assert isinstance(answers.pop("stop"), Lost)
    assert answers == {large: large.upper(), "a": "A"}


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("half a pickle", "sent what cannot be read: "),
        ("no pickle", "sent what cannot be read: UnpicklingError"),
        ("another object", "sent what is no answer"),
        ("another's answer", "sent what is no answer"),
        pytest.param("close the pipe", "closed its pipe and did not exit", marks=pytest.mark.slow),
        ("half a message, then exit", "exit status 3"),
    ],
)
def test_a_worker_that_garbles_its_pipe_is_a_dead_worker(job: str, reason: str) -> None:
    answers = dict(run_jobs([act], [job, "a", "b"], timeout=30))
    lost = answers.pop(job)
    assert isinstance(lost, Lost)
    assert reason in lost.reason
    assert answers == {"a": "A", "b": "B"}
    assert not workers_alive()


def test_an_answer_counts_once() -> None:
    answers = list(run_jobs([act], ["the answer twice", "a", "b"], timeout=30))
    assert sorted(answers) == [("a", "A"), ("b", "B"), ("the answer twice", "THE ANSWER TWICE")]


@pytest.mark.slow
def test_a_death_is_not_laid_to_the_job_that_was_only_given() -> None:
    jobs = ["killed after its answer", "a", "killed after its answer", "b"]
    answers = list(run_jobs([act], jobs, timeout=30))
    assert sorted(answers) == sorted((job, job.upper()) for job in jobs)


@pytest.mark.slow
def test_an_answer_that_has_come_is_in_time_however_late_it_is_looked_at() -> None:
    answers = run_jobs([act] * 2, ["a", "slow 1", "b", "c", "d"], timeout=1)
    with closing(answers):
        got = [next(answers)]
        time.sleep(3)
        got += answers
    assert sorted(got) == [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D"), ("slow 1", "SLOW 1")]


# --- workers that do not start


@pytest.mark.slow
@pytest.mark.parametrize("other", [StartsNoWorker, StopsAtStart, HangsAtStart])
def test_a_run_goes_on_without_a_worker_that_does_not_start(
    other: type[StartsNoWorker], caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [f"slow {1 + number % 3}" for number in range(10)]
    with caplog.at_level(logging.WARNING):
        answers = list(run_jobs([act, other()], jobs, timeout=30, start_timeout=2))
    assert sorted(answers) == sorted((job, job.upper()) for job in jobs)
    assert not workers_alive()
    if other is StartsNoWorker:
        assert "going on with 1 worker processes: worker processes do not start (exit status 7)" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("other", [StopsAtStart, HangsAtStart])
def test_workers_of_which_none_is_ready_in_time_are_an_error(other: type[StartsNoWorker]) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"do not start \(not ready after 0\.5 s\)"):
        list(run_jobs([other()] * 3, ["a", "b"], timeout=30, start_timeout=0.5))
    assert time.monotonic() - began < 20
    assert not workers_alive()


@pytest.mark.slow
def test_a_worker_that_does_not_even_read_what_it_is_to_do_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the command line is longer than a pipe holds, and python itself is on a disk that does not answer.

    Once the disk does, nothing is left of the workers that were started.
    """
    monkeypatch.setattr(workforce, "_BURIAL_SECONDS", 1.0)
    resource_tracker.ensure_running()
    program, answering = tmp_path / "python", tmp_path / "answering"
    program.write_text(f'#!/bin/sh\nuntil test -e "{answering}"; do sleep 0.1; done\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["x" * (1 << 20)])
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(program))
    with pytest.raises(WorkerError, match=r"not ready after 0\.5 s"):
        list(run_jobs([act], ["a", "b"], timeout=30, start_timeout=0.5))
    started = workers_alive()
    assert len(started) == 3
    answering.touch()
    assert all_waited_for(started, 30)


@pytest.mark.slow
def test_a_worker_that_takes_its_time_to_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that a driver holds: the run does not wait, and yet nothing is left of it when it ends."""
    monkeypatch.setattr(workforce, "_BURIAL_SECONDS", 0.1)
    monkeypatch.setattr("codecsieve.pipelines.engines.worker._EXIT_SECONDS", 0.1)
    monkeypatch.setattr(BaseProcess, "kill", lambda _: None)
    ((job, lost),) = run_jobs([act], ["close the pipe"], timeout=30)
    assert isinstance(lost, Lost)
    assert (job, lost.reason) == ("close the pipe", "its worker process died (it closed its pipe and did not exit)")
    (slow,) = workers_alive()
    time.sleep(1)  # until whoever gives up waiting has done so
    os.kill(slow.pid, signal.SIGKILL)
    assert all_waited_for([slow], 10)


def test_a_machine_that_has_no_room_for_processes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(BaseProcess, "start", no_room)
    with pytest.raises(WorkerError, match=r"cannot start a worker process \(Resource temporarily unavailable\)"):
        list(run_jobs([act] * 3, ["a", "b"], timeout=30))


def test_what_cannot_be_sent_is_the_callers_fault() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        list(run_jobs([lambda job: job], ["a"], timeout=30))
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        list(run_jobs([act], [threading.Lock()], timeout=30))  # type: ignore[list-item]
    assert not workers_alive()


# --- many at once


@pytest.mark.slow
def test_all_workers_killed_at_once_cost_the_jobs_they_had(tmp_path: Path) -> None:
    marks = [tmp_path / f"{number}" for number in range(6)]
    hanging = [f"hang beside {mark}" for mark in marks]

    def kill_all_at_once() -> None:
        while not all(mark.exists() for mark in marks):
            time.sleep(0.05)
        for worker in workers_alive():
            worker.kill()

    threading.Thread(target=kill_all_at_once, daemon=True).start()
    answers = dict(run_jobs([act] * 6, [*hanging, *"abcdefgh"], timeout=120))
    lost = {answers.pop(job).reason for job in hanging}  # type: ignore[attr-defined]
    assert lost == {"its worker process died (killed, perhaps for want of memory)"}
    assert answers == {job: job.upper() for job in "abcdefgh"}
    assert not workers_alive()


@pytest.mark.slow
def test_a_worker_that_is_stopped_while_it_has_nothing_to_do_costs_no_job() -> None:
    jobs = ["a", "slow 1", "b", "c"]
    with closing(run_jobs([act], jobs, timeout=4)) as answers:
        got = [next(answers)]
        (worker,) = workers_alive()
        got.append(next(answers))
        time.sleep(1)  # it has done what it was given ahead
        worker.suspend()
        got += answers
    assert sorted(got) == sorted((job, job.upper()) for job in jobs)


@pytest.mark.slow
def test_stopped_workers_are_all_killed_at_the_end() -> None:
    with closing(run_jobs([act] * 4, ["a", *["stop"] * 4], timeout=60)) as answers:
        assert next(answers) == ("a", "A")
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 30
    assert not workers_alive()


SCRIPT = """
import multiprocessing.process, sys, time
from test_local import act, run_jobs, workforce
if __name__ == "__main__":
    workforce._BURIAL_SECONDS = 1
    {first}
    for job, answer in run_jobs([act], {jobs}, timeout={timeout}):
        print(job, getattr(answer, "reason", answer), flush=True)
"""


def environment() -> dict[str, str]:
    """In which this module can be imported."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


def start_script(tmp_path: Path, **parts: object) -> subprocess.Popen[str]:
    (tmp_path / "script.py").write_text(SCRIPT.format(**parts))
    return subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_time_for_which_a_run_is_stopped_does_not_count(tmp_path: Path, whole_group: bool) -> None:
    """As by Ctrl-Z, and `fg` later than the time a job may take."""
    run = start_script(tmp_path, first="", jobs=["a", "slow 4", "b"], timeout=8)
    assert run.stdout is not None
    assert run.stdout.readline() == "a A\n"
    send = os.killpg if whole_group else os.kill
    send(run.pid, signal.SIGSTOP)
    time.sleep(12)
    send(run.pid, signal.SIGCONT)
    assert run.communicate(timeout=60)[0] == "slow 4 SLOW 4\nb B\n"


@pytest.mark.slow
def test_a_process_that_nothing_can_kill_holds_up_neither_the_run_nor_its_end(tmp_path: Path) -> None:
    """As one that waits for a driver or a disk without end."""
    unkillable = "multiprocessing.process.BaseProcess.kill = lambda self: None"
    run = start_script(tmp_path, first=unkillable, jobs=["hang", "a"], timeout=1)
    try:
        assert run.communicate(timeout=30)[0] == "hang took longer than 1 s\na A\n"
    finally:
        os.killpg(run.pid, signal.SIGKILL)
