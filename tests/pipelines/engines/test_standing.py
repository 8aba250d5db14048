"""Workers that stay: jobs that come at any time, each with an answer of its own, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.standing import StandingCrew

WAIT = 60


def act(job: str) -> str:
    """What the job's name says, and who did it."""
    match job.partition(" "):
        case "die", *_:
            os.kill(os.getpid(), signal.SIGSEGV)
        case "sleep", _, seconds:
            time.sleep(float(seconds))
    return f"{job} by {os.getpid()}"


@pytest.fixture
def crew() -> Iterator[StandingCrew[str, str]]:
    crew: StandingCrew[str, str] = StandingCrew([act, act], timeout=3)
    yield crew
    crew.close()


def test_every_job_has_its_own_answer_however_many_threads_ask(crew: StandingCrew[str, str]) -> None:
    answers: dict[str, object] = {}

    def ask(number: int) -> None:
        for turn in range(5):
            answers[f"{number}-{turn}"] = crew.submit(f"{number}-{turn}").result(WAIT)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 40
    assert all(str(answer).startswith(f"{job} by ") for job, answer in answers.items())
    assert len({str(answer).rpartition(" ")[2] for answer in answers.values()}) <= 2
    assert (crew.waiting, crew.ready) == (0, True)


@pytest.mark.slow
def test_a_job_that_kills_its_worker_costs_itself_and_the_next_is_done(crew: StandingCrew[str, str]) -> None:
    for _ in range(5):
        lost = crew.submit("die").result(WAIT)
        assert isinstance(lost, Lost)
        assert "SIGSEGV" in lost.reason
        time.sleep(0.2)  # nothing waits: nobody is hired yet
    assert str(crew.submit("on").result(WAIT)).startswith("on by ")


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_lost(crew: StandingCrew[str, str]) -> None:
    crew.submit("start").result(WAIT)
    slow, quick = crew.submit("sleep 100"), crew.submit("quick")
    assert str(quick.result(WAIT)).startswith("quick")
    lost = slow.result(WAIT)
    assert isinstance(lost, Lost)
    assert lost.reason == "took longer than 3 s"


@pytest.mark.slow
def test_a_job_that_is_cancelled_while_it_waits_is_not_done() -> None:
    crew: StandingCrew[str, str] = StandingCrew([act], timeout=30)
    crew.submit("start").result(WAIT)
    crew.submit("sleep 1")
    waiting = crew.submit("sleep 50")
    behind = crew.submit("behind")
    assert waiting.cancel()
    assert str(behind.result(WAIT)).startswith("behind")
    assert crew.waiting == 0
    crew.close()


def test_closing_answers_whoever_waits_and_takes_nothing_more(crew: StandingCrew[str, str]) -> None:
    crew.submit("start").result(WAIT)
    waiting: list[Future[str | Lost]] = [crew.submit("sleep 50") for _ in range(4)]
    crew.close()
    for future in waiting:
        with pytest.raises(WorkerError, match="let go"):
            future.result(WAIT)
    with pytest.raises(WorkerError, match="let go"):
        crew.submit("more")


class NeverReady:
    """Of which a worker that unpickles it makes nothing for a long time."""

    def __call__(self, job: str) -> str:
        raise AssertionError("a worker that was never ready got a job")

    def __reduce__(self) -> tuple[object, ...]:
        return time.sleep, (600,)


def test_workers_that_cannot_start_are_told_to_all_who_wait() -> None:
    crew: StandingCrew[str, str] = StandingCrew([NeverReady()], timeout=30, start_timeout=0.2)
    with pytest.raises(WorkerError, match="worker processes do not start"):
        crew.submit("a").result(WAIT)
    with pytest.raises(WorkerError, match="worker processes do not start"):
        crew.submit("b")
    assert not crew.ready
    crew.close()
