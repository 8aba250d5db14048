"""Streams at so many frames a second: which frames are taken, by their times, and that no more is different."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import codecsieve as cs
from codecsieve.cli import main

MakeVideo = Callable[..., Path]
SMALL: dict[str, Any] = {"input_size": 56, "k_keep": 40}


def at_or_after(milliseconds: list[int], fps: float) -> list[int]:
    """The definition, frame by frame: the first one at or after each k / fps, but for a tick of the clock, once."""
    taken = []
    for k in itertools.count():
        due = 1000 * k / fps
        found = next((number for number, time in enumerate(milliseconds) if time - milliseconds[0] >= due - 1), None)
        if found is None:
            return sorted(set(taken))
        taken.append(found)


def frames_of(path: Path, **options: Any) -> list[int]:
    return [
        int(window.selection.frame_ids[0]) for window in cs.stream(path, window=1, **SMALL | {"k_keep": 1}, **options)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mkv", "libx264", {"g": "12", "bf": "3"}),
        (".ts", "libx264", {"g": "12", "bf": "0"}),
        (".mp4", "mpeg4", {"g": "10", "bf": "2"}),
        (".webm", "libvpx-vp9", {"g": "20", "deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_a_rate_that_divides_the_sources_is_one_in_so_many(
    suffix: str, codec: str, options: dict[str, str], make_video: MakeVideo, tmp_path: Path
) -> None:
    """At 30/s, whose frames have no whole milliseconds, in clocks of milliseconds and finer ones."""
    path = make_video(tmp_path / f"a{suffix}", codec, 48, (128, 96), options, rate=30)
    for every in (1, 2, 3, 5):
        by_rate = list(cs.stream(path, window=4, stride=2, fps=30 / every, **SMALL))
        counted = list(cs.stream(path, window=4, stride=2, every=every, **SMALL))
        assert len(by_rate) == len(counted) > 0
        for one, other in zip(by_rate, counted, strict=True):
            for name in ("frame_ids", "indices", "scores", "slot_scores", "patches"):
                np.testing.assert_array_equal(getattr(one.selection, name), getattr(other.selection, name), name)
            np.testing.assert_array_equal(one.times, other.times)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_of_a_variable_rate_the_first_frame_at_or_after_each_mark(
    seed: int, make_video: MakeVideo, tmp_path: Path
) -> None:
    random = np.random.default_rng(seed)
    steps = random.choice([7, 20, 33, 41, 55, 130, 610], 39)
    times = [0, *np.cumsum(steps).tolist()]
    path = make_video(tmp_path / "a.mkv", frames=40, size=(128, 96), times=times, options={"bf": str(seed % 3)})
    for fps in (2, 7.5, 10, 23.976, 60):
        expected = at_or_after(times, fps)
        assert frames_of(path, fps=fps) == expected
    assert frames_of(path, fps=1000) == list(range(40)), "of more marks than frames every frame is taken once"


@pytest.mark.parametrize("signals", ["auto", "search"])
def test_a_window_keeps_the_best_of_the_frames_that_were_taken(
    signals: str, make_video: MakeVideo, tmp_path: Path
) -> None:
    """Scored and cut as in any window that they are in; kept, the highest scores of all."""
    times = [0, 40, 55, 130, 170, 200, 420, 430, 440, 480, 610, 650, 700, 705, 760, 800]
    path = make_video(tmp_path / "a.mkv", frames=16, size=(128, 96), times=times, options={"bf": "2"})
    options = {"signals": signals, "scale": "slot", "input_size": 56}
    alone = [window.selection for window in cs.stream(path, window=1, k_keep=16, **options)]
    frames = at_or_after(times, 10)
    (window,) = cs.stream(path, window=len(frames), k_keep=40, fps=10, **options)
    kept = window.selection
    assert kept.frame_ids.tolist() == frames
    np.testing.assert_allclose(window.times, np.array(times)[frames] / 1000)
    scores = np.stack([alone[frame].slot_scores[0] for frame in frames])
    np.testing.assert_array_equal(kept.slot_scores, scores)
    best = np.sort(np.argsort(-scores.ravel(), kind="stable")[:40])
    assert kept.indices.tolist() == best.tolist()
    patches = np.concatenate([alone[frame].patches for frame in frames])
    np.testing.assert_array_equal(kept.patches, patches[best])


def test_frames_that_are_not_taken_get_no_signals_where_none_is_held_back(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codecsieve.codec import decoder_signals

    made: list[int] = []
    make = decoder_signals.make_signals
    monkeypatch.setattr(decoder_signals, "make_signals", lambda *given: made.append(1) or make(*given))
    path = make_video(tmp_path / "a.ts", frames=50, options={"g": "12", "bf": "0"})
    assert len(frames_of(path, fps=5)) == 10
    assert len(made) <= 10


def test_where_the_clock_goes_back_it_is_counted_from_there(make_video: MakeVideo, tmp_path: Path) -> None:
    part = make_video(tmp_path / "a.ts", frames=12, options={"bf": "0"}).read_bytes()
    (tmp_path / "twice.ts").write_bytes(part + part)
    assert frames_of(tmp_path / "twice.ts", fps=5) == [0, 5, 10, 12, 17, 22]


def test_without_times_there_is_no_rate(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.264", frames=24)
    with pytest.raises(cs.VideoError, match=r"a\.264: its pictures have no times that fps could go by; say every"):
        frames_of(path, fps=5)


def test_both_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(cs.ConfigError, match=r"fps \(5\) and every \(2\) both say which frames are taken"):
        cs.stream(tmp_path / "a.mkv", fps=5, every=2)
    with pytest.raises(cs.ConfigError, match=r"fps \(0\.0\) must be > 0"):
        cs.stream(tmp_path / "a.mkv", fps=0.0)


def test_the_command_has_it(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=30)
    told = CliRunner().invoke(
        main, ["stream", str(path), "--fps", "10", "--window", "4", "--input-size", "56", "--k-keep", "40", "--quiet"]
    )
    assert told.exit_code == 0, told.output
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert lines[0]["frames"] == [0, 8]
    assert lines[0]["times"] == pytest.approx([0, 0.32])
