"""Compacting: few files of the index for many, and every read as before, whenever a reader comes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cache_cases import array_files, assert_published_clips_are_whole, fill, flip_a_byte, index_parts, names
from damage import DAMAGES, Damage
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import CHANGES, count_calls, each_call, kill_at
from test_damage import one_line

from codecsieve.cache import CacheError, compact_cache, drop_clips, open_cache, repair_cache, verify_cache
from codecsieve.cache import packs as packs_module
from codecsieve.cache.location import Location

CLIPS = names(200)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("whole") / "cache"
    fill(path, CLIPS, failing={"clip-3", "clip-70"})
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "cache")


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs of two shards, so that a small cache has several."""
    monkeypatch.setattr(packs_module, "PACK_SHARDS", 2)
    monkeypatch.setattr("codecsieve.cache.compact.PACK_SHARDS", 2)


def index_files(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "index").iterdir())


def what_is_read(path: Path) -> Any:
    cache = open_cache(path)
    return cache.index, {clip.clip_id: clip.patches.tobytes() for clip in cache}


def test_a_compacted_cache_is_one_file_for_many_and_reads_the_same(path: Path) -> None:
    before, arrays = what_is_read(path), array_files(path)
    done = compact_cache(path)
    assert (done.parts, done.packs) == (4, 1)
    assert index_files(path) == ["pack-0000.parquet"]
    assert what_is_read(path) == before
    assert {**array_files(path), "zarr.json": b""} == {**arrays, "zarr.json": b""}
    assert verify_cache(path).complete
    again = array_files(path)
    assert compact_cache(path).parts == 0
    assert array_files(path) == again


def test_what_knows_no_packs_refuses_a_compacted_cache_and_options_are_still_known(path: Path) -> None:
    config = open_cache(path).config
    compact_cache(path)
    assert '"format": 2' in (path / "zarr.json").read_text()
    assert open_cache(path).config == config


@pytest.mark.slow
@pytest.mark.usefixtures("small_packs")
def test_a_compacted_cache_is_gone_on_with_and_compacted_again(path: Path) -> None:
    compact_cache(path)
    assert index_files(path) == ["pack-0000.parquet", "pack-0001.parquet"]
    assert fill(path, names(300)) == names(300)[200:]
    assert fill(path, names(300), retry_failed=True) == ["clip-3", "clip-70"]
    fill(path.with_name("one"), names(300))
    assert index_parts(path) == index_parts(path.with_name("one"))
    assert len(index_files(path)) == 6
    compact_cache(path)
    assert index_files(path) == ["pack-0000.parquet", "pack-0001.parquet", "pack-0002.parquet"]
    assert index_parts(path) == index_parts(path.with_name("one"))
    assert verify_cache(path).complete


@pytest.mark.slow
@pytest.mark.usefixtures("small_packs")
def test_readers_that_open_while_it_runs_see_what_was_there_before(path: Path) -> None:
    """One opens it at every change, and one is at every place of its own reading when all of it happens."""
    before = open_cache(path).index
    parts = sorted(shutil.copytree(path, path.with_name(f"reading-{number}")) for number in range(6))
    with each_call(CHANGES, lambda _: check(open_cache(path).index.equals(before))):
        compact_cache(path)
    real = Location.read
    for number, other in enumerate(parts):
        reads = iter(range(1 << 20))

        def read(location: Location, name: str, other: Path = other, number: int = number, reads: Any = reads) -> bytes:
            if name.startswith("index/") and next(reads) == number:
                with pytest.MonkeyPatch.context() as inner:
                    inner.setattr(Location, "read", real)
                    compact_cache(other)
            return real(location, name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Location, "read", read)
            assert open_cache(other).index.equals(before), number


def check(holds: bool) -> None:
    assert holds


@pytest.mark.slow
def test_killed_before_any_change_every_read_is_the_same_and_a_second_run_finishes(path: Path, tmp_path: Path) -> None:
    before = open_cache(path).index
    whole = shutil.copytree(path, tmp_path / "whole")
    for call in range(count_calls(CHANGES, compact_cache, whole)):
        killed = shutil.copytree(path, tmp_path / f"killed-{call}")
        kill_at(call, compact_cache, killed)
        assert open_cache(killed).index.equals(before)
        assert_published_clips_are_whole(killed)
        assert verify_cache(killed).complete
        compact_cache(killed)
        assert index_files(killed) == ["pack-0000.parquet"]
        assert array_files(killed) == array_files(whole)


@pytest.mark.slow
@settings(max_examples=12)
@given(st.lists(st.sampled_from(["fill", "retry", "drop", "compact", "grow"]), max_size=6))
def test_compacting_in_between_changes_nothing(tmp_path_factory: pytest.TempPathFactory, acts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("acts")
    for name in ("plain", "compacted"):
        for act in acts:
            match act:
                case "fill":
                    fill(folder / name, names(66), failing={"clip-1"})
                case "retry":
                    fill(folder / name, names(66), retry_failed=True)
                case "grow":
                    fill(folder / name, names(130))
                case "drop" if (folder / name).exists():
                    drop_clips(
                        folder / name, set(names(66)[::7]) & set(open_cache(folder / name).index["id"].to_pylist())
                    )
                case "compact" if name == "compacted" and (folder / name).exists():
                    compact_cache(folder / name)
    if (folder / "plain").exists():
        plain, compacted = (index_parts(folder / name) for name in ("plain", "compacted"))
        assert {s: part for s, part in plain.items() if len(part)} == {s: p for s, p in compacted.items() if len(p)}
        assert_published_clips_are_whole(folder / "compacted")
        assert verify_cache(folder / "compacted").damages == ()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_pack_is_one_line_and_repaired(path: Path, damage: Damage) -> None:
    import random

    compact_cache(path)
    damage(path / "index" / "pack-0000.parquet", random.Random(1))
    one_line(lambda: open_cache(path))
    one_line(lambda: compact_cache(path))
    if one_line(lambda: repair_cache(path)) is not None:
        fill(path, CLIPS, failing={"clip-3", "clip-70"})
        assert verify_cache(path).complete
        assert len(open_cache(path)) == 198


def test_a_damaged_part_over_a_pack_does_not_bring_back_what_was_dropped(path: Path) -> None:
    compact_cache(path)
    drop_clips(path, ["clip-0"])
    flip_a_byte(path / "index" / "part-000000.parquet", 40)
    with pytest.raises(CacheError, match=r"part-000000.parquet is damaged"):
        open_cache(path)
    repair_cache(path)
    assert "clip-0" not in open_cache(path).index["id"].to_pylist()
    assert len(fill(path, CLIPS, failing={"clip-3"})) == 64
    assert verify_cache(path).complete


@pytest.mark.parametrize("change", [{"shard": 1}, {"shard": -1}, {"shard": None}, {"row": 64}, {"id": "clip-1"}])
def test_a_pack_whose_rows_cannot_be_is_refused(path: Path, change: dict[str, Any]) -> None:
    compact_cache(path)
    file = path / "index" / "pack-0000.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0].update(change)
    pq.write_table(table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(CacheError, match=r"pack-0000.parquet is damaged \("):
        open_cache(path)


def test_a_cache_that_is_being_written_is_not_compacted(path: Path) -> None:
    from cache_cases import CONFIG, LAYOUT

    from codecsieve.cache import CacheWriter, Part

    for part in (Part(1, 1), Part(1, 2)):
        with CacheWriter.open(path, LAYOUT, CONFIG, part=part), pytest.raises(CacheError, match="is being written by"):
            compact_cache(path)


def test_what_is_no_cache_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="is not a cache"):
        compact_cache(tmp_path)
