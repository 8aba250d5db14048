"""Which clips of a cache make which split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cache_cases import fill, names

from codecsieve.cache import open_cache
from codecsieve.errors import ConfigError
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.probe.datasets import read_set
from codecsieve.pipelines.probe.splits import Split, check_splits, find_clips, in_all, split_off_validation


def write_set(root: Path, name: str, **splits: str) -> None:
    (root / name).mkdir(parents=True)
    for split, lines in splits.items():
        (root / name / f"{split}.csv").write_text("path,label,start,end\n" + lines)


def lines(numbers: Sequence[int], label: Callable[[int], object]) -> str:
    return "".join(f"/videos/clip-{number}.mp4,{label(number)},,\n" for number in numbers)


def test_clips_are_found_by_place_or_by_id_and_failed_ones_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(12), failing={"clip-2"})
    cache = open_cache(tmp_path / "cache")
    write_set(tmp_path, "mine", train=lines(range(4), lambda n: n % 2), val=lines([7, 5], lambda n: n % 2))
    labelled = read_set(tmp_path, "mine")
    found = find_clips(cache, labelled)
    assert found is not None
    assert [cache.clip_ids[number] for number in found["train"].numbers] == ["clip-0", "clip-1", "clip-3"]
    assert found["train"].labels == [0, 1, 1]  # the manifest's, not the cache's
    assert found["train"].failed == 1
    assert [cache.clip_ids[number] for number in found["val"].numbers] == ["clip-7", "clip-5"]

    write_set(tmp_path, "moved", train="/new/a.mp4,x,,\n/videos/clip-4.mp4,y,,\n")
    moved = read_set(tmp_path, "moved")
    assert find_clips(cache, moved) is None
    by_id = find_clips(cache, moved, [ClipRequest("/new/a.mp4", "clip-9")])
    assert by_id is not None
    assert [cache.clip_ids[number] for number in by_id["train"].numbers] == ["clip-9", "clip-4"]


def test_a_tenth_of_each_class_is_split_off_the_same_clips_whatever_their_order() -> None:
    ids = [f"clip-{number}" for number in range(130)]
    labels = [0] * 100 + [1] * 20 + [2] * 9 + [3]
    train, validation = split_off_validation(Split(list(range(130)), list(labels)), ids)
    assert [validation.labels.count(label) for label in range(4)] == [10, 2, 1, 0]
    assert sorted(train.numbers + validation.numbers) == list(range(130))
    assert all(labels[number] == label for number, label in zip(train.numbers, train.labels, strict=True))
    turned = split_off_validation(Split(list(range(129, -1, -1)), list(labels[::-1])), ids)[1]
    assert set(turned.numbers) == set(validation.numbers)


def test_empty_and_overlapping_splits_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path, "mine", train=lines(range(2), lambda n: n), test=lines([1], lambda n: n))
    labelled = read_set(tmp_path, "mine")
    with pytest.raises(ConfigError, match=r"split test \(0 clips\) must not be empty: 1 clips of .*test.csv failed"):
        check_splits({"train": Split([0], [0]), "test": Split([], [], 1)}, {"train": ["a"], "test": []}, labelled)
    shared = {"train": ["a", "b"], "test": ["b"]}
    with pytest.raises(ConfigError, match=r"test.csv: 1 clips are in train, too"):
        check_splits({"train": Split([0, 1], [0, 1]), "test": Split([1], [1])}, shared, labelled)


def test_where_clips_have_several_classes_a_tenth_of_all_is_split_off() -> None:
    ids = [f"clip-{number}" for number in range(40)]
    train, validation = split_off_validation(Split(list(range(40)), [(n % 7, 8) for n in range(40)]), ids)
    assert (len(train.numbers), len(validation.numbers)) == (36, 4)


def test_a_split_of_several_caches_has_the_clips_that_all_of_them_have(tmp_path: Path) -> None:
    fill(tmp_path / "one", names(6))
    fill(tmp_path / "two", names(6)[::-1], failing={"clip-3"})
    one, two = open_cache(tmp_path / "one"), open_cache(tmp_path / "two")
    numbers = [one.clip_ids.index(f"clip-{number}") for number in (5, 3, 0)]
    here, there = in_all(Split(numbers, [50, 30, 0], 2), one, [one, two])
    assert [one.clip_ids[number] for number in here.numbers] == ["clip-5", "clip-0"]
    assert [two.clip_ids[number] for number in there.numbers] == ["clip-5", "clip-0"]
    assert here.labels == there.labels == [50, 0]
    assert here.failed == there.failed == 3
