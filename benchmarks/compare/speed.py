"""How fast each tool is on clips that all of them take: as many processes at once as there are cores, one thread each.

Starting a process and its first look at each clip are not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare.children import side_by_side
from benchmarks.compare.tools import Installed
from benchmarks.compare.videos import Row
from codecsieve.errors import ConfigError

CLIPS = 8
"""Of those that all tools take, those that most is to be decoded of."""
SLOWEST = 6.0
"""Seconds that a tool may have taken for one of them when it was tried: more would not fit the time there is."""
ROUNDS = 1
LIMIT = 180.0
"""Seconds for all that one tool does here."""


def clips_for_speed(rows: Mapping[str, Mapping[str, Row] | str], pixels: Mapping[str, int]) -> list[str]:
    """Videos that each tool which works at all takes, quickly enough, ascending; pixels: to be decoded of each."""
    working = [own for own in rows.values() if not isinstance(own, str)]
    taken = [
        video
        for video in pixels
        if all(own[video]["state"] == "ok" and own[video]["seconds"] <= SLOWEST for own in working)
    ]
    return sorted(sorted(taken, key=lambda video: -pixels[video])[:CLIPS])


def measure_speed(tool: Installed | str, clips: Sequence[str], processes: int) -> dict[str, Any] | str:
    """Figures of one tool, or why there are none."""
    if isinstance(tool, str):
        return tool
    if not clips:
        return "no clip that all tools take"
    with tempfile.TemporaryDirectory(prefix="codecsieve-compare-") as folder:
        try:
            runs = side_by_side(tool.command, tool.environment, clips, Path(folder), processes, ROUNDS, LIMIT)
        except ConfigError as error:
            return str(error)
    count = sum(run.clips for run in runs)
    return {
        "clips": count,
        "clips a second": count / max(run.seconds for run in runs),
        "processor seconds a clip": sum(run.processor for run in runs) / count,
        "peak MB": max(run.peak for run in runs) / 1e6,
        "MB a clip": sum(run.bytes for run in runs) / count / 1e6,
    }
