"""Which clips make which split, and what their labels are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from codecsieve.errors import ConfigError, ManifestError
from codecsieve.pipelines.probe.datasets import CLASSES, read_set


def write_set(root: Path, name: str, **splits: str) -> None:
    (root / name).mkdir(parents=True)
    for split, lines in splits.items():
        (root / name / f"{split}.csv").write_text("path,label,start,end\n" + lines)


def lines(numbers: Sequence[int], label: Callable[[int], object]) -> str:
    return "".join(f"/videos/clip-{number}.mp4,{label(number)},,\n" for number in numbers)


def test_the_published_sets_are_known_with_their_class_counts() -> None:
    assert dict(CLASSES) == {
        "ssv2": 174, "SSV2": 174, "diving48": 48, "perception_test": 63, "epic_verb": 97, "epic_noun": 300,
        "hmdb51": 51, "ucf101": 101, "k400": 400, "k600": 600, "k700": 700, "k710": 710, "mit": 339, "rareact": 149,
        "COIN": 150, "jester": 27, "Drone_Action": 13, "charadesego": 157, "CharadesEgo_v1_only1st": 157,
        "CharadesEgo_v1_only3rd": 157,
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


# --- names of folders and manifests

TWO = "a.mp4 0\nb.mp4 1\n"


def write_files(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(TWO)
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (("ssv2_train_new.csv", "ssv2_val_new.csv", "train.csv"), ("ssv2_train_new.csv", "ssv2_val_new.csv")),
        (("train_new.csv", "val_new.csv", "train.csv", "val.csv"), ("train_new.csv", "val_new.csv")),
        (("SSv2_train_new.csv", "SSv2_val_new.csv", "val.csv"), ("SSv2_train_new.csv", "SSv2_val_new.csv")),
        (("ssv2_train.csv", "ssv2_val.csv"), ("ssv2_train.csv", "ssv2_val.csv")),
        (("train.csv", "val_new.csv"), ("train.csv",)),
    ],
)
@pytest.mark.parametrize("folder", ["ssv2", "ssv2_hevc"])
def test_manifests_of_the_published_names_are_found(
    tmp_path: Path, folder: str, files: tuple[str, ...], found: tuple[str, ...]
) -> None:
    write_files(tmp_path / folder, *files)
    labelled = read_set(tmp_path, "ssv2")
    assert tuple(path.name for path in labelled.manifests.values()) == found
    assert labelled.rows["train"][0].path == str(tmp_path / folder / "a.mp4")
    assert (labelled.name, len(labelled.classes)) == ("ssv2", 174)


def test_of_two_folders_the_codec_road_takes_the_re_encoded_one(tmp_path: Path) -> None:
    for name in ("k400", "k400_hevc"):
        write_files(tmp_path / name, "train_new.csv")
    assert read_set(tmp_path, "k400").manifests["train"].parent.name == "k400"
    assert read_set(tmp_path, "k400", hevc=True).manifests["train"].parent.name == "k400_hevc"
    named = read_set(tmp_path, "k400_hevc")
    assert (named.manifests["train"].parent.name, len(named.classes)) == ("k400_hevc", 400)


def test_a_manifest_may_be_named(tmp_path: Path) -> None:
    write_files(tmp_path / "ucf101", "train.csv", "val.csv", "fold2.csv")
    manifests = read_set(tmp_path, "ucf101", manifests={"train": "fold2.csv"}).manifests
    assert [path.name for path in manifests.values()] == ["fold2.csv", "val.csv"]
    with pytest.raises(ManifestError, match=r"fold3.csv: no such file; it was named to list the val clips"):
        read_set(tmp_path, "ucf101", manifests={"val": "fold3.csv"})


def test_what_cannot_be_found_or_told_apart_is_told_with_what_there_is(tmp_path: Path) -> None:
    write_files(tmp_path / "mine", "a_train_new.csv", "b_train_new.csv")
    with pytest.raises(ManifestError, match=r"a_train_new.csv and b_train_new.csv: name one of them"):
        read_set(tmp_path, "mine")
    with pytest.raises(ManifestError, match=r"'hmbd51': no folder .*hmbd51 nor hmbd51_hevc; .* mine; known .*hmdb51"):
        read_set(tmp_path, "hmbd51")


def test_the_classes_of_a_set_may_be_said(tmp_path: Path) -> None:
    write_files(tmp_path / "mine", "train.csv")
    write_files(tmp_path / "jester", "train.csv")
    assert len(read_set(tmp_path, "mine", num_classes=12).classes) == 12
    with pytest.raises(ConfigError, match=r"num_classes \(12\) must be 27, the classes of jester"):
        read_set(tmp_path, "jester", num_classes=12)


# --- several classes a clip


@pytest.mark.parametrize(
    "lines",
    [
        "a.mp4,3;17;40\nb.mp4,5\n",
        'a.mp4,"40, 3 17"\nb.mp4,5\n',
        "a.mp4,3\nb.mp4,5\na.mp4,40\na.mp4,17\na.mp4,3\n",
        "a.mp4 c003;c017;c040\nb.mp4 c005\n",
    ],
)
def test_a_clip_of_charades_has_all_the_classes_that_are_said_of_it(tmp_path: Path, lines: str) -> None:
    folder = tmp_path / "charadesego"
    folder.mkdir()
    (folder / "train_new.csv").write_text(lines)
    labelled = read_set(tmp_path, "charadesego")
    assert labelled.multi_label
    assert labelled.labels["train"] == [(3, 17, 40), (5,)]
    assert len(labelled.rows["train"]) == 2
    assert len(labelled.classes) == 157


def test_where_each_clip_of_charades_has_one_class_it_is_a_set_like_others(tmp_path: Path) -> None:
    write_files(tmp_path / "charadesego", "train_new.csv")
    labelled = read_set(tmp_path, "charadesego")
    assert (labelled.multi_label, labelled.labels["train"]) == (False, [0, 1])


def test_a_class_that_charades_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "charadesego"
    folder.mkdir()
    (folder / "train.csv").write_text("a.mp4,3;157\nb.mp4,1\n")
    with pytest.raises(ManifestError, match=r"train.csv line 1: label \('157'\) must be in 0..156"):
        read_set(tmp_path, "charadesego")
