"""The week of a data engineer: labels that come later, more videos, machines that never talk, drops, exports."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from codecsieve.cache import SparseCache, open_cache, verify_cache
from codecsieve.cli import main

pytestmark = pytest.mark.slow

SMALL = ("--num-frames", "3", "--input-size", "28", "--k-keep", "6", "--workers", "2")
MONDAY, LATER, RANGES = 6, 10, 6
"""Videos at first, those that come in the middle of the week, and the clips that each of these is cut into: more than a
shard has room for."""
Exported = Iterator[tuple[str, str | None, bytes]]
"""Of each clip its id, its label and its patches."""


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


def manifest(path: Path, videos: Sequence[Path]) -> Path:
    """Rows of all videos: Monday's whole, later ones in ranges of four frames."""
    rows: list[list[object]] = [["path", "start", "end"]]
    for video in videos:
        if video.stem.isdecimal() and int(video.stem) >= MONDAY:
            rows += [[video, number * 0.16, (number + 1) * 0.16] for number in range(RANGES)]
        else:
            rows.append([video, "", ""])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def from_npz(out: Path) -> Exported:
    for path in out.rglob("*.npz"):
        with np.load(path) as clip:
            known = json.loads(str(clip["metadata"]))
            yield known["id"], known["label"], clip["patches"].tobytes()


def from_webdataset(out: Path) -> Exported:
    import webdataset

    for clip in webdataset.WebDataset([str(path) for path in sorted(out.glob("*.tar"))], shardshuffle=False).decode():
        yield clip["json"]["id"], clip["json"]["label"], clip["patches.npy"].tobytes()


def from_datasets(out: Path) -> Exported:
    import datasets

    for clip in datasets.load_from_disk(str(out / "data")):
        yield clip["id"], clip["label"], np.array(clip["patches"], np.uint8).tobytes()


def from_lance(out: Path) -> Exported:
    import lance

    for clip in lance.dataset(str(out / "clips.lance")).to_table(columns=["id", "label", "patches"]).to_pylist():
        yield clip["id"], clip["label"], bytes(clip["patches"])


READERS = {"npz": from_npz, "webdataset": from_webdataset, "hf": from_datasets, "lance": from_lance}


def as_exported(cache: SparseCache) -> Exported:
    return ((clip.clip_id, clip.label, clip.patches.tobytes()) for clip in cache)


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
    # Thursday: ten videos more, cut into clips, on two machines that never talk; then one cache.
    for number in range(MONDAY, MONDAY + LATER):
        make_video(videos / f"{number}.mp4", seed=number)
    all_videos = [videos / f"{number}.mp4" for number in range(MONDAY + LATER)]
    rows, parts = manifest(tmp_path / "all.csv", all_videos), [tmp_path / "one", tmp_path / "two"]
    for number, part in enumerate(parts, 1):
        run("precompute", rows, "--out", part, "--part", f"{number}/2", *SMALL)
    assert [len(open_cache(part)) for part in parts] == [64, MONDAY + LATER * RANGES - 64]
    merged = tmp_path / "merged"
    run("merge", merged, cache, *parts)
    opened = open_cache(merged)
    assert len(opened) == MONDAY + LATER * RANGES
    assert {clip_id: opened[clip_id].patches.tobytes() for clip_id in first} == first
    assert opened["0.mp4"].label == "run"
    # Friday: three are dropped, a video is gone for good, and a file that never was one is forgotten.
    run("drop", merged, "3.mp4", opened.find("4.mp4"), "--where", "uri like '%/5.mp4'")
    (videos / "6.mp4").unlink()
    (videos / "notes.mp4").write_text("no video")
    kept = [path for path in all_videos if path.stem not in ("3", "4", "5", "6")]
    rows = manifest(tmp_path / "kept.csv", [*kept, videos / "notes.mp4"])
    run("precompute", rows, "--out", merged, *SMALL, status=1)
    (videos / "notes.mp4").unlink()
    rows = manifest(tmp_path / "kept.csv", kept)
    shown = run("precompute", rows, "--out", merged, "--prune", "missing", "--prune", "failed", *SMALL)
    assert re.search(rf"taken out +{RANGES + 1}\b", shown)
    run("compact", merged)
    opened = open_cache(merged)
    assert {Path(uri).name for uri in opened.uris} == {path.name for path in kept}
    assert len(opened) == 3 + (LATER - 1) * RANGES
    assert verify_cache(merged).complete
    assert str(len(opened)) in run("verify", merged)
    # Into the weekend: to whoever trains elsewhere, with what they read by.
    for form, read in READERS.items():
        run("export", merged, tmp_path / form, "--to", form)
        assert sorted(read(tmp_path / form), key=str) == sorted(as_exported(opened), key=str), form
