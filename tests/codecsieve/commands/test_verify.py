"""A damaged cache on the command line and in a loader: told of, made again, never called complete."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from damage import DAMAGES, Damage, fifo, flip, folder, nested, remove, within

from codecsieve import make_loader
from codecsieve.cache import SparseClip, open_cache
from codecsieve.cli import main
from codecsieve.errors import CodecsieveError

MakeVideo = Callable[..., Path]
SMALL = ["--num-frames", "8", "--input-size", "56", "--k-keep", "16", "--workers", "0"]
SECONDS = 30


def run(*arguments: object) -> Result:
    """Run a command in this process, within its time; whatever is not an exit status is raised."""
    with within(SECONDS):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="codecsieve")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def videos(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("videos")
    for seed in range(3):
        make_video(path / f"{seed}.mp4", seed=seed, frames=9)
    return path


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("whole") / "cache"
    assert run("precompute", videos, "--out", path, *SMALL).exit_code == 0
    return path


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "cache")


def shard_of(cache: Path, name: str) -> Path:
    return next((cache / name).glob("c.0*"))


def test_a_whole_cache_is_verified_with_status_0(cache: Path) -> None:
    result = run("verify", cache)
    assert result.exit_code == 0
    assert "3 of 3 clips" in result.stderr
    assert json.loads(run("verify", cache, "--json").stdout) == {
        "planned": 3, "whole": 3, "damaged": 0, "failed": 0, "missing": [], "damages": [], "lost": [],
        "dropping": [], "repaired": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["patches", "positions", "scores", "frame_ids"])
def test_a_rerun_over_a_missing_shard_makes_its_clips_again_and_says_so(
    cache: Path,
    whole: Path,
    videos: Path,
    name: str,
    cache_content: Callable[[Path], dict[str, object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    shard = shard_of(cache, name)
    shard.unlink()
    result = run("precompute", videos, "--out", cache, *SMALL)
    assert result.exit_code == 0
    assert "3, 3 of them new" in result.stdout
    assert "lost before, made again" in result.stdout
    assert f"has lost 3 clips (shard {shard} is not there)" in result.stderr + caplog.text
    assert cache_content(cache) == cache_content(whole)


def test_a_lost_clip_whose_video_is_gone_is_no_status_0(cache: Path, videos: Path, tmp_path: Path) -> None:
    shard_of(cache, "scores").unlink()
    assert run("precompute", videos / "0.mp4", "--out", cache, *SMALL).exit_code == 0  # all of these inputs
    found = json.loads(run("verify", cache, "--json").stdout)
    assert (found["whole"], len(found["missing"])) == (1, 2)
    assert run("verify", cache).exit_code == 1


def test_flipped_bytes_are_named_repaired_and_made_again(
    cache: Path, whole: Path, videos: Path, cache_content: Callable[[Path], dict[str, object]]
) -> None:
    shard = shard_of(cache, "patches")
    data = bytearray(shard.read_bytes())
    data[5] ^= 1
    shard.write_bytes(data)
    clip_id = open_cache(cache).clip_ids[0]
    found = run("verify", cache)
    assert found.exit_code == 1
    assert f"damaged: clip {clip_id}: does not match its checksum" in found.stderr
    assert f"codecsieve verify {cache} --repair" in found.stderr
    assert run("info", cache, "--verify").exit_code == 1
    repaired = run("verify", cache, "--repair")
    assert repaired.exit_code == 1
    assert "repaired: run precompute with the same inputs" in repaired.stderr
    assert run("verify", cache).exit_code == 1, "a clip is still missing"
    assert "3, 1 of them new" in run("precompute", videos, "--out", cache, *SMALL).stdout
    assert run("verify", cache).exit_code == 0
    assert run("info", cache, "--verify").exit_code == 0
    assert cache_content(cache) == cache_content(whole)


def test_info_tells_what_the_plan_has_and_the_index_has_not(cache: Path) -> None:
    (cache / "index" / "part-000000.parquet").unlink()
    facts = json.loads(run("info", cache, "--json").stdout)
    assert (facts["clips"], facts["failed"], facts["not made"]) == (0, 0, 3)
    assert run("verify", cache).exit_code == 1


def test_a_run_does_not_hang_on_a_fifo_nor_does_info(cache: Path, videos: Path) -> None:
    for name in ("index/part-000000.parquet", "plan.parquet", "scores/zarr.json", "zarr.json"):
        kept = (cache / name).read_bytes()
        fifo(cache / name, random.Random(0))
        for command in (("info", cache), ("verify", cache), ("precompute", videos, "--out", cache, *SMALL)):
            result = run(*command)
            assert result.exit_code == (0 if (command[0], name) == ("info", "plan.parquet") else 1), (name, command)
            assert "is a FIFO, not a file" in result.stderr
        (cache / name).unlink()
        (cache / name).write_bytes(kept)
    assert run("verify", cache).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("damage", [*DAMAGES], ids=lambda damage: damage.__name__)
def test_no_command_gives_a_traceback_or_wrong_pixels_over_a_damaged_cache(
    whole: Path, videos: Path, tmp_path: Path, damage: Damage
) -> None:
    truth = {clip.clip_id: clip for clip in (open_cache(whole)[n] for n in range(3))}
    clip_id = next(iter(truth))
    names = [str(path.relative_to(whole)) for path in sorted(whole.rglob("*")) if path.is_file()]
    for number, name in enumerate(names):
        cache = shutil.copytree(whole, tmp_path / str(number) / "cache")
        damage(cache / name, random.Random(number))
        run("info", cache)
        run("info", cache, "--failed")
        run("inspect", cache, clip_id, "--out", tmp_path / "clip.png")
        verified = run("verify", cache).exit_code
        assert load_all(cache, truth) == 3 or verified == 1
        if run("precompute", videos, "--out", cache, *SMALL).exit_code == 0:
            assert json.loads(run("verify", cache, "--json").stdout)["missing"] == []


def load_all(cache: Path, truth: dict[str, SparseClip]) -> int:
    """How many clips a loader gives; all of them are right."""
    given, said = 0, "one line"
    try:
        with within(SECONDS):
            for batch in make_loader(open_cache(cache), batch_size=1, seed=0):
                np.testing.assert_array_equal(batch.patches[0].numpy(), truth[batch.ids[0]].patches)
                given += 1
    except CodecsieveError as error:
        said = str(error)
    assert len(said.splitlines()) == 1
    return given


def test_a_damaged_file_of_each_kind_is_one_line(cache: Path) -> None:
    """The quick ones of those above."""
    for number, damage in enumerate((flip, remove, folder, nested)):
        other = shutil.copytree(cache, cache.parent / str(number))
        damage(other / "scores" / "zarr.json", random.Random(1))
        result = run("info", other)
        assert result.exit_code in (0, 1)
        assert len(result.stderr.splitlines()) <= 1
