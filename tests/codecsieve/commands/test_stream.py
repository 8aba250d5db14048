"""The command `stream`: a line of JSON a window, as soon as it is there, and what it says at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import codecsieve as cs
from codecsieve.cli import main

SMALL = ["--window", "8", "--input-size", "56", "--k-keep", "40"]


@pytest.fixture
def clip(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    return make_video(tmp_path / "clip.mkv", frames=21, options={"bf": "0"})


def test_a_line_a_window_and_its_patches(clip: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["stream", str(clip), "--stride", "4", "--out", str(tmp_path / "out"), *SMALL])
    assert told.exit_code == 0, told.output
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    windows = list(cs.stream(clip, window=8, stride=4, input_size=56, k_keep=40))
    assert [line["frames"] for line in lines] == [[0, 7], [4, 11], [8, 15], [12, 19]]
    assert [line["times"][0] for line in lines] == pytest.approx([0, 0.16, 0.32, 0.48])
    assert all(sum(line["kept"]) == 40 and len(line["kept"]) == 8 and line["notes"] == [] for line in lines)
    for line, window in zip(lines, windows, strict=True):
        arrays = np.load(tmp_path / "out" / line["file"])
        for name in ("patches", "positions", "scores", "frame_ids"):
            np.testing.assert_array_equal(arrays[name], getattr(window.selection, name), name)
        np.testing.assert_array_equal(arrays["times"], window.times)
    assert told.stderr == "21 frames, 4 windows; the last 1 frames are in none\n"


@pytest.mark.slow
def test_standard_input_is_read_as_it_comes(clip: Path) -> None:
    """The first windows are there while the sender still has its end of the pipe."""
    command = [sys.executable, "-m", "codecsieve", "stream", "-", "--stride", "8", "--quiet", *SMALL]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(clip.read_bytes())
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["window"] == 0
    process.stdin.close()
    assert json.loads(process.stdout.readline())["window"] == 1
    assert process.wait(30) == 0
    process.stdout.close()


def test_a_source_that_falls_silent_is_a_failure_with_its_windows(clip: Path) -> None:
    told = CliRunner().invoke(main, ["stream", str(clip), "--follow", "--patience", "0.3", *SMALL])
    assert told.exit_code == 1
    assert len(told.stdout.splitlines()) == 7
    assert "clip.mkv: nothing came for 0.3 s" in told.stderr


@pytest.mark.parametrize("option", ["--num-frames", "--spread"])
def test_options_that_choose_frames_are_not_there(option: str, clip: Path) -> None:
    assert CliRunner().invoke(main, ["stream", str(clip), option, "8"]).exit_code == 2
