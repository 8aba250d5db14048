"""Runs that are killed, stopped and interrupted: run again, they come to the bytes of one that never was.

A trial starts a real `codecsieve precompute`, signals its main process, a worker or the whole group at a moment of its
own, and lets it end. If it says 0, the cache must be whole; if not, it must have said why, and the same command again
must make it whole. Nothing may be left behind. How a run is watched is left to `runs`; other mishaps are in `disks`.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import disks
from benchmarks.faults.outcome import Ended, FaultError, Tried, check_ended, judge, raised_in_text
from benchmarks.faults.runs import CLIP_TIMEOUT, CLIPS, Run, check_content, content, make_videos

ACTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "KILL": (("main", "worker", "group"), ("start", "loading", "clip", "sending", "writing", "any")),
    "TERM": (("main", "worker", "group"), ("start", "loading", "clip", "sending", "writing", "any")),
    "INT": (("main", "group"), ("start", "loading", "clip", "sending", "writing", "any")),
    "INT twice": (("main", "group"), ("start", "loading", "clip", "sending", "writing", "any")),
    "STOP": (("worker",), ("loading", "clip", "sending")),
    "STOP, CONT": (("main", "worker", "group"), ("loading", "clip", "sending", "writing")),
}
"""What is done, to whom, and when: before there are workers; while they load; while one has a video open; while their
answers wait to be taken; while the shard is being written; or at any moment of the run."""
_COMBINATIONS = [
    (act, target, moment)
    for act, (targets, moments) in ACTS.items()
    for target in targets
    for moment in moments
    if (target, moment) != ("worker", "start")
]
_IN_PEACE = ("--clip-timeout", "300")
_SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}


@dataclass(frozen=True)
class KillTrial:
    """What is done to one run."""

    seed: int
    number: int

    @property
    def plan(self) -> tuple[str, str, str]:
        """The act, its target, the moment."""
        order = np.random.default_rng([self.seed, 3]).permutation(len(_COMBINATIONS))
        return _COMBINATIONS[order[self.number % len(order)]]

    @property
    def id(self) -> str:
        """What repeats it, but for the moment's chance."""
        return f"kills/{self.seed}/{self.number}/{'-'.join(self.plan).replace(', ', '-').replace(' ', '-')}"


@dataclass(frozen=True)
class Scene:
    """What trials share: the videos, what an undisturbed run makes of them, and its length until there are workers,
    until the first clip, until the end, in seconds.
    """

    folder: Path
    videos: Path
    truth: dict[str, Any]
    lengths: tuple[float, float, float]


def kill_trials(seed: int, count: int) -> Iterator[KillTrial]:
    """So many runs, all acts, targets and moments in turns."""
    for number in range(count):
        yield KillTrial(seed, number)


