"""Trainings killed at an instant of their own, over their whole length; gone on with, they come to the same bits.

A checkpoint is written after every step, so that many are killed while one is. Under torchrun all processes are killed
at once, or one worker of them, which ends the others. Then the same command runs to its end, and encoder, last
checkpoint and losses are compared, bit for bit, with those of a training that was left alone.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.common import show
from benchmarks.training.ranks import losses
from codecsieve.pipelines.train.log import LOG
from codecsieve.pipelines.train.run import LOCK

if TYPE_CHECKING:
    from benchmarks.training.promises import Scene

STEPS = 12
OPTIONS = {"encoder": "tiny", "steps": STEPS, "batch_size": 4, "save_every": 1, "keep": 2, "concept_rate": 0.5}
TRIALS = {1: 10, 2: 4}
"""How many trainings are killed, by their number of processes."""
_LIMIT = 120.0


@dataclass(frozen=True)
class Killed:
    """One training. whom: was killed; at: when, in seconds from its start; steps: it had logged by then; writing:
    whether half a checkpoint lay there; same: whether it came to the same; left: files that are in its folder, and not
    in that of a training that was left alone.
    """

    processes: int
    whom: str
    at: float
    steps: int
    writing: bool
    same: bool
    left: list[str]


def try_kills(scene: Scene) -> dict[str, Any]:
    """Kill trainings of one process, and of two."""
    random, tried, lengths = np.random.default_rng([scene.seed, 1]), [], {}
    for processes, trials in TRIALS.items():
        options = {**OPTIONS, "seed": scene.seed}
        began = time.monotonic()
        whole = scene.train(f"whole-{processes}", options, processes)
        lengths[processes] = time.monotonic() - began
        for number in range(trials):
            at = lengths[processes] * (number + random.random()) / trials  # one in each part of the length
            whom = "one worker" if processes > 1 and number % 2 else "all"
            out = scene.folder / f"killed-{processes}-{number}"
            steps, writing = _kill(scene, out, options, processes, whom, at, random)
            scene.train(out.name, options, processes)
            same, left = _compare(whole, out)
            tried.append(Killed(processes, whom, round(at, 2), steps, writing, same, left))
    columns = ["processes", "killed", "tried", "while writing", "same bits", "left something behind"]
    rows = []
    for kind in dict.fromkeys((one.processes, one.whom) for one in tried):
        of = [one for one in tried if (one.processes, one.whom) == kind]
        counts = (sum(map(bool, (getattr(one, name) for one in of))) for name in ("writing", "same", "left"))
        rows.append([*kind, len(of), *counts])
    show("Trainings killed and gone on with", columns, rows)
    return {"options": OPTIONS, "seconds alone": lengths, "killed": [asdict(one) for one in tried]}


def _kill(
    scene: Scene,
    out: Path,
    options: dict[str, Any],
    processes: int,
    whom: str,
    at: float,
    random: np.random.Generator,
) -> tuple[int, bool]:
    """Start a training and kill it; the steps it had logged, and whether it was writing a checkpoint."""
    from benchmarks.training.promises import environment

    command = scene.command(out.name, options, processes)
    with subprocess.Popen(command, env=environment(1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        time.sleep(at)
        launcher = psutil.Process(started.pid)
        workers = launcher.children(recursive=True) if started.poll() is None else []
        everybody = [launcher, *workers]
        doomed = everybody if whom == "all" or not workers else [workers[random.integers(len(workers))]]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        started.wait(_LIMIT)
        _, alive = psutil.wait_procs(workers, _LIMIT)
        if alive:
            raise RuntimeError(f"{len(alive)} processes of {out.name} go on after it was killed")
    log = out / "log.jsonl"
    logged = log.read_text().count('"loss"') if log.exists() else 0
    return logged, any(out.glob("checkpoints/*.partial"))


def _compare(whole: Path, out: Path) -> tuple[bool, list[str]]:
    """Whether encoder, checkpoints and losses are the same, and which files there are besides."""
    ours, others = (
        {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()} for folder in (whole, out)
    )
    kept = [name for name in ours if name not in (LOG, LOCK)]  # which tell seconds, and a process
    same = losses(whole) == losses(out) and all(
        name in others and ours[name].read_bytes() == others[name].read_bytes() for name in kept
    )
    return same, sorted(others.keys() - ours.keys())
