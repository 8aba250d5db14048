"""The comparison with other people's tools: published pruning by its definition, outcomes of videos, tables."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import codecsieve as cs
from benchmarks.common import RESULTS
from benchmarks.compare import run, table
from benchmarks.compare.children import Outcome, each_video, side_by_side
from benchmarks.compare.pruning import evs_pixels, evs_tokens, vidcom2, whole_shares
from benchmarks.compare.shown import FullDecode, box_means, wrong_frames
from benchmarks.compare.speed import clips_for_speed
from benchmarks.compare.tools import INSIDE, TOOLS, Tool, install_all
from codecsieve.errors import ConfigError

PUBLISHED = RESULTS / "compare.json"

# --- pruning


def test_evs_keeps_the_first_frame_and_the_patches_that_changed_most_from_one_frame_to_the_next() -> None:
    pictures = np.zeros((3, 3, 4, 4), np.uint8)  # 2x2 patches of 2 px
    pictures[1, :, :2, 2:] = 9  # patch 1 of frame 1 appears: 3 channels x 4 px x 9 = 108
    pictures[2] = pictures[1]
    pictures[2, 0, 2, 0] = 200  # patch 2 of frame 2: 200
    assert evs_pixels(pictures, 2, 5).tolist() == [0, 1, 2, 3, 2 * 4 + 2]
    assert evs_pixels(pictures, 2, 6).tolist() == [0, 1, 2, 3, 4 + 1, 2 * 4 + 2]
    assert evs_pixels(pictures, 2, 2).tolist() == [0, 1]


def test_evs_on_tokens_goes_by_direction_not_by_length() -> None:
    tokens = np.ones((2, 3, 2))
    tokens[1, 0] *= 7  # the same direction
    tokens[1, 2] = [1, -1]  # a right angle
    assert evs_tokens(tokens, 4).tolist() == [0, 1, 2, 3 + 2]


def test_vidcom2_is_its_equations() -> None:
    slots, count, budget = 5, 6, 13
    tokens = np.random.default_rng(3).normal(size=(slots, count, 4)) + 1

    def similarity(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / math.sqrt(one @ one) / math.sqrt(other @ other))

    video = sum(token for frame in tokens for token in frame) / (slots * count)  # equation 3
    frame_of = [frame.sum(axis=0) / count for frame in tokens]  # 7
    in_video = [[-similarity(token, video) for token in frame] for frame in tokens]  # 4
    frames = [sum(own) / count for own in in_video]
    powers = [math.exp((own - max(frames)) / 0.01) for own in frames]
    ratio = budget / (slots * count)
    parts = [ratio * (1 + power / (sum(powers) + 1e-8) - 1 / slots) for power in powers]  # 5, 6
    kept = vidcom2(tokens, budget)
    for slot in range(slots):
        own = kept[kept // count == slot] - slot * count
        assert abs(len(own) - parts[slot] * count) < 1
        unique = [in_video[slot][m] - similarity(tokens[slot][m], frame_of[slot]) for m in range(count)]  # 8, 9
        assert own.tolist() == sorted(sorted(range(count), key=lambda m: -unique[m])[: len(own)])  # 10
    assert len(kept) == budget


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=12).flatmap(
        lambda weights: st.tuples(st.just(weights), st.integers(0, 7 * len(weights)))
    )
)
def test_whole_shares_sum_up_and_none_is_above_the_most(case: tuple[list[float], int]) -> None:
    weights, total = case
    shares = whole_shares(np.array(weights), total, 7)
    assert shares.sum() == total
    assert shares.min() >= 0
    assert shares.max() <= 7


# --- frames


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, make_video: Any) -> Path:
    made: Path = make_video(tmp_path_factory.mktemp("videos") / "pan.mp4", frames=80, moving="pan")
    return made


def test_means_of_boxes_are_those_of_their_samples_and_of_parts_of_them() -> None:
    pictures = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    boxes = np.array([[0, 0, 1, 1], [0.25, 0, 0.5, 0.25], [0.125, 0, 0.375, 0.25]])
    assert box_means(pictures, boxes).tolist() == [[7.5, 23.5], [1, 17], [0.5, 16.5]]


@pytest.mark.slow
def test_frames_that_are_shown_as_others_are_found_out(video: Path) -> None:
    decode = FullDecode.of(video)
    clip = cs.sieve(video)
    sys.path.insert(0, str(INSIDE))
    try:
        from run_codecsieve import Sieved, shown
    finally:
        sys.path.remove(str(INSIDE))
    parts = shown(Sieved(clip))
    frames = len(np.unique(parts.frames))
    assert wrong_frames(parts.frames, parts.boxes, parts.means, decode) == (0, frames)
    wrong, _ = wrong_frames(parts.frames + 1, parts.boxes, parts.means, decode)
    assert wrong > frames / 2
    assert wrong_frames(parts.frames + 1000, parts.boxes, parts.means, decode) == (frames, frames)


# --- processes

SCRIPT = """
import os, sys, time
sys.path.insert(0, {inside!r})
from dataclasses import dataclass
from loop import NothingCameError, main

