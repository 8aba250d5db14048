"""Which clips make which split, and what their labels are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cache_cases import fill, names

from codecsieve.cache import open_cache
from codecsieve.errors import ConfigError, ManifestError
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.probe.datasets import CLASSES, Split, check_splits, find_clips, read_set, split_off_validation


def write_set(root: Path, name: str, **splits: str) -> None:
    (root / name).mkdir(parents=True)
    for split, lines in splits.items():
        (root / name / f"{split}.csv").write_text("path,label,start,end\n" + lines)


def lines(numbers: Sequence[int], label: Callable[[int], object]) -> str:
    return "".join(f"/videos/clip-{number}.mp4,{label(number)},,\n" for number in numbers)


def test_the_published_sets_are_known_with_their_class_counts() -> None:
    assert dict(CLASSES) == {
        "ssv2": 174, "diving48": 48, "perception_test": 63, "epic_verb": 97,
        "epic_noun": 300, "hmdb51": 51, "k400": 400, "charadesego": 157,
    }  # fmt: skip


def test_labels_are_class_indices_or_names(tmp_path: Path) -> None:
    write_set(tmp_path, "hmdb51", train=lines(range(3), lambda n: n * 25), val=lines([3], lambda n: 49))
    write_set(tmp_path, "diving48", train=lines(range(3), lambda n: "zyx"[n]), test=lines([3], lambda n: "x"))
    write_set(tmp_path, "mine", train=lines(range(3), lambda n: (10, 9, 10)[n]))
    indices, named, mine = (read_set(tmp_path, name) for name in ("hmdb51", "diving48", "mine"))
    assert len(indices.classes) == 51
    assert indices.labels == {"train": [0, 25, 50], "val": [49]}
    assert named.classes == ("x", "y", "z")
    assert named.labels == {"train": [2, 1, 0], "test": [0]}
    assert mine.classes == ("9", "10")
    assert mine.labels["train"] == [1, 0, 1]


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("hmdb51", {"train": "a.mp4,51,,\n"}, r"train.csv line 2: label \('51'\) must be in 0..50, the 51 classes of"),
        (
            "hmdb51",
            {"train": "a.mp4,3,,\n", "val": "b.mp4,-1,,\n"},
            r"label \('-1'\) must be one of the 1 classes|1 cl",
        ),
        (
            "mine",
            {"train": "a.mp4,x,,\nb.mp4,y,,\n", "val": "c.mp4,z,,\n"},
            r"val.csv line 2: label \('z'\) must be one",
        ),
        ("mine", {"train": "a.mp4,x,,\nb.mp4,,,\n"}, r"train.csv line 3: label must not be empty"),
        ("mine", {"train": "a.mp4,x,,\n"}, r"1 class, must have 2"),
        ("mine", {"val": "a.mp4,x,,\n"}, r"train.csv: no such file"),
        ("diving48", {"train": "".join(f"a.mp4,c{n},,\n" for n in range(49))}, r"49 classes, diving48 has 48"),
    ],
)
def test_labels_outside_of_the_classes_are_refused(
    tmp_path: Path, name: str, splits: dict[str, str], message: str
) -> None:
    write_set(tmp_path, name, **splits)
    with pytest.raises(ManifestError, match=message):
        read_set(tmp_path, name)


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
    train, validation = split_off_validation(Split(list(range(130)), labels), ids)
    assert [validation.labels.count(label) for label in range(4)] == [10, 2, 1, 0]
    assert sorted(train.numbers + validation.numbers) == list(range(130))
    assert all(labels[number] == label for number, label in zip(train.numbers, train.labels, strict=True))
    turned = split_off_validation(Split(list(range(129, -1, -1)), labels[::-1]), ids)[1]
    assert set(turned.numbers) == set(validation.numbers)


def test_empty_and_overlapping_splits_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path, "mine", train=lines(range(2), lambda n: n), test=lines([1], lambda n: n))
    labelled = read_set(tmp_path, "mine")
    with pytest.raises(ConfigError, match=r"split test \(0 clips\) must not be empty: 1 clips of .*test.csv failed"):
        check_splits({"train": Split([0], [0]), "test": Split([], [], 1)}, labelled)
    with pytest.raises(ConfigError, match=r"test.csv: 1 clips are in train, too"):
        check_splits({"train": Split([0, 1], [0, 1]), "test": Split([1], [1])}, labelled)
