"""Merging: the clips of all caches with the bytes they have, in whichever order and grouping."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
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
    make_clip,
    make_record,
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
    compact_cache,
    merge_caches,
    open_cache,
    repair_cache,
    say_of_cache,
    unmade_clips,
    verify_cache,
)

CLIPS = names(150)


def parts_of(path: Path, count: int, clips: Sequence[str] = CLIPS) -> list[Path]:
    """Caches of one plan, made on machines that never talk."""
    paths = [path / f"part-{number}" for number in range(1, count + 1)]
    for number, part in enumerate(paths, 1):
        fill(part, clips, {"clip-7"}, part=Part(number, count))
    return paths


@pytest.mark.slow
def test_parts_merged_are_one_run_s_cache(tmp_path: Path) -> None:
    first, second = parts_of(tmp_path, 2)
    merged = merge_caches(tmp_path / "out", [second, first])
    assert (merged.copied, merged.before, merged.failed, merged.unmade) == (149, 0, 1, 0)
    assert (merged.differing, merged.said) == (0, 0)
    fill(tmp_path / "one", CLIPS, {"clip-7"})
    assert same_cache(tmp_path / "out", tmp_path / "one")
    assert merge_caches(tmp_path / "out", [first, second]).copied == 0
    assert same_cache(tmp_path / "out", tmp_path / "one")


@pytest.mark.slow
def test_a_part_may_be_gone_on_with_by_the_others(tmp_path: Path) -> None:
    first, second, third = parts_of(tmp_path, 3)
    merge_caches(first, [first, third])
    assert unmade_clips(first) == CLIPS[64:128]
    merge_caches(first, second)
    fill(tmp_path / "one", CLIPS, {"clip-7"})
    assert same_cache(first, tmp_path / "one")


@pytest.mark.slow
def test_packs_are_merged_and_gone_on_with_as_parts_are(tmp_path: Path) -> None:
    first, second = parts_of(tmp_path, 2)
    compact_cache(first)
    merge_caches(tmp_path / "out", [first, second])
    fill(tmp_path / "one", CLIPS, {"clip-7"})
    assert same_cache(tmp_path / "out", tmp_path / "one")
    merge_caches(first, [second])
    assert verify_cache(first).complete
    assert open_cache(first).index.num_rows == 150


@pytest.mark.slow
def test_a_clip_that_is_in_anywhere_is_in_whatever_failed(tmp_path: Path) -> None:
    fill(tmp_path / "a", names(3), names(3))
    fill(tmp_path / "b", names(2))
    for order in (["a", "b"], ["b", "a"]):
        out = tmp_path / "".join(order)
        merged = merge_caches(out, [tmp_path / name for name in order])
        assert (merged.copied, merged.failed) == (2, 1)
        assert_published_clips_are_whole(out)
        assert fill(out, names(3), retry_failed=True) == ["clip-2"]


def test_caches_of_other_options_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    fill(tmp_path / "a", names(2))
    fill(tmp_path / "b", names(2), config=CONFIG | {"fuse": "max"})
    with pytest.raises(CacheError, match=r"cache .*b was made with fuse=max, .*a with weighted; merge caches"):
        merge_caches(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(CacheError, match=r"cache .*b was made with fuse=max, .*a with weighted"):
        merge_caches(tmp_path / "a", [tmp_path / "b"])
    with pytest.raises(CacheError, match="is not a cache"):
        merge_caches(tmp_path / "out", [tmp_path / "a", tmp_path / "c"])
    with pytest.raises(CacheError, match="no cache to merge"):
        merge_caches(tmp_path / "out", [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("other", [{"fingerprint": "b"}, {"start": 1.0}, {"end": 2.0}])
def test_one_id_for_different_clips_is_refused_before_anything_is_made(
    tmp_path: Path, other: dict[str, object]
) -> None:
    for name, changes in (("a", {}), ("b", other)):
        with CacheWriter.open(tmp_path / name, LAYOUT, CONFIG) as writer:
            (work,) = writer.plan(["clip-1"])
            record = {**vars(make_record("clip-1")), "fingerprint": "a", **changes}
            writer.write_shard(work.shard, {"clip-1": make_clip("clip-1")}, [type(make_record("clip-1"))(**record)])
    with pytest.raises(CacheError, match=r"clip clip-1 has \w+ .* in .*a, .* in .*b: not the same clip"):
        merge_caches(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "out").exists()


def test_damaged_bytes_are_taken_from_another_cache(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(tmp_path / name, names(5))
    flip_a_byte(tmp_path / "a" / LAYOUT.arrays()[0].shard_key(0), 3)
    merge_caches(tmp_path / "both", [tmp_path / "a", tmp_path / "b"])
    assert same_cache(tmp_path / "both", tmp_path / "b")


@pytest.mark.slow
def test_damaged_clips_are_said_when_all_others_are_in_and_the_same_merge_goes_on(tmp_path: Path) -> None:
    a, b, out = (tmp_path / name for name in ("a", "b", "out"))
    fill(a, names(70)[5:])
    fill(b, names(5))
    flip_a_byte(a / LAYOUT.arrays()[0].shard_key(0), 3)
    (a / LAYOUT.arrays()[1].shard_key(1)).unlink()
    with pytest.raises(
        CacheError,
        match=r"clip clip-5 of cache .*a and 1 more are damaged, and not in .*out, which has the other 68; run "
        r"`codecsieve verify .*a --repair` and precompute again, then merge again",
    ):
        merge_caches(out, [a, b])
    assert_published_clips_are_whole(out)
    assert unmade_clips(out) == ["clip-5", "clip-69"]
    assert verify_cache(out).damages == ()
    repair_cache(a)
    fill(a, names(70)[5:])
    assert merge_caches(out, [a, b]).copied == 2
    assert_published_clips_are_whole(out)
    assert len(open_cache(out)) == 70


def test_clips_that_a_drop_which_was_cut_off_takes_out_stay_out(tmp_path: Path) -> None:
    for name, clips in (("into", names(5)), ("of", names(9)[5:])):
        fill(tmp_path / name, clips)
        say_of_cache(tmp_path / name, pa.table({"id": clips[:2], "label": ["x", "y"]}))
        (tmp_path / name / "dropping.json").write_text(json.dumps(clips[1:3]))
    merged = merge_caches(tmp_path / "into", [tmp_path / "of"])
    assert (merged.copied, merged.before, merged.unmade) == (2, 3, 0)
    assert open_cache(tmp_path / "into").clip_ids == ["clip-0", "clip-5", "clip-8", "clip-3", "clip-4"]
    assert unmade_clips(tmp_path / "into") == []
    assert (tmp_path / "of" / "dropping.json").exists()


def test_what_the_result_has_lost_is_put_back(tmp_path: Path) -> None:
    fill(tmp_path / "a", names(5))
    merge_caches(tmp_path / "out", [tmp_path / "a"])
    (tmp_path / "out" / LAYOUT.arrays()[1].shard_key(0)).unlink()
    assert merge_caches(tmp_path / "out", [tmp_path / "a"]).copied == 5
    assert same_cache(tmp_path / "out", tmp_path / "a")


def test_labels_and_columns_are_joined_and_the_first_named_counts(tmp_path: Path) -> None:
    fill(tmp_path / "a", names(3))
    fill(tmp_path / "b", names(5)[1:])
    say_of_cache(tmp_path / "a", pa.table({"id": ["clip-1"], "label": ["a"], "take": [1]}))
    said = {"id": ["clip-1", "clip-2", "clip-4"], "label": ["b", "b", "b"], "Take": ["x", "y", "z"], "who": ["q"] * 3}
    say_of_cache(tmp_path / "b", pa.table(said))
    merged = merge_caches(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    assert merged.said == 2  # clip-1, and clip-2, of which a says what its inputs said
    cache = open_cache(tmp_path / "out")
    assert {clip.clip_id: (clip.label, *clip.metadata.values()) for clip in cache} == {
        "clip-0": ("0", None, None),
        "clip-1": ("a", "1", "q"),
        "clip-2": ("b", "y", "q"),
        "clip-3": ("3", None, None),
        "clip-4": ("b", "z", "q"),
    }
    assert merge_caches(tmp_path / "out", [tmp_path / "b", tmp_path / "a"]).copied == 0
    assert open_cache(tmp_path / "out")["clip-1"].label == "a"


def test_progress_is_told_from_the_start_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    merge_caches(tmp_path / "out", parts_of(tmp_path, 2), lambda done, total: told.append((done, total)))
    assert told[0] == (0, 150)
    assert told[-1] == (150, 150)


def merge_two(path: Path, out: Path) -> None:
    merge_caches(out, [path / "part-1", path / "part-2"])


@pytest.mark.slow
def test_killed_before_any_change_a_second_merge_finishes_with_the_same_bytes(tmp_path: Path) -> None:
    for part in parts_of(tmp_path, 2, names(70)):
        say_of_cache(part, pa.table({"id": ["clip-1"], "label": ["x"]}))
    whole = tmp_path / "whole"
    for call in range(count_calls(CHANGES, merge_two, tmp_path, whole)):
        killed = tmp_path / f"killed-{call}"
        kill_at(call, merge_two, tmp_path, killed)
        assert_published_clips_are_whole(killed)
        merge_two(tmp_path, killed)
        assert same_cache(killed, whole), f"killed at change {call}"


@dataclass(frozen=True)
class Made:
    """A cache to make: clips in the order in which they are planned, those that failed, and the part that was made."""

    clips: tuple[str, ...]
    failing: frozenset[str]
    part: tuple[int, int]


SOME = names(100)
made = st.builds(
    Made,
    st.lists(st.sampled_from(SOME), max_size=80, unique=True).map(tuple),
    st.frozensets(st.sampled_from(SOME), max_size=20),
    st.sampled_from([(1, 1), (1, 2), (2, 2)]),
)


def state(path: Path) -> dict[str, str]:
    """What became of each clip."""
    index = open_cache(path).index
    found = dict(zip(index["id"].to_pylist(), index["status"].to_pylist(), strict=True))
    return found | dict.fromkeys(unmade_clips(path), "unmade")


@pytest.mark.slow
@settings(max_examples=12)
@given(st.lists(made, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_order_and_grouping_gives_the_clips_of_all(
    tmp_path_factory: pytest.TempPathFactory, caches: list[Made], random: object
) -> None:
    path = tmp_path_factory.mktemp("merge")
    best = {"ok": 2, "failed": 1, "unmade": 0}
    wanted: dict[str, str] = {}
    waiting: list[Path] = []
    for number, cache in enumerate(caches):
        fill(path / f"{number}", cache.clips, cache.failing, part=Part(*cache.part))
        waiting.append(path / f"{number}")
        for clip_id, was in state(waiting[-1]).items():
            wanted[clip_id] = max(was, wanted.get(clip_id, "unmade"), key=best.__getitem__)
    while len(waiting) > 1:
        random.shuffle(waiting)  # type: ignore[attr-defined]
        taken, waiting = waiting[:2], waiting[2:]
        out = taken[0] if random.random() < 0.3 else path / f"merged-{len(waiting)}"  # type: ignore[attr-defined]
        merge_caches(out, taken if out not in taken else taken[1:])
        waiting.append(out)
    assert state(waiting[0]) == wanted
    assert_published_clips_are_whole(waiting[0])
    assert verify_cache(waiting[0]).damages == ()


@pytest.mark.slow
@settings(max_examples=6)
@given(st.integers(2, 5), st.randoms(use_true_random=False), st.booleans())
def test_parts_merged_in_any_order_and_grouping_are_one_run(
    tmp_path_factory: pytest.TempPathFactory, count: int, random: object, compacted: bool
) -> None:
    path = tmp_path_factory.mktemp("parts")
    waiting = parts_of(path, count, names(260))
    fill(path / "one", names(260), {"clip-7"})
    if compacted:
        compact_cache(waiting[0])
    while len(waiting) > 1:
        random.shuffle(waiting)  # type: ignore[attr-defined]
        out = path / f"merged-{len(waiting)}"
        merge_caches(out, waiting[:2])
        waiting = [*waiting[2:], out]
    assert same_cache(waiting[0], path / "one")


def test_merging_leaves_the_caches_as_they_were(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, 2)
    before = [array_files(part) for part in parts]
    shutil.copytree(parts[0], tmp_path / "out")
    merge_caches(tmp_path / "out", parts)
    assert [array_files(part) for part in parts] == before
