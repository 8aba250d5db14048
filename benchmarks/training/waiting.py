"""The part of its time that a training waits for clips, as its log tells it, on all threads that torch takes.

Clips of a step are read by a thread while the step before is taken; only the first step's have to be waited for, so it
is told apart. Short steps are the hard case: of clips of few tokens.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.common import show
from benchmarks.training.ranks import steps_of
from codecsieve.machine import available_cores

if TYPE_CHECKING:
    from benchmarks.training.promises import Scene

SHARES = {"codec": {}, "codec, frames, collages": {"codec_share": 0.5, "frames_share": 0.25}}
OPTIONS: dict[str, dict[str, Any]] = {"short": {"batch_size": 8, "steps": 60}, "long": {"batch_size": 4, "steps": 8}}
_SHARED = {"encoder": "tiny", "concept_rate": 0.5, "save_every": 1000}


def measure_waiting(scene: Scene) -> dict[str, Any]:
    """Both caches, with codec-selected patches alone and with all three inputs."""
    rows = []
    for cache, options in OPTIONS.items():
        for kind, shares in SHARES.items():
            out = f"waiting-{cache}-{len(shares)}"
            given = {**_SHARED, **options, **shares, "seed": scene.seed}
            first, *rest = steps_of(scene.train(out, given, threads=available_cores(), cache=cache))
            rows.append(
                {
                    "clips": f"{cache}: {kind}",
                    "batch": options["batch_size"],
                    "steps": len(rest),
                    "median step s": statistics.median(step["seconds"] for step in rest),
                    "waited": sum(step["waited"] for step in rest) / sum(step["seconds"] for step in rest),
                    "longest wait s": max(step["waited"] for step in rest),
                    "first step's wait s": first["waited"],
                }
            )
    shown = [[f"{value:.3%}" if name == "waited" else value for name, value in row.items()] for row in rows]
    show("Waiting for clips, the first step apart", list(rows[0]), shown)
    return {"threads": available_cores(), "trainings": rows}
