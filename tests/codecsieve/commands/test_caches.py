"""`precompute --part`, `merge`, `compact`, `drop`: what they show, what they refuse, how they end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codecsieve.cache import open_cache, unmade_clips, verify_cache
from codecsieve.cli import main
from codecsieve.pipelines.config import DEFAULT_PRESET, RunOptions, SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.precompute.run import precompute

SMALL = ("--num-frames", "2", "--input-size", "28", "--k-keep", "4", "--workers", "0")
ROWS = 70


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def facts(result: Result) -> dict[str, str]:
    """The table that a command shows."""
    pairs = (line.strip().partition("  ") for line in result.stdout.splitlines() if "  " in line.strip())
    return {name: value.strip() for name, _, value in pairs}


@pytest.fixture(scope="module")
def manifest(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy parts of one clip, and a file that is none: two shards."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "clip.mp4", frames=30)
    (folder / "broken.mp4").write_bytes(b"no video")
    lines = [f"clip.mp4,{row % 2},{row / 100},clip-{row}" for row in range(ROWS)]
    lines[5] = "broken.mp4,1,,clip-5"
    path = folder / "list.csv"
    path.write_text("path,label,start,id\n" + "\n".join(lines))
    return path


@pytest.fixture(scope="module")
def one(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("one") / "cache"
    assert run("precompute", manifest, "--out", path, *SMALL).exit_code == 1
    return path


@pytest.fixture
def cache(one: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(one, tmp_path / "cache"))


@pytest.mark.slow
def test_two_machines_and_a_merge_are_one_run(
    manifest: Path, one: Path, tmp_path: Path, cache_content: Callable[[Path], dict[str, object]]
) -> None:
    first = run("precompute", manifest, "--out", tmp_path / "a", "--part", "1/2", *SMALL)
    assert first.exit_code == 1  # clip-5 is in its part
    assert "Clips of part 1/2" in first.stdout
    assert facts(first)["in the cache"] == "63, 63 of them new"
    second = run("precompute", manifest, "--out", tmp_path / "b", "--part", "2/2", *SMALL)
    assert second.exit_code == 0
    assert facts(second)["in the cache"] == "6, 6 of them new"
    assert len(unmade_clips(tmp_path / "b")) == 64
    merged = run("merge", tmp_path / "out", tmp_path / "b", tmp_path / "a")
    assert merged.exit_code == 0
    assert facts(merged) == {"in the cache": "69, 69 of them new", "failed": "1"}
    assert "70 of 70 clips" in merged.stderr
    assert cache_content(tmp_path / "out") == cache_content(one)


@pytest.mark.slow
def test_parts_of_one_cache_leave_what_is_not_theirs(
    manifest: Path, one: Path, tmp_path: Path, cache_content: Callable[[Path], dict[str, object]]
) -> None:
    requests = read_inputs([manifest])
    config = SieveConfig.preset(DEFAULT_PRESET, num_frames=2, input_size=28, k_keep=4)
    second = precompute(requests, tmp_path / "cache", config, workers=0, part="2/2")
    assert (second.made, second.complete, second.failures) == (6, True, ())
    third = precompute(requests, tmp_path / "cache", config, workers=0, part="3/3")
    assert (third.made, third.skipped, third.complete) == (0, 0, True)
    first = precompute(requests, tmp_path / "cache", config, workers=0, part="1/2")
    assert (first.made, first.skipped, len(first.failures)) == (63, 0, 1)
    again = precompute(requests, tmp_path / "cache", config, workers=0)
    assert (again.made, again.skipped) == (0, 69)
    assert cache_content(tmp_path / "cache") == cache_content(one)


@pytest.mark.parametrize("part", ["2", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "", "1 / 2", "\uff11/2"])
def test_a_part_that_cannot_be_is_one_line_before_anything_is_made(manifest: Path, tmp_path: Path, part: str) -> None:
    result = run("precompute", manifest, "--out", tmp_path / "cache", "--part", part, *SMALL)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "must be" in result.stderr
    assert not (tmp_path / "cache").exists()


def test_a_part_s_numbers(manifest: Path) -> None:
    assert RunOptions().shards == (1, 1)
    assert RunOptions(part="2/4").shards == (2, 4)


@pytest.mark.slow
def test_merge_refuses_other_options_and_makes_nothing(cache: Path, manifest: Path, tmp_path: Path) -> None:
    run("precompute", manifest, "--out", tmp_path / "other", "--fuse", "max", *SMALL)
    result = run("merge", tmp_path / "out", cache, tmp_path / "other")
    assert result.exit_code == 1
    assert "other was made with fuse=max, " in result.stderr
    assert not (tmp_path / "out").exists()


def test_merge_says_what_is_not_made_and_what_is_said_otherwise(cache: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cache, tmp_path / "copy")
    (copy / "index" / "part-000001.parquet").unlink()
    (tmp_path / "labels.csv").write_text("id,label\nclip-0,other\n")
    run("label", copy, tmp_path / "labels.csv")
    assert facts(run("merge", tmp_path / "out", copy)) == {
        "in the cache": "63, 63 of them new", "failed": "1", "not made": "6",
    }  # fmt: skip
    assert facts(run("merge", tmp_path / "out", cache))["said otherwise"] == "1"


def test_compact_says_how_many_files_became_how_many(cache: Path) -> None:
    assert facts(run("compact", cache)) == {"parts put into packs": "2", "packs": "1"}
    assert run("verify", cache).exit_code == 0
    assert facts(run("compact", cache)) == {"parts put into packs": "0", "packs": "1"}
    assert facts(run("info", cache))["clips"] == "69"


def test_drop_says_what_would_go_and_what_went(cache: Path) -> None:
    arguments = ("clip-0", "--where", "label = '1' and start > 0.6", "--failed")
    would = run("drop", cache, *arguments, "--dry-run")
    assert len(open_cache(cache)) == 69
    assert "Would go" in would.stdout
    went = run("drop", cache, *arguments)
    assert went.exit_code == would.exit_code == 0
    assert facts(would) == facts(went)
    assert {name: facts(went)[name] for name in ("clips", "failed ones", "only planned")} == {
        "clips": "6", "failed ones": "1", "only planned": "0",
    }  # fmt: skip
    assert len(open_cache(cache)) == 63
    assert verify_cache(cache).complete


def test_a_clip_that_is_not_there_is_one_line_and_nothing_goes(cache: Path) -> None:
    for names, status in ((["clip-0", "holiday"], 1), (["clip-"], 1), ([], 2)):
        result = run("drop", cache, *names)
        assert result.exit_code == status
        assert len(result.stderr.splitlines()) == 1
    assert len(open_cache(cache)) == 69


def test_a_drop_that_was_cut_off_is_finished_by_the_same_command(cache: Path) -> None:
    (cache / "dropping.json").write_text(json.dumps(["clip-0", "clip-1"]))
    result = run("drop", cache, "clip-0", "clip-1")
    assert result.exit_code == 0
    assert "finished a drop of 2 clips" in result.stderr
    assert len(open_cache(cache)) == 67


def test_what_was_planned_and_not_made_can_be_dropped(cache: Path) -> None:
    (cache / "index" / "part-000001.parquet").unlink()
    assert facts(run("drop", cache, "--unmade"))["only planned"] == "6"
    assert verify_cache(cache).complete


@pytest.mark.parametrize("command", ["merge", "compact", "drop"])
def test_what_is_no_cache_is_one_line(tmp_path: Path, command: str) -> None:
    result = run(command, tmp_path / "none", *([tmp_path / "nor-this"] if command == "merge" else []))
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) == 1
