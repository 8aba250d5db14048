"""Writing: rows stay, shards and index agree, and what cannot be done is said in one line."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from cache_cases import CONFIG, LAYOUT, array_files, fill, flip_a_byte, make_clip, make_record, names, same_cache

from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, open_cache
from codecsieve.errors import CacheError


def test_each_clip_gets_the_row_of_its_place_in_the_plan(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(70))
    cache = open_cache(tmp_path / "cache")
    assert cache.index["id"].to_pylist() == names(70)
    assert cache.index["row"].to_pylist() == list(range(70))


def test_a_second_run_has_nothing_to_do_and_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(70))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*") if file.name != ".lock"}
    assert fill(tmp_path / "cache", names(70)) == []
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_shards_written_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    fill(tmp_path / "forward", names(130))
    with CacheWriter.open(tmp_path / "backward", LAYOUT, CONFIG) as writer:
        for work in reversed(writer.plan(names(130))):
            clips = {clip_id: make_clip(clip_id) for clip_id in reversed(work.ids)}
            writer.write_shard(work.shard, clips, [make_record(clip_id) for clip_id in reversed(work.ids)])
    assert same_cache(tmp_path / "forward", tmp_path / "backward")


def test_a_shard_may_be_published_in_pieces(tmp_path: Path) -> None:
    fill(tmp_path / "whole", names(10))
    with CacheWriter.open(tmp_path / "pieces", LAYOUT, CONFIG) as writer:
        writer.plan(names(10))
        for piece in (["clip-7", "clip-2"], ["clip-0"]):
            writer.write_shard(0, {i: make_clip(i) for i in piece}, [make_record(i) for i in piece])
    assert open_cache(tmp_path / "pieces").clip_ids == ["clip-0", "clip-2", "clip-7"]
    assert sorted(fill(tmp_path / "pieces", names(10))) == [f"clip-{n}" for n in (1, 3, 4, 5, 6, 8, 9)]
    assert same_cache(tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(10, 20), (64, 65), (70, 200)])
def test_a_cache_grows_with_its_inputs_as_if_made_at_once(tmp_path: Path, first: int, then: int) -> None:
    fill(tmp_path / "grown", names(first))
    assert fill(tmp_path / "grown", names(then)) == names(then)[first:]
    fill(tmp_path / "at_once", names(then))
    assert same_cache(tmp_path / "grown", tmp_path / "at_once")


def test_other_inputs_are_added_and_the_unfinished_ones_are_left_alone(tmp_path: Path) -> None:
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        writer.plan(names(5))
    assert fill(tmp_path / "cache", ["other-9"]) == ["other-9"]
    assert open_cache(tmp_path / "cache").index["row"].to_pylist() == [5]


def test_a_failed_clip_is_a_row_with_its_error_and_stays_so(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(5), failing={"clip-3"})
    assert fill(tmp_path / "cache", names(5)) == []
    row = open_cache(tmp_path / "cache").index.slice(3, 1).to_pylist()[0]
    assert (row["id"], row["status"], row["error"]) == ("clip-3", "failed", "no video stream")
    assert row["row"] is None
    assert row["crc32c"] is None


@pytest.mark.slow
@pytest.mark.parametrize("failing", [{"clip-3"}, set(names(70)[:64]), {"clip-0", "clip-69"}])
def test_retrying_failed_clips_fills_their_own_rows(tmp_path: Path, failing: set[str]) -> None:
    fill(tmp_path / "cache", names(70), failing=failing)
    assert set(fill(tmp_path / "cache", names(70), retry_failed=True)) == failing
    fill(tmp_path / "at_once", names(70))
    assert same_cache(tmp_path / "cache", tmp_path / "at_once")


def test_a_clip_that_fails_again_is_listed_once_with_its_new_error(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2), failing={"clip-1"})
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        writer.look_at(names(2))
        again = dataclasses.replace(make_record("clip-1", failed=True), error="file is empty")
        writer.write_shard(0, {}, [again])
    index = open_cache(tmp_path / "cache").index
    assert index["id"].to_pylist() == names(2)
    assert index["error"].to_pylist() == [None, "file is empty"]


def test_a_shard_whose_clips_all_failed_takes_no_room(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(3), failing=names(3))
    assert not [name for name in array_files(tmp_path / "cache") if "/c." in name]
    assert len(open_cache(tmp_path / "cache")) == 0


def test_the_cache_says_what_it_was_made_with(tmp_path: Path) -> None:
    CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG, versions={"ffmpeg": "8.0"}).close()
    said: Any = zarr.open_group(tmp_path / "cache", mode="r").attrs["codecsieve"]
    assert said["config"] == {**CONFIG, "num_frames": 4, "k_keep": 5, "patch": 2, "store": "patches"}
    assert re.fullmatch("[0-9a-f]{64}", said["config_sha256"])
    assert said["versions"]["ffmpeg"] == "8.0"
    assert said["versions"]["zarr"] == zarr.__version__


def test_another_config_is_refused_with_the_difference(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2))
    with pytest.raises(CacheError, match=r"was made with k_keep=5, you asked 6; use another --out or delete"):
        fill(tmp_path / "cache", names(2), layout=dataclasses.replace(LAYOUT, k_keep=6))
    indices = dataclasses.replace(LAYOUT, store="indices")
    with pytest.raises(CacheError, match=r"fuse=weighted, you asked \(nothing\); with store=patches, you"):
        fill(tmp_path / "cache", names(2), layout=indices, config={"center_prior": 0.3})


def test_a_second_writer_is_told_who_is_first(tmp_path: Path) -> None:
    with (
        CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG),
        pytest.raises(CacheError, match=f"is being written by process {os.getpid()}; wait"),
    ):
        CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG)
    CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG).close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_where_nothing_can_be_locked_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    advice = "put the cache on a file system with locks"
    with pytest.raises(CacheError, match=rf"^cannot lock .*\.lock \({os.strerror(number)}\); {advice}$"):
        CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG)


def test_a_file_system_that_cannot_flush_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    fill(tmp_path / "cache", names(3))
    assert len(open_cache(tmp_path / "cache")) == 3


def test_the_writer_tells_what_is_published_in_row_order(tmp_path: Path) -> None:
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        assert len(writer.index()) == 0
        for work in reversed(writer.plan(names(70))):
            writer.write_shard(work.shard, {i: make_clip(i) for i in work.ids}, [make_record(i) for i in work.ids])
        assert writer.index()["id"].to_pylist() == names(70)
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        writer.look_at(names(70))
        assert writer.index().equals(open_cache(tmp_path / "cache").index)
        writer.look_at(["clip-69"])
        assert writer.index()["id"].to_pylist() == names(70)[64:]
        assert writer.rows_of(["clip-69", "clip-70"]) == {"clip-69": 69}


def test_a_folder_or_file_that_is_something_else_is_left_untouched(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("chapter 1")
    zarr.create_group(tmp_path / "zarr")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CacheError, match="home is not empty and not a cache; use another --out"):
        CacheWriter.open(tmp_path / "home", LAYOUT, CONFIG)
    with pytest.raises(CacheError, match=r"thesis.txt is a file, not a cache"):
        CacheWriter.open(tmp_path / "home" / "thesis.txt", LAYOUT, CONFIG)
    with pytest.raises(CacheError, match="zarr is a Zarr group but not a cache of codecsieve"):
        CacheWriter.open(tmp_path / "zarr", LAYOUT, CONFIG)
    with pytest.raises(CacheError, match=r"cannot write .*thesis.txt/cache: Not a directory"):
        CacheWriter.open(tmp_path / "home" / "thesis.txt" / "cache", LAYOUT, CONFIG)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_same_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="clip clip-1 is in the inputs twice"):
        fill(tmp_path / "cache", ["clip-0", "clip-1", "clip-1"])


def test_ids_must_be_printable(tmp_path: Path) -> None:
    for clip_id in ("", "a\nb", os.fsdecode(b"caf\xe9.mp4"), "long" * 300):
        with pytest.raises(CacheError, match="must be printable text, and short; give it one of its own"):
            fill(tmp_path / "cache", [clip_id])


def test_file_names_need_not_be_utf8(tmp_path: Path) -> None:
    uri = os.fsdecode(b"/videos/caf\xe9.mp4")
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        writer.plan(names(1))
        failed = dataclasses.replace(make_record("clip-0", failed=True), uri=uri, error=f"{uri} is empty")
        writer.write_shard(0, {}, [failed])
    (row,) = open_cache(tmp_path / "cache").index.to_pylist()
    assert row["uri"] == "/videos/caf\\udce9.mp4"
    assert row["error"] == "/videos/caf\\udce9.mp4 is empty"


def test_a_cache_of_nothing_is_a_cache(tmp_path: Path) -> None:
    assert fill(tmp_path / "cache", []) == []
    assert len(open_cache(tmp_path / "cache")) == 0
    fill(tmp_path / "cache", names(2))
    assert len(open_cache(tmp_path / "cache")) == 2


def test_a_clip_that_was_damaged_meanwhile_is_dropped_and_made_again(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(3))
    flip_a_byte(tmp_path / "cache" / "scores" / "c.0.0", 21)  # within the second clip's 20 bytes
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        assert [work.ids for work in writer.plan(names(4))] == [("clip-3",)]
        writer.write_shard(0, {"clip-3": make_clip("clip-3")}, [make_record("clip-3")])
        assert [lost.ids for lost in writer.lost] == [("clip-1",)]
        assert [work.ids for work in writer.plan(names(4))] == [("clip-1",)]
    assert open_cache(tmp_path / "cache").clip_ids == ["clip-0", "clip-2", "clip-3"]
    assert fill(tmp_path / "cache", names(4)) == ["clip-1"]
    fill(tmp_path / "fresh", names(4))
    assert same_cache(tmp_path / "cache", tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["patches/c.1.0.0.0.0", "scores/c.1.0", "frame_ids/c.1.0"])
@pytest.mark.parametrize("kept", [None, 0, 700, -1])
def test_clips_of_a_shard_that_was_removed_or_cut_are_made_again(tmp_path: Path, name: str, kept: int | None) -> None:
    fill(tmp_path / "cache", names(130), failing={"clip-70"})
    shard = tmp_path / "cache" / name
    data = shard.read_bytes()
    shard.unlink()
    if kept is not None:
        shard.write_bytes(data[:kept])
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        (work,) = writer.plan(names(100))
        assert work.ids == tuple(name for name in names(100)[64:] if name != "clip-70")
        (lost,) = writer.lost
        assert (lost.shard, len(lost.ids)) == (1, 63), "clips that were not asked for are lost with the others"
        assert str(shard) in lost.reason
    assert open_cache(tmp_path / "cache").clip_ids == [*names(64), *names(130)[128:]]
    assert len(fill(tmp_path / "cache", names(130))) == 63
    fill(tmp_path / "fresh", names(130), failing={"clip-70"})
    assert same_cache(tmp_path / "cache", tmp_path / "fresh")


def test_a_plan_that_does_not_fit_the_index_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(3))
    (tmp_path / "cache" / "plan.parquet").unlink()
    with pytest.raises(CacheError, match=r"part-000000.parquet lists clip clip-0 in row 0, plan.parquet in None; run"):
        fill(tmp_path / "cache", names(3))


def test_records_and_arrays_must_belong_together(tmp_path: Path) -> None:
    clip = make_clip("clip-0")
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        writer.plan(names(70))
        with pytest.raises(ValueError, match="clip-69 is not among the clips to be made in shard 0"):
            writer.write_shard(0, {"clip-69": clip}, [make_record("clip-69")])
        with pytest.raises(ValueError, match="clip-0 must have arrays if and only if"):
            writer.write_shard(0, {}, [make_record("clip-0")])
        with pytest.raises(ValueError, match="clip-0 must have arrays if and only if"):
            writer.write_shard(0, {"clip-0": clip}, [make_record("clip-0", failed=True)])
        writer.write_shard(0, {"clip-0": clip}, [make_record("clip-0")])
        with pytest.raises(ValueError, match="clip-0 is not among the clips to be made"):
            writer.write_shard(0, {"clip-0": clip}, [make_record("clip-0")])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("patches", None, r"patches \(None\) must be uint8 \[5, 3, 2, 2\]"),
        ("positions", np.zeros((4, 3), np.uint16), r"positions \(uint16 \[4, 3\]\) must be uint16 \[5, 3\]"),
        ("scores", np.zeros(5, np.int64), r"scores \(int64 \[5\]\) must be int32 \[5\]"),
        ("frame_ids", np.array([0, 1, -1, 2], np.int32), r"frame_ids \(-1\) must be >= 0"),
    ],
)
def test_arrays_of_another_shape_are_refused(name: str, value: np.ndarray | None, message: str) -> None:
    clip: ClipArrays = dataclasses.replace(make_clip("clip-0"), **{name: value})
    with pytest.raises(ValueError, match=message):
        clip.check(LAYOUT, "clip-0")


def test_layouts_records_and_configs_say_which_rule_they_break(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"num_frames \(0\) must be a whole number > 0"):
        Layout(num_frames=0, k_keep=1, patch=1)
    with pytest.raises(ValueError, match=r"error \(None\) must be given if and only if it failed"):
        IndexRecord(id="a", uri="a", status="failed")
    with pytest.raises(ValueError, match=r"config k_keep \(7\) must be the layout's \(5\)"):
        CacheWriter.open(tmp_path / "cache", LAYOUT, {"k_keep": 7})
    with pytest.raises(ValueError, match="config must be plain JSON"):
        CacheWriter.open(tmp_path / "cache", LAYOUT, {"sizes": np.arange(3)})
