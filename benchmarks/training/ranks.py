"""Losses that should be the same: on other numbers of processes, and with the encoder computed in other forms.

Rounding is not the same, since sums are of other parts; a training amplifies it, step by step. How far losses are apart
after one step, ten, and at the end is told, relative to the loss; so is what a change of the number of threads alone
makes of them, which no training is held to.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import show

if TYPE_CHECKING:
    from benchmarks.training.promises import Scene

STEPS, HALF = 200, 100
OPTIONS = {"encoder": "tiny", "steps": STEPS, "batch_size": 8, "save_every": HALF, "keep": 2, "concept_rate": 0.5}
FORM_STEPS = 20
FORMS: dict[str, dict[str, Any]] = {
    "recompute": {"recompute": True},
    "bfloat16": {"precision": "bfloat16"},
    "compile": {"compile": True},
}
BATCHES = 8, 32
"""Clips of a step; the latter is what a training has if it is told nothing."""
_AFTER = (1, 10, 50, 100, 200)


def compare_ranks(scene: Scene) -> dict[str, Any]:
    """Two hundred steps on one process and on two; the second half of them from the other's checkpoint."""
    return {"batches": [_compare_ranks(scene, {**OPTIONS, "batch_size": size}) for size in BATCHES]}


def _compare_ranks(scene: Scene, options: dict[str, Any]) -> dict[str, Any]:
    seeded = {**options, "seed": scene.seed}
    batch, kind = options["batch_size"], options.get("precision", "float32")
    one = scene.train(f"one-{batch}-{kind}", seeded)
    two = scene.train(f"two-{batch}-{kind}", seeded, processes=2)
    threads = scene.train(f"threads-{batch}-{kind}", seeded, threads=2)
    one_two, two_one = _halfway(one, f"one-two-{batch}-{kind}"), _halfway(two, f"two-one-{batch}-{kind}")
    scene.train(one_two.name, seeded, processes=2)
    scene.train(two_one.name, seeded)
    pairs = {
        "1 process, 2": (one, two, 0),
        "1 process, 1 and then 2": (one, one_two, HALF),
        "2 processes, 2 and then 1": (two, two_one, HALF),
        "1 process of 1 thread, of 2": (one, threads, 0),
    }
    rows = [
        {"losses of": name, "from step": start, **_apart(losses(this)[start:], losses(other)[start:])}
        for name, (this, other, start) in pairs.items()
    ]
    _show(f"Losses of {STEPS} steps of {batch} clips in {kind}, apart by", rows)
    return {"options": options, "first and last loss": [losses(one)[0], losses(one)[-1]], "pairs": rows}


def compare_float64(scene: Scene) -> dict[str, Any]:
    """The same, all in float64, where rounding is too small to grow: what is left would be a mistake."""
    return _compare_ranks(scene, {**OPTIONS, "precision": "float64"})


def compare_forms(scene: Scene) -> dict[str, Any]:
    """Some steps of each form against the plain ones."""
    seeded = {**OPTIONS, "seed": scene.seed, "steps": FORM_STEPS}
    plain = losses(scene.train("plain", seeded, threads=2))
    rows = []
    for name, options in FORMS.items():
        began = time.monotonic()
        out = scene.train(name, {**seeded, **options}, threads=2)
        seconds = [event["seconds"] for event in steps_of(out)]
        times = {"first step s": seconds[0], "median step s": sorted(seconds)[len(seconds) // 2]}
        rows.append({"form": name, **_apart(plain, losses(out)), **times, "whole s": time.monotonic() - began})
    _show(f"Losses of {FORM_STEPS} steps in another form, apart from the plain ones by", rows)
    return {"steps": FORM_STEPS, "forms": rows}


def steps_of(out: Path) -> list[dict[str, Any]]:
    """What a training's log says of each step."""
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [event for event in events if "loss" in event]


def losses(out: Path) -> list[float]:
    """A training's losses, step by step."""
    return [event["loss"] for event in steps_of(out)]


def _halfway(out: Path, name: str) -> Path:
    """A training as it was halfway, in a folder of its own beside it."""
    half = out.with_name(name)
    shutil.copytree(out, half)
    shutil.rmtree(half / "encoder")
    shutil.rmtree(half / "checkpoints" / f"step-{STEPS:08d}")
    return half


def _apart(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """The largest relative difference within so many steps, and of all the largest absolute one."""
    apart = [abs(a - b) for a, b in zip(one, other, strict=True)]
    relative = [difference / abs(a) for difference, a in zip(apart, one, strict=True)]
    within = {f"in {steps} steps": max(relative[:steps]) for steps in _AFTER if steps < len(one)}
    return {**within, f"in {len(one)} steps": max(relative), "absolute": max(apart)}


def _show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    show(title, columns, [[row.get(column, "") for column in columns] for row in rows])
