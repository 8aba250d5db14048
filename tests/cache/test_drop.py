"""Dropping clips: they are gone with their bytes, the others stay as they are, and it can be killed at any time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from cache_cases import (
    CONFIG,
    LAYOUT,
    array_files,
    assert_published_clips_are_whole,
    fill,
    flip_a_byte,
    names,
    same_cache,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import CHANGES, count_calls, kill_at

from codecsieve.cache import (
    CacheError,
    CacheWriter,
    Part,
    drop_clips,
    open_cache,
    say_of_cache,
    to_drop,
    unfinished_drop,
    unmade_clips,
    verify_cache,
)

CLIPS = names(70)
FAILING = {"clip-3"}
GONE = ["clip-0", "clip-3", "clip-64", "clip-69"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("whole") / "cache"
    fill(path, CLIPS, FAILING)
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "cache")


def size(path: Path) -> int:
    return sum(len(data) for data in array_files(path).values())


@pytest.mark.slow
def test_dropped_clips_are_gone_with_their_bytes_and_the_others_stay(path: Path) -> None:
    before, bytes_before = open_cache(path), size(path)
    dropped = drop_clips(path, GONE)
    assert (dropped.clips, dropped.failed, dropped.unmade, dropped.lost) == (3, 1, 0, 0)
    assert bytes_before - size(path) > dropped.nbytes - 500
    after = open_cache(path)
    assert after.clip_ids == [clip_id for clip_id in before.clip_ids if clip_id not in GONE]
    assert_published_clips_are_whole(path)
    found = verify_cache(path)
    assert found.complete
    assert (found.planned, found.whole, found.failed) == (66, 66, 0)


def test_what_was_dropped_comes_back_with_the_same_run(path: Path, whole: Path) -> None:
    drop_clips(path, GONE)
    assert sorted(fill(path, CLIPS, FAILING)) == sorted(GONE)
    assert same_cache(path, whole)


def test_rows_that_are_free_are_given_to_the_next_clips(path: Path) -> None:
    drop_clips(path, ["clip-5", "clip-66"])
    fill(path, names(73), FAILING)
    rows = dict(zip(*(open_cache(path).index[name].to_pylist() for name in ("id", "row")), strict=True))
    assert [rows[clip_id] for clip_id in ("clip-5", "clip-66", "clip-70")] == [5, 66, 70]
    drop_clips(path, ["clip-5"])
    fill(path, [*names(73), "clip-99"], FAILING | {"clip-5"})
    assert open_cache(path)["clip-99"].clip_id == "clip-99"
    assert verify_cache(path).complete


def test_nothing_is_done_before_all_clips_are_known(path: Path) -> None:
    before = array_files(path)
    with pytest.raises(CacheError, match="has no clip clip-700; see"):
        drop_clips(path, ["clip-0", "clip-700"])
    assert array_files(path) == before
    found = to_drop(path, GONE)
    assert (found.clips, found.failed, found.nbytes) == (3, 1, 3 * LAYOUT.clip_bytes)
    assert array_files(path) == before


def test_clips_that_were_only_planned_leave_the_plan(path: Path) -> None:
    with CacheWriter.open(path, LAYOUT, CONFIG) as writer:
        writer.plan(names(75))
    assert unmade_clips(path) == names(75)[70:]
    assert drop_clips(path, unmade_clips(path)).unmade == 5
    assert verify_cache(path).complete


def test_what_was_said_of_them_goes_too(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0", "clip-1"], "label": ["zero", "one"], "take": [1, 2]}))
    drop_clips(path, ["clip-0"])
    fill(path, CLIPS, FAILING)
    cache = open_cache(path)
    assert (cache["clip-0"].label, cache["clip-1"].label) == ("0", "one")
    assert cache["clip-0"].metadata == {"take": None}


def test_a_clip_beside_them_that_is_damaged_is_made_again(path: Path, whole: Path) -> None:
    flip_a_byte(path / LAYOUT.arrays()[0].shard_key(0), 5 * LAYOUT.arrays()[0].nbytes - 1)
    dropped = drop_clips(path, ["clip-0"])
    assert dropped.lost == 1
    assert verify_cache(path).damages == ()
    assert fill(path, CLIPS, FAILING) == ["clip-0", "clip-5"]
    assert same_cache(path, whole)


def test_a_cache_that_is_being_written_is_left_alone(path: Path) -> None:
    for part in (Part(1, 1), Part(2, 3)):
        with CacheWriter.open(path, LAYOUT, CONFIG, part=part), pytest.raises(CacheError, match="is being written by"):
            drop_clips(path, ["clip-0"])


def drop_some(path: Path) -> None:
    drop_clips(path, GONE)


@pytest.mark.slow
def test_killed_before_any_change_it_is_done_or_not_begun_and_the_next_run_finishes(path: Path, tmp_path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0", "clip-1"], "label": ["zero", "one"]}))
    before = array_files(path)
    done = shutil.copytree(path, tmp_path / "done")
    begun = []
    for call in range(count_calls(CHANGES, drop_some, done)):
        killed = shutil.copytree(path, tmp_path / f"killed-{call}")
        kill_at(call, drop_some, killed)
        assert_published_clips_are_whole(killed)
        found = verify_cache(killed)
        assert (found.damages, found.missing) == ((), ())
        begun.append(bool(unfinished_drop(killed)))
        if not begun[-1] and array_files(killed).keys() - {"dropping.json.partial"} == before.keys():
            drop_some(killed)
        with CacheWriter.open(killed, LAYOUT, CONFIG):
            assert not unfinished_drop(killed)
        assert same_cache(killed, done), f"killed at change {call}"
    assert begun == [False] + [True] * (len(begun) - 1)


def test_one_id_is_one_clip_not_its_letters(tmp_path: Path) -> None:
    fill(tmp_path / "cache", CLIPS)
    assert drop_clips(tmp_path / "cache", "clip-12").total == 1
    assert len(open_cache(tmp_path / "cache")) == 69
    with pytest.raises(CacheError, match="has no clip clip-12;"):
        to_drop(tmp_path / "cache", "clip-12")


def test_a_part_s_run_does_not_begin_over_a_drop_that_was_cut_off(path: Path) -> None:
    (path / "dropping.json").write_text('["clip-0"]')
    with pytest.raises(CacheError, match="a drop of clips was cut off; finish it with `codecsieve drop"):
        CacheWriter.open(path, LAYOUT, CONFIG, part=Part(1, 2))
    found = verify_cache(path)
    assert (found.dropping, found.missing, found.complete) == (("clip-0",), (), False)
    drop_clips(path, [])
    assert "clip-0" not in open_cache(path)
    fill(path, CLIPS, FAILING, part=Part(1, 2))


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"a": 1}'])
def test_a_damaged_list_is_one_line(path: Path, content: str) -> None:
    (path / "dropping.json").write_text(content)
    with pytest.raises(CacheError, match=r"dropping.json is damaged; remove it"):
        fill(path, CLIPS)


@pytest.mark.slow
@settings(max_examples=10)
@given(st.lists(st.sets(st.sampled_from(CLIPS)), min_size=1, max_size=3))
def test_whatever_is_dropped_and_made_again_is_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, drops: list[set[str]]
) -> None:
    path = tmp_path_factory.mktemp("drops")
    fill(path / "whole", CLIPS, FAILING)
    fill(path / "cache", CLIPS, FAILING)
    gone: set[str] = set()
    for ids in drops:
        drop_clips(path / "cache", ids - gone)
        gone |= ids
        assert set(open_cache(path / "cache").index["id"].to_pylist()) == set(CLIPS) - gone
        assert verify_cache(path / "cache").complete
    fill(path / "cache", CLIPS, FAILING)
    assert same_cache(path / "cache", path / "whole")
