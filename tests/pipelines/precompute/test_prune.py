"""Clips that a run takes out at the end: those whose video is gone and that nobody names, those that failed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import codecsieve as cs
from codecsieve.cache import open_cache, verify_cache
from codecsieve.cli import main
from codecsieve.errors import ConfigError

SMALL = {"num_frames": 2, "input_size": 28, "k_keep": 4, "workers": 0}


@pytest.fixture
def videos(make_video: Callable[..., Path], tmp_path: Path) -> Path:
    """Three videos, and a file that is none."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        make_video(folder / f"{number}.mp4", seed=number)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def cache(videos: Path, tmp_path: Path) -> Path:
    """All of them, tried."""
    cs.precompute(videos, tmp_path / "cache", **SMALL)  # type: ignore[arg-type]
    return tmp_path / "cache"


def names(cache: Path) -> list[str]:
    """The files of all clips that the index lists, failed ones too."""
    return sorted(Path(uri).name for uri in open_cache(cache).index["uri"].to_pylist())


def run(*arguments: str | Path) -> Result:
    options = ("--num-frames", "2", "--input-size", "28", "--k-keep", "4", "--workers", "0")
    given = [str(argument) for argument in ("precompute", *arguments, *options)]
    return CliRunner().invoke(main, given, catch_exceptions=False)


def test_missing_takes_out_what_is_gone_and_not_named(videos: Path, cache: Path) -> None:
    (videos / "1.mp4").unlink()
    (videos / "broken.mp4").unlink()
    summary = cs.precompute(videos, cache, prune=["missing"], **SMALL)  # type: ignore[arg-type]
    assert (summary.pruned, summary.made, summary.complete) == (2, 0, True)
    assert names(cache) == ["0.mp4", "2.mp4"]
    assert verify_cache(cache).complete


def test_missing_leaves_what_is_there_and_what_is_named(videos: Path, cache: Path, tmp_path: Path) -> None:
    gone = open_cache(cache).find("1.mp4")
    (tmp_path / "list.csv").write_text(f"path\n{videos}/1.mp4\n{videos}/2.mp4\n")
    (videos / "1.mp4").unlink()
    summary = cs.precompute(tmp_path / "list.csv", cache, prune="missing", **SMALL)  # type: ignore[arg-type]
    assert summary.pruned == 0
    assert len(names(cache)) == 5  # a file that is gone has another id than when it was there, and failed
    assert gone in open_cache(cache)


def test_missing_leaves_what_cannot_be_looked_at(videos: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    videos.rename(tmp_path / "there" / "videos")
    (tmp_path / "videos").symlink_to(tmp_path / "videos")  # a loop, so that looking fails otherwise than by absence
    one = tmp_path / "there" / "videos" / "0.mp4"
    assert cs.precompute(one, cache, prune=["missing"], **SMALL).pruned == 0  # type: ignore[arg-type]
    assert len(names(cache)) == 4


def test_missing_leaves_what_is_there_under_a_name_that_is_no_utf8(videos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd" / os.fsdecode(b"a\xff.mp4")
    odd.parent.mkdir()
    videos.joinpath("0.mp4").rename(odd)
    cs.precompute([odd.parent, videos / "1.mp4"], tmp_path / "cache", **SMALL)  # type: ignore[arg-type]
    cs.precompute(videos / "1.mp4", tmp_path / "cache", prune=["missing"], **SMALL)  # type: ignore[arg-type]
    assert names(tmp_path / "cache") == ["1.mp4", r"a\udcff.mp4"]
    picture = tmp_path / "a.png"
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "cache"), str(odd), "--out", str(picture)])
    assert result.exit_code == 0
    assert picture.is_file()


def test_failed_takes_out_failed_clips_named_or_not(videos: Path, cache: Path) -> None:
    result = run(videos / "0.mp4", "--out", cache, "--prune", "failed")
    assert result.exit_code == 0
    assert "taken out" in result.stdout
    assert names(cache) == ["0.mp4", "1.mp4", "2.mp4"]
    again = run(videos, "--out", cache, "--prune", "failed")  # it is tried, fails, is told, and leaves no row
    assert again.exit_code == 1
    assert "broken.mp4" in again.stderr
    assert names(cache) == ["0.mp4", "1.mp4", "2.mp4"]


def test_both_at_once_and_nothing_to_do(videos: Path, cache: Path) -> None:
    (videos / "2.mp4").unlink()
    result = run(videos, "--out", cache, "--prune", "missing", "--prune", "failed")
    assert "taken out" in result.stdout
    assert names(cache) == ["0.mp4", "1.mp4"]
    (videos / "broken.mp4").unlink()
    again = run(videos, "--out", cache, "--prune", "missing", "--prune", "failed")
    assert (again.exit_code, "taken out" in again.stdout) == (0, False)


def test_nothing_is_taken_out_unless_asked(videos: Path, cache: Path) -> None:
    (videos / "1.mp4").unlink()
    assert cs.precompute(videos, cache, **SMALL).pruned == 0  # type: ignore[arg-type]
    assert len(names(cache)) == 4


def test_an_unknown_kind_or_a_part_is_refused_before_anything_is_made(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^prune \('gone'\) must be one of missing, failed$"):
        cs.precompute(videos, tmp_path / "new", prune=["gone"], **SMALL)  # type: ignore[arg-type, list-item]
    with pytest.raises(ConfigError, match=r"^prune \(failed\) must not be said with part"):
        cs.precompute(videos, tmp_path / "new", prune=["failed"], part="1/2", **SMALL)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
