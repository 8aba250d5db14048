"""What is tried with caches in an object store, one trial at a time: see `stores`, which chooses, counts and tells."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.outcome import FaultError, Tried, judge
from benchmarks.faults.s3_line import Fault, Line
from benchmarks.faults.store_clips import (
    CONFIG,
    LAYOUT,
    PARTS,
    act_hastily,
    act_on,
    check_whole,
    clip_of,
    content,
    ids_of,
    published,
    record_of,
    write,
)
from codecsieve.cache import CacheWriter, Part, verify_cache
from codecsieve.cache.layout import SHARD_CLIPS

BUCKET = "codecsieve"
WRITERS = 4
CLIPS = 150
RACES = 20
ACTS = ("compact", "drop", "merge", "part")
KINDS = {
    f"{WRITERS} writers, line fails": 20,
    f"{WRITERS} writers, each killed": 50,
    f"2 writers race for a shard, {RACES} times": 10,
    **{f"{act} killed": 100 for act in ACTS},  # as many as there are changes, at most
    "any order of these": 40,
}
"""Trials of each kind."""
_FAULTS: tuple[Fault, ...] = ("500", "late 500", "slow", "cut", "lost")
FAILING = 0.1  # of requests that go wrong
_PATIENCE = 240.0  # seconds
_CHANGES = ("PUT", "POST", "DELETE")
_processes = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class StoreTrial:
    """One of a kind."""

    seed: int
    kind: str
    number: int

    @property
    def id(self) -> str:
        """What repeats it, but for the chance of an instant."""
        return f"stores/{self.seed}/{self.kind.replace(',', '').replace(' ', '-')}/{self.number}"

    def random(self) -> np.random.Generator:
        """Its own chance."""
        return np.random.default_rng([self.seed, list(KINDS).index(self.kind), self.number])


class Scene:
    """What trials share: the store, and how long writing a cache takes there."""

    def __init__(self, line: Line) -> None:
        self.line, self._named = line, f"{os.getpid()}-{int(time.time())}"
        self._numbers = iter(range(1 << 30))
        self._changes: dict[str, int] = {}

    @cached_property
    def seconds(self) -> float:
        """That writers need for a cache, undisturbed."""
        for _ in range(2):  # in the first, things are imported
            url, began = self.new(), time.monotonic()
            _run_all([(write, (url, ids_of(range(CLIPS))))] * WRITERS)
        return time.monotonic() - began

    def new(self) -> str:
        """A URL where nothing is."""
        return f"s3://{BUCKET}/{self._named}/{next(self._numbers)}"

    def begin(self, act: str) -> tuple[str, list[str], str]:
        """A cache for an act, the clips that it is about, and the cache beside it."""
        url, other = self.new(), self.new()
        if act == "merge":
            write(other, ids_of(range(60, 140)))
        write(url, ids_of(range(100)))
        return url, ids_of({"drop": range(10, 80, 23), "part": range(200)}.get(act, range(0))), other

    def changes(self, act: str) -> int:
        """How many an act makes."""
        if act not in self._changes:
            url, ids, other = self.begin(act)
            self.line.log.clear()
            act_on(url, act, ids, other)
            self._changes[act] = sum(_is_change(method, path) for method, path, _ in self.line.log)
        return self._changes[act]

    @contextmanager
    def failing(self, random: np.random.Generator) -> Iterator[None]:
        """Inside, the line does."""

        def fault(method: str, path: str) -> Fault:
            return _FAULTS[random.integers(len(_FAULTS))] if random.random() < FAILING else ""

        self.line.fault = fault
        try:
            yield
        finally:
            self.line.fault = lambda method, path: ""


def try_store(scene: Scene, trial: StoreTrial, folder: Path) -> Tried:
    began, kind = time.monotonic(), trial.kind
    attacks: dict[str, Callable[[Scene, StoreTrial, Path], str]] = {
        "line fails": _fail, "each killed": _kill_writers, "race": _race, "any order": _any_order,
    }  # fmt: skip
    attack = next((attack for words, attack in attacks.items() if words in kind), _kill_act)
    verdict = judge(lambda: attack(scene, trial, folder), [f"s3://{BUCKET}"])
    return Tried(trial.id, kind, kind, verdict, time.monotonic() - began)


def _fail(scene: Scene, trial: StoreTrial, folder: Path) -> str:
    """Two writers of all clips, and two of a half each, of which some are the same."""
    url, ids = scene.new(), ids_of(range(CLIPS))
    with scene.failing(trial.random()):
        _run_all([(write, (url, ids)), (write, (url, ids)), (write, (url, ids[:90])), (write, (url, ids[60:]))])
    check_whole(url, ids)
    return "whole"


def _kill_writers(scene: Scene, trial: StoreTrial, folder: Path) -> str:
    """Each at an instant of its own; then one goes on."""
    url, ids, random = scene.new(), ids_of(range(CLIPS)), trial.random()
    running = [_start(write, (url, random.permutation(ids).tolist())) for _ in range(WRITERS)]
    began, instants = time.monotonic(), random.uniform(0, 1.5 * scene.seconds, WRITERS)
    with scene.failing(random):
        for place in np.argsort(instants):
            time.sleep(max(0.0, instants[place] - (time.monotonic() - began)))
            running[place].kill()
            running[place].join()
    codes = {process.exitcode for process in running}
    if not codes <= {0, -signal.SIGKILL}:
        raise FaultError("crashed", f"{url}: writers ended with {codes}")
    known = published(url)
    write(url, ids)
    check_whole(url, ids)
    if not known <= set(content(url)):
        raise FaultError("lost", f"{url}: published, and gone")
    return f"{len(known)} of {len(ids)} clips were in"


def _race(scene: Scene, trial: StoreTrial, folder: Path) -> str:
    """Two that know of no part of the index put their shards: whoever comes second keeps what is there."""
    url, ids = scene.new(), ids_of(range(RACES * SHARD_CLIPS))
    writers = [CacheWriter.open(url, LAYOUT, CONFIG) for _ in range(2)]
    with writers[0], writers[1], ThreadPoolExecutor(2) as threads:
        for writer in writers:
            writer.plan(ids)

        def put(which: int, shard: int) -> Any:
            mine = ids[SHARD_CLIPS * shard :][which : which + 2]  # one clip that both have, and one of its own
            writers[which].write_shard(shard, {i: clip_of(i) for i in mine}, [record_of(i) for i in mine])
            return writers[which]._parts[shard]

        for shard in range(RACES):
            one, other = threads.map(put, (0, 1), (shard, shard))
            longer, shorter = (one, other) if len(one) > len(other) else (other, one)
            if not set(map(str, shorter.to_pylist())) < set(map(str, longer.to_pylist())):
                raise FaultError("lost", f"{url}: shard {shard}: {one.to_pylist()} {other.to_pylist()}")
    wanted = {clip_id for shard in range(RACES) for clip_id in ids[SHARD_CLIPS * shard :][:3]}
    if published(url) != wanted or set(content(url)) != wanted:
        raise FaultError("lost", f"{url}: {len(content(url))} of {len(wanted)} clips")
    return "whole"


def _kill_act(scene: Scene, trial: StoreTrial, folder: Path) -> str:
    """Before its change of that number; then the same again, and it comes to what it does undisturbed."""
    act, number = trial.kind.partition(" ")[0], trial.number
    url, ids, other = scene.begin(act)
    seen = iter(range(1 << 30))
    process = _processes.Process(target=act_hastily, args=(url, act, ids, other))

    def fault(method: str, path: str) -> Fault:
        if _is_change(method, path) and next(seen) == number:
            process.kill()
            return "500"
        return ""

    scene.line.fault = fault
    process.start()
    process.join(_PATIENCE)
    scene.line.fault = lambda method, path: ""
    if process.exitcode != -signal.SIGKILL:
        return f"it had fewer changes, and ended with {process.exitcode}"
    if act != "drop" and not set(ids_of(range(100))) <= published(url):
        raise FaultError("lost", f"{url}: published, and gone")
    again = _start(act_hastily, (url, act, ids, other))
    again.join(_PATIENCE)
    if again.exitcode:
        raise FaultError("crashed", f"{url}: done again, it ended with {again.exitcode}")
    wanted = set(ids_of(range(100)))
    if act == "part":
        for part in range(1, PARTS + 1):
            write(url, ids, Part(part, PARTS))
    check_whole(
        url, {"drop": wanted - set(ids), "merge": wanted | set(ids_of(range(60, 140)))}.get(act, wanted | {*ids})
    )
    return f"before change {number} of {scene.changes(act)}"


def _any_order(scene: Scene, trial: StoreTrial, folder: Path) -> str:
    """Whatever is done in whatever order: the bucket has the clips that the folder has."""
    random, ids = trial.random(), ids_of(range(CLIPS))
    acts = [("write", ids[:10])]
    for _ in range(int(random.integers(1, 7))):
        act = str(random.choice(["write", *ACTS]))
        count = int(random.integers(1, {"write": 90, "merge": 30, "drop": 6}.get(act, 2)))
        acts.append((act, ids[:130] if act == "part" else random.choice(ids, count, replace=False).tolist()))
    url, near = scene.new(), folder / scene.new().rpartition("/")[2]
    for place in (url, near):
        for number, (act, told) in enumerate(acts):
            beside = f"{place}-{number}"
            if act == "merge":
                write(beside, told)
            if act == "write":
                write(place, told)
            else:
                act_on(place, act, told, beside)
    if content(url) != content(near) or verify_cache(url) != verify_cache(near):
        raise FaultError("wrong", f"{url} is not {near} after {[act for act, _ in acts]}")
    return ", ".join(act for act, _ in acts)


def _is_change(method: str, path: str) -> bool:
    return method in _CHANGES and "/.lock" not in path


def _start(act: Callable[..., None], told: tuple[Any, ...]) -> Any:
    process = _processes.Process(target=act, args=told)
    process.start()
    return process


def _run_all(jobs: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    """Run each in a process of its own, at once. Raises FaultError where one fails."""
    running = [_start(act, told) for act, told in jobs]
    for process in running:
        process.join(_PATIENCE)
    codes = [process.exitcode for process in running]
    for process in running:
        process.kill()
    if codes != [0] * len(running):
        raise FaultError("hung" if None in codes else "crashed", f"writers ended with {codes}")
