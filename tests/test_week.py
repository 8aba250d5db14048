"""The week of a data engineer: labels that come later, more videos, machines that never talk, drops, exports."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from codecsieve.cache import open_cache, verify_cache
from codecsieve.cli import main

pytestmark = pytest.mark.slow

SMALL = ("--num-frames", "3", "--input-size", "28", "--k-keep", "6", "--workers", "2")
MONDAY, LATER = 6, 10
"""Videos at first, and those that come in the middle of the week."""


def run(*arguments: str | Path, status: int = 0) -> str:
    """What a command shows."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


def table(path: Path, rows: dict[str, str]) -> Path:
    """A table of labels by file name."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("file", "action"), *rows.items()])
    return path


def test_the_week_of_a_data_engineer(make_video: Callable[..., Path], tmp_path: Path) -> None:
    videos, cache = tmp_path / "videos", tmp_path / "cache"
    videos.mkdir()
    for number in range(MONDAY):
        make_video(videos / f"{number}.mp4", seed=number)
    # Monday: a folder, no labels yet.
    run("precompute", videos, "--out", cache, *SMALL)
    first = {clip.clip_id: clip.patches.tobytes() for clip in open_cache(cache)}
    # Tuesday: labels, with a typo; Wednesday: the typo is mended.
    labels = {f"{number}.mp4": "walk" if number % 2 else "rnu" for number in range(MONDAY)}
    run("label", cache, table(tmp_path / "labels.csv", labels), "--columns", "path=file,label=action")
    assert open_cache(cache).where("label = 'rnu'") == [open_cache(cache).find(f"{n}.mp4") for n in (0, 2, 4)]
    labels = {name: label.replace("rnu", "run") for name, label in labels.items()}
    run("label", cache, table(tmp_path / "labels.csv", labels), "--columns", "path=file,label=action")
    assert sorted(open_cache(cache).labels) == ["run", "run", "run", "walk", "walk", "walk"]
    # Thursday: ten videos more, on two machines that never talk, each with a cache of its own; then one cache.
    for number in range(MONDAY, MONDAY + LATER):
        make_video(videos / f"{number}.mp4", seed=number)
    parts = [tmp_path / "one", tmp_path / "two"]
    for number, part in enumerate(parts, 1):
        run("precompute", videos, "--out", part, "--part", f"{number}/2", *SMALL)
    merged = tmp_path / "merged"
    run("merge", merged, cache, *parts)
    opened = open_cache(merged)
    assert len(opened) == MONDAY + LATER
    assert {clip_id: opened[clip_id].patches.tobytes() for clip_id in first} == first
    assert opened["0.mp4"].label == "run"
    # Friday: three are dropped, a video is gone for good, and a file that never was one is forgotten.
    run("drop", merged, "3.mp4", opened.find("4.mp4"), "--where", "uri like '%/5.mp4'")
    (videos / "6.mp4").unlink()
    (videos / "notes.mp4").write_text("no video")
    kept = [videos / f"{number}.mp4" for number in range(MONDAY + LATER) if number not in (3, 4, 5, 6)]
    run("precompute", *kept, videos / "notes.mp4", "--out", merged, *SMALL, status=1)
    (videos / "notes.mp4").unlink()
    shown = run("precompute", *kept, "--out", merged, "--prune", "missing", "--prune", "failed", *SMALL)
    assert re.search(r"taken out +2\b", shown)
    run("compact", merged)
    opened = open_cache(merged)
    assert sorted(Path(uri).name for uri in opened.uris) == sorted(path.name for path in kept)
    assert verify_cache(merged).complete
    assert "12" in run("verify", merged)
    # Into the weekend: to whoever trains elsewhere.
    for form in ("npz", "webdataset"):
        run("export", merged, tmp_path / form, "--to", form)
    exported = {}
    for path in (tmp_path / "npz").rglob("*.npz"):
        with np.load(path) as clip:
            exported[clip["patches"].tobytes()] = path
    assert exported.keys() == {clip.patches.tobytes() for clip in opened}