def try_kills(trials: Sequence[KillTrial | disks.Mishap], at_once: int) -> Iterator[Tried]:
    """Do these trials, so many at once."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-faults-") as scratch, ThreadPoolExecutor(at_once) as pool:
        scene = set_scene(Path(scratch))
        jobs = [pool.submit(_try, scene, trial) for trial in trials]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def set_scene(folder: Path) -> Scene:
    """Make the videos, and let one run go through undisturbed."""
    videos, cache = make_videos(folder / "videos"), folder / "undisturbed"
    for again in (False, True):  # the second is timed: kernels may have to be compiled in the first
        target = cache if again else folder / "first"
        with Run(videos, target, folder, *_IN_PEACE) as run:
            pids = run.wait_for(run.workers)
            loaded = time.monotonic() - run.began
            run.wait_for(run.a_worker_reads)
            reading = time.monotonic() - run.began
            ended = run.end(300)
            lengths = loaded, reading, time.monotonic() - run.began
        if ended.status or not pids:
            raise RuntimeError(f"an undisturbed run ended with {ended.status}: {ended.err}")
    return Scene(folder, videos, content(cache), lengths)


def _try(scene: Scene, trial: KillTrial | disks.Mishap) -> Tried:
    if isinstance(trial, disks.Mishap):
        return disks.try_mishap(scene, trial)
    act, target, moment = trial.plan
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=scene.folder) as mine:
        named = [str(scene.folder), "interrupted"]
        verdict = judge(lambda: _disturb(scene, trial, Path(mine)), named)
    words = f"{act} to {target}: {moment}"
    return Tried(trial.id, f"{act} to {target}", words, verdict, time.monotonic() - began)


def _disturb(scene: Scene, trial: KillTrial, folder: Path) -> str:
    act, target, moment = trial.plan
    random = np.random.default_rng([trial.seed, trial.number, 4])
    cache = folder / "cache"
    with Run(scene.videos, cache, folder) as run:
        pid = _await(run, scene, moment, target, cache, random)
        if pid is None:
            pass  # it was over before there was anybody to signal
        elif act.startswith("INT"):
            _interrupt(run, target, act == "INT twice", random)
        elif act.startswith("STOP"):
            _stop(run, target, pid, act == "STOP, CONT", random)
        else:
            run.send(_SIGNALS[act], None if target == "group" else pid)
        if moment == "sending":  # the main process was stopped for it, to take no answer
            run.send(signal.SIGCONT, run.pid)
        ended = run.end()
    _check_end(ended, act, target, moment, str(scene.folder))
    if ended.status == 0:
        check_content(cache, scene.truth)
        return "went through"
    finish(scene, cache, folder, workers=int(random.choice([0, 0, 2])))
    return f"status {ended.status}, then finished: {ended.err.strip()}"


def finish(scene: Scene, cache: Path, folder: Path, workers: int = 0) -> None:
    """The same run again, to its end: the bytes are those of one that was never disturbed."""
    with Run(scene.videos, cache, folder, *_IN_PEACE, "--retry-failed", workers=workers) as run:
        ended = run.end()
    check_ended(ended, [str(scene.folder)])
    if ended.status:
        raise FaultError("lost", f"run again, it ended with {ended.status}: {ended.err}")
    check_content(cache, scene.truth)


def _await(run: Run, scene: Scene, moment: str, target: str, cache: Path, random: np.random.Generator) -> int | None:
    """Wait for the moment; the process that is then the target: of a group, its leader; None where there is none."""
    loaded, reading, length = scene.lengths
    at = float(random.random())
    if moment == "start":
        time.sleep(at * loaded)
    elif moment == "any":
        time.sleep(at * length)
    elif moment == "loading":
        run.wait_for(run.workers)
        time.sleep(at * (reading - loaded))
    elif moment == "writing":
        run.wait_for(lambda: next(cache.glob("patches/c.*"), None))
        time.sleep(at * 0.02)
    else:
        busy = _await_clip(run, scene, int(at * CLIPS) if moment == "clip" else 0)
        if moment == "sending":
            run.send(signal.SIGSTOP, run.pid)
            run.wait_until_idle(busy or run.pid)  # the workers fill their pipes, and wait in the midst of an answer
        if target == "worker" and busy:
            return busy
    if target == "worker":
        workers = run.wait_for(run.workers)
        return int(random.choice(workers)) if workers else None
    return run.pid


def _await_clip(run: Run, scene: Scene, number: int) -> int | None:
    """Wait until the workers have opened so many videos; who has the last one open."""
    seen: set[tuple[int, str]] = set()
    workers: list[int] = []

    def look() -> int | None:
        if len(workers) < 2:
            workers[:] = run.workers()
        now = run.reading(workers)
        new = now.items() - seen
        seen.update(new)
        return next(iter(new))[0] if new and len(seen) > number else None

    found: int | None = run.wait_for(look)
    return found


def _interrupt(run: Run, target: str, twice: bool, random: np.random.Generator) -> None:
    to = None if target == "group" else run.pid
    run.send(signal.SIGINT, to)
    if twice:
        time.sleep(float(random.choice([0.0, 0.01, 0.1, 0.4])))
        run.send(signal.SIGINT, to)


def _stop(run: Run, target: str, pid: int, go_on: bool, random: np.random.Generator) -> None:
    to = None if target == "group" else pid
    run.send(signal.SIGSTOP, to)
    if go_on:
        time.sleep(float(random.choice([0.3, CLIP_TIMEOUT + 1.5])))
        run.send(signal.SIGCONT, to)


def _check_end(ended: Ended, act: str, target: str, moment: str, folder: str) -> None:
    """Raise FaultError where a run ended as none may that had this done to it."""
    to_main = target in ("main", "group")
    interrupted = to_main and act.startswith(("TERM", "INT"))
    if interrupted and ended.status == -signal.SIGINT and "Traceback" not in ended.err:
        return  # as Python ends where the interrupt met code out of a string, or its way out; a shell says 130, too
    if act in _SIGNALS and to_main and ended.status == -_SIGNALS[act] and _by_right(act, moment):
        return
    if act.startswith("INT") and moment in ("start", "any") and _in_python_itself(ended):
        return
    check_ended(ended, [folder, "interrupted"], (0, 1, 130) if interrupted else (0, 1))


def _by_right(act: str, moment: str) -> bool:
    """Whether a signal may end the main process by itself: always, or before the program is there to take it."""
    return act == "KILL" or moment in ("start", "any")


def _in_python_itself(ended: Ended) -> bool:
    """Whether an interrupt met Python before the program's first line."""
    return "KeyboardInterrupt" in ended.err and raised_in_text(ended.err) is None
