"""Which videos each tool takes, and whether what it then shows is of the frames that it says."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare.children import Outcome, each_video
from benchmarks.compare.shown import FullDecode, wrong_frames
from benchmarks.compare.tools import Installed
from codecsieve.codec.packets import open_source
from codecsieve.errors import CodecsieveError, ConfigError
from codecsieve.pipelines.inputs.clips import read_inputs

LIMIT = 60.0
"""Seconds a video; whoever needs more is taken to hang."""

Row = dict[str, Any]
"""A video's, of a tool: `state`, `reason`, `seconds`, `bytes`, `wrong` and `frames`, both None without pictures."""


def find_videos(folders: Sequence[Path]) -> list[str]:
    """Every video of some folders, absolute, by folder and name."""
    return [str(Path(request.path).absolute()) for request in read_inputs([str(folder) for folder in folders])]


def describe_videos(videos: Sequence[str], processes: int) -> dict[str, dict[str, Any]]:
    """`codec`, and about how many `pixels` there are in all frames, of every video."""
    with ProcessPoolExecutor(processes) as pool:
        return dict(zip(videos, pool.map(_describe, videos), strict=True))


def _describe(video: str) -> dict[str, Any]:
    try:
        with open_source(video) as source:
            facts = source.facts
    except CodecsieveError:
        return {"codec": "", "pixels": 0}
    return {"codec": facts.codec, "pixels": round(facts.width * facts.height * facts.fps * facts.seconds)}


def try_tools(
    tools: Mapping[str, Installed | str],
    videos: Sequence[str],
    processes: int,
    say: Callable[[str], None],
) -> dict[str, dict[str, Row] | str]:
    """What each tool does with each video; by its name and the video's path, or the reason why it does nothing."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-compare-") as folder:

        def one(name: str, tool: Installed | str) -> dict[str, Outcome] | str:
            if isinstance(tool, str):
                return tool
            own = Path(folder) / name
            own.mkdir()
            try:
                said = partial(_say, say, name)
                return each_video(tool.command, tool.environment, {"mode": "try"}, videos, own, LIMIT, said)
            except ConfigError as error:
                return str(error)

        with ThreadPoolExecutor(processes) as pool:
            found = dict(zip(tools, pool.map(one, tools, tools.values()), strict=True))
        say("a full decode of every video, to hold what was shown against")
        working = {name: own for name, own in found.items() if not isinstance(own, str)}
        by_video = {video: {name: own[video] for name, own in working.items()} for video in videos}
        with ProcessPoolExecutor(processes) as decoding:
            rows = dict(zip(videos, decoding.map(_rows_of, videos, by_video.values()), strict=True))
    return {
        name: own if isinstance(own, str) else {video: rows[video][name] for video in videos}
        for name, own in found.items()
    }


def _say(say: Callable[[str], None], name: str, video: str, outcome: Outcome) -> None:
    say(f"{name}: {Path(video).name}: {outcome.state} {outcome.reason}".rstrip())


def _rows_of(video: str, outcomes: dict[str, Outcome]) -> dict[str, Row]:
    """The row of one video for each tool."""
    try:
        decode: FullDecode | None = FullDecode.of(video)
    except CodecsieveError:
        decode = None
    made = {}
    for name, outcome in outcomes.items():
        row: Row = {"state": outcome.state, "reason": outcome.reason, "wrong": None, "frames": None}
        row |= {key: outcome.told.get(key) for key in ("seconds", "bytes")}
        if outcome.told.get("shown") and decode is not None:
            with np.load(outcome.told["shown"], allow_pickle=False) as parts:
                row["wrong"], row["frames"] = wrong_frames(parts["frames"], parts["boxes"], parts["means"], decode)
        made[name] = row
    return made
