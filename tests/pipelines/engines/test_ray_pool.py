"""Actors that start late, say several things of a task, and are lost, played by objects; no cluster is started."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from codecsieve.errors import ConfigError, WorkerError
from codecsieve.pipelines.engines.ray_pool import Died, RayPool, Said, Started


class RayError(Exception):
    """As Ray's: an actor, a node or what was said is lost."""


class RayTaskError(RayError):
    """As Ray's: an actor raised."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Answer:
    """What an actor has been asked for: what it says, one after the other; an error is raised where its turn comes."""

    def __init__(self, actor: Actor, says: Sequence[Any]) -> None:
        self.actor, self.says = actor, list(says)

    def __next__(self) -> Any:
        if self.actor.lost:
            return RayError("the node is gone")
        if not self.says:
            raise StopIteration
        return self.says.pop(0)


class Actor:
    """A handle. Of a task "ab" it says "a", then "b"; at "!" it is lost, at "?" it raises."""

    def __init__(self, number: int, starts: bool) -> None:
        self.number, self.starts, self.lost, self.stopped = number, starts, False, False
        self.given: list[str] = []
        self.start = SimpleNamespace(remote=lambda: Answer(self, [f"facts {number}"]))
        self.stop = SimpleNamespace(remote=self._stop)
        self.make = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self._make))

    def _make(self, job: str) -> Answer:
        self.given.append(job)
        return Answer(self, job)

    def _stop(self) -> None:
        self.stopped = True


class Ray:
    """As much of Ray as a pool asks for; all that is asked for is ready at once."""

    exceptions = SimpleNamespace(RayTaskError=RayTaskError, RayError=RayError)

    def __init__(self, starts: Sequence[bool] = ()) -> None:
        self.actors: list[Actor] = []
        self.starts = starts

    def hire(self, number: int) -> Actor:
        self.actors.append(Actor(number, self.starts[number] if number < len(self.starts) else True))
        return self.actors[-1]

    def wait(self, asked: list[Answer], num_returns: int, timeout: float) -> tuple[list[Answer], list[Answer]]:
        return list(asked), []

    def get(self, asked: Any) -> Any:
        if isinstance(asked, Answer):
            if not asked.actor.starts:
                raise RayError("it does not start")
            return asked.says[0]
        match asked:
            case RayError():
                raise asked
            case "!":
                raise RayError("the actor died")
            case "?":
                raise RayTaskError(ConfigError("k_keep (0) must be > 0"))
        return asked

    def kill(self, actor: Actor) -> None:
        actor.lost = True


def heard(pool: RayPool[str]) -> Iterator[Started | Said[str] | Died[str]]:
    while pool.busy:
        yield from pool.listen()


def test_all_that_is_said_of_every_task_is_heard_in_order() -> None:
    ray = Ray()
    pool = RayPool[str](ray, ray.hire, 2)
    for job in ("ab", "cde", "f", "gh", "i"):
        pool.submit(job)
    news = list(heard(pool))
    assert [one.facts for one in news if isinstance(one, Started)] == ["facts 0", "facts 1"]
    said = [(one.job, one.what) for one in news if isinstance(one, Said)]
    assert sorted(said) == [(job, what) for job in ("ab", "cde", "f", "gh", "i") for what in job]
    assert all([what for name, what in said if name == job] == list(job) for job in ("ab", "cde", "gh"))
    assert sorted(len(actor.given) for actor in ray.actors) == [2, 3]


def test_an_actor_has_two_tasks_at_most_and_one_that_is_to_be_alone_no_other() -> None:
    ray = Ray()
    pool = RayPool[str](ray, ray.hire, 1)
    pool.listen()  # it starts
    for job in ("aa", "bb", "cc"):
        pool.submit(job)
    pool.submit("dddd", alone=True)
    assert not pool.hungry
    pool.listen()
    (actor,) = ray.actors
    assert actor.given == ["dddd"]
    list(heard(pool))
    assert actor.given == ["dddd", "aa", "bb", "cc"]


def test_what_a_lost_actor_had_comes_back_in_the_order_in_which_it_was_given(caplog: pytest.LogCaptureFixture) -> None:
    ray = Ray()
    pool = RayPool[str](ray, ray.hire, 1)
    for job in ("a!", "bc", "de"):
        pool.submit(job)
    with caplog.at_level(logging.WARNING):
        news = list(heard(pool))
    (died,) = [one for one in news if isinstance(one, Died)]
    assert died.jobs == ["a!", "bc"]
    assert [actor.number for actor in ray.actors] == [0, 1]
    assert ray.actors[1].given == ["de"]
    assert "an actor was lost, and is replaced: the actor died" in caplog.text


def test_actors_that_do_not_start_are_replaced_and_after_three_in_a_row_it_is_said() -> None:
    ray = Ray([False, False, True])
    pool = RayPool[str](ray, ray.hire, 1)
    pool.submit("a")
    assert [one.what for one in heard(pool) if isinstance(one, Said)] == ["a"]
    ray = Ray([False] * 3)
    pool = RayPool[str](ray, ray.hire, 1)
    pool.submit("a")
    with pytest.raises(WorkerError, match=r"Ray's actors do not start \(it does not start\)"):
        list(heard(pool))


def test_an_error_of_ours_is_raised_as_it_was() -> None:
    ray = Ray()
    pool = RayPool[str](ray, ray.hire, 1)
    pool.submit("a?")
    with pytest.raises(ConfigError, match=r"k_keep \(0\) must be > 0"):
        list(heard(pool))


def test_stopped_it_forgets_what_none_has_begun_and_closed_it_lets_all_go() -> None:
    ray = Ray()
    pool = RayPool[str](ray, ray.hire, 1)
    pool.listen()
    for job in ("ab", "cd", "ef"):
        pool.submit(job)
    pool.listen()
    pool.stop()
    list(heard(pool))
    (actor,) = ray.actors
    assert actor.stopped
    assert actor.given == ["ab", "cd"]
    pool.close()
    assert actor.lost