@dataclass
class Result:
    given: int = 5

def run(video, folder):
    (folder / "out").write_bytes(b"four")
    if "refuse" in video:
        raise ValueError("not that one")
    if "nothing" in video:
        raise NothingCameError("no motion")
    if "crash" in video:
        os.abort()
    if "hang" in video:
        time.sleep(60)
    return Result()

main(run, lambda result: None)
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    script = tmp_path / "tool.py"
    script.write_text(SCRIPT.format(inside=str(INSIDE)))
    return [sys.executable, str(script)]


@pytest.mark.slow
def test_every_video_has_an_outcome_whatever_a_tool_does_with_those_before(tmp_path: Path, command: list[str]) -> None:
    videos = ["one", "refuse", "crash", "two", "nothing", "hang", "three"]
    told: list[str] = []

    def progress(video: str, outcome: Outcome) -> None:
        told.append(video)

    found = each_video(command, os.environ, {"mode": "try"}, videos, tmp_path, 3, progress)
    assert told == videos
    assert [found[video].state for video in videos] == ["ok", "refused", "crashed", "ok", "nothing", "hung", "ok"]
    assert found["one"].told["bytes"] == 9
    assert found["refuse"].reason == "ValueError: not that one"
    assert found["crash"].reason.startswith("SIGABRT")


def test_a_tool_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text("import a_module_that_nobody_has")
    with pytest.raises(ConfigError, match=r"could not be started: exit status 1: ModuleNotFoundError.*nobody_has"):
        each_video(
            [sys.executable, str(tmp_path / "tool.py")], os.environ, {"mode": "try"}, ["one"], tmp_path, 9, print
        )


def test_speed_counts_what_all_processes_do_after_their_first_look(tmp_path: Path, command: list[str]) -> None:
    runs = side_by_side(command, os.environ, ["one", "two", "three"], tmp_path, processes=2, rounds=2, limit=30)
    assert [(made.clips, made.bytes) for made in runs] == [(6, 54)] * 2
    assert all(made.seconds > 0 and made.peak > 1e6 for made in runs)
    with pytest.raises(ConfigError, match="exit status 1: ValueError: not that one"):
        side_by_side(command, os.environ, ["one", "refuse"], tmp_path, processes=2, rounds=1, limit=30)


def test_speed_is_of_clips_that_every_tool_that_works_takes() -> None:
    took = {"state": "ok", "seconds": 1.0}
    rows: dict[str, Any] = {
        "one": {"a": took, "b": took, "c": {"state": "ok", "seconds": 99.0}, "d": took},
        "two": {"a": took, "b": {"state": "refused", "seconds": None}, "c": took, "d": took},
        "three": "not installed",
    }
    assert clips_for_speed(rows, {"d": 5, "a": 9, "b": 7, "c": 7}) == ["a", "d"]


# --- tables


def figures_of(tools: dict[str, Any]) -> dict[str, Any]:
    """One video, and what each tool does with it: a row, or why there is none."""
    speed = {
        "clips": 2,
        "clips a second": 3.14159,
        "processor seconds a clip": 0.5,
        "peak MB": 1234.5,
        "MB a clip": 1.2,
    }
    return {
        "machine": {"date": "2026-01-01", "cores": 2, "processor": "one"},
        "processes": 2,
        "seconds": {"videos": 60},
        "tools": {
            name: {"does": "something", "packages": [f"{name}==1"], "speed": own if isinstance(own, str) else speed}
            for name, own in tools.items()
        },
        "speed clips": ["a.mp4"],
        "videos": [{"video": "a.mp4", "codec": "h264", "tools": tools}],
        "accuracy": {
            "clips": 2,
            "classes": 2,
            "rows": [
                {"name": "worse", "budget": 98, "accuracy": 0.5, "se": 0.1, "under contrast": [0.25, 0.1]},
                {"name": "codecsieve, contrast", "budget": 98, "accuracy": 0.75, "se": 0.1},
                {"name": "absent", "reason": "not installed"},
            ],
        },
    }


OK = {"state": "ok", "reason": "", "seconds": 1.0, "bytes": 1, "wrong": 3, "frames": 60}
REFUSED = {"state": "refused", "reason": "ValueError: a.mp4 is too odd", "wrong": None, "frames": None}


def test_a_tool_that_failed_is_a_row_with_its_reason() -> None:
    figures = figures_of({"good": OK, "bad": REFUSED, "absent": "not installed: no such package"})
    _, rows = table.summary(figures)
    assert rows[0] == ["good", "3.14", "0.5", "1,234", "1 of 1", "3 of 60 (1 video)", "1.2"]
    assert rows[1][4:6] == ["0 of 1", "shows none"]
    assert rows[2][:2] == ["absent", "not measured: not installed: no such package"]
    assert table.by_video(figures)[1] == [["a.mp4", "h264", "yes, 3 of 60 wrong", "refused", "not measured"]]
    assert ["bad", "refused", "1", "ValueError: VIDEO is too odd"] in table.reasons(figures)[1]
    assert table.accuracy(figures)[1] == [
        ["codecsieve, contrast", "75.0", ""],
        ["worse", "50.0", "**+25.0 ± 10.0**"],
        ["absent", "not measured: not installed", ""],
    ]


def test_the_figures_of_a_document_are_put_in_place_of_those_before(tmp_path: Path) -> None:
    document = tmp_path / "compare.md"
    document.write_text(f"# Title\n\n{table.BEGIN}\nold\n{table.END}\n\nend\n")
    figures = figures_of({"good": OK})
    for _ in range(2):
        table.publish_in(document, figures)
    figures_now = f"{table.BEGIN}\n\n{table.PICTURE}\n\n{table.markdown(figures)}\n\n{table.END}"
    assert document.read_text() == f"# Title\n\n{figures_now}\n\nend\n"


@pytest.mark.skipif(not PUBLISHED.exists(), reason="nothing is published: make compare VIDEOS=... PUBLISH=1")
def test_the_document_shows_the_result_that_is_kept() -> None:
    figures = json.loads(PUBLISHED.read_text())
    assert table.markdown(figures) in run.DOCUMENT.read_text()
    assert CliRunner().invoke(run.main, ["--table"]).output == table.markdown(figures) + "\n"
    assert list(figures["tools"]) == [tool.name for tool in TOOLS]


@pytest.mark.slow
def test_a_package_that_cannot_be_installed_is_a_reason(tmp_path: Path) -> None:
    tool = Tool("absent", "run_absent.py", "nothing", (f"{tmp_path}/absent-1.0.tar.gz",))
    reason = install_all((tool,), tmp_path)["absent"]
    assert isinstance(reason, str)
    assert reason.startswith("not installed:")


@pytest.mark.slow
def test_the_command_measures_what_is_here_and_nothing_twice(tmp_path: Path, video: Path) -> None:
    command = ["--videos", str(video.parent), "--work", str(tmp_path / "work"), "--only", "codecsieve"]
    first = CliRunner().invoke(run.main, command)
    assert first.exit_code == 0, first.output
    assert "codecsieve: pan.mp4: ok" in first.output
    assert "1 of 1" in first.output
    second = CliRunner().invoke(run.main, command)
    assert second.exit_code == 0, second.output
    assert "videos: as measured before" in second.output
    assert "pan.mp4: ok" not in second.output


def test_the_command_knows_its_tools() -> None:
    done = CliRunner().invoke(run.main, ["--videos", str(INSIDE), "--only", "another"])
    assert done.exit_code == 2
    assert "no such tool: another" in done.output
