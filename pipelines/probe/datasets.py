"""Labelled data sets: manifests say which clips make which split, and what their labels are.

A data set is a folder with manifests of path and label, see `inputs.manifest`: `train.csv` and, where it has them,
`val.csv` and `test.csv`, or such names as the published sets have, see `find_manifests`. Labels are the manifest's,
not the cache's, so that one cache of EPIC-KITCHENS serves verbs and nouns. Finding clips in a cache is left to
`splits`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codecsieve.errors import ConfigError, ManifestError
from codecsieve.pipelines.inputs.manifest import read_rows
from codecsieve.pipelines.inputs.row import Row
from codecsieve.pipelines.loading.dataset import class_names
from codecsieve.text import quoted

CLASSES: Mapping[str, int] = {
    "ssv2": 174,  # Goyal et al., arXiv 1706.04261; version 2
    "SSV2": 174,
    "diving48": 48,  # Li et al., ECCV 2018
    "perception_test": 63,  # temporal action localisation of Patraucean et al., arXiv 2305.13786
    "epic_verb": 97,  # Damen et al., arXiv 2006.13256
    "epic_noun": 300,  # the same
    "hmdb51": 51,  # Kuehne et al., ICCV 2011
    "ucf101": 101,  # Soomro et al., arXiv 1212.0402
    "k400": 400,  # Kay et al., arXiv 1705.06950
    "k600": 600,  # Carreira et al., arXiv 1808.01340
    "k700": 700,  # Carreira et al., arXiv 1907.06987
    "k710": 710,  # the three before together: Li et al., arXiv 2211.09552
    "mit": 339,  # Moments in Time: Monfort et al., arXiv 1801.03150
    "rareact": 149,  # Miech et al., arXiv 2008.01018
    "COIN": 150,  # Tang et al., arXiv 1903.02874; of its 180 tasks those that are evaluated
    "jester": 27,  # Materzynska et al., ICCV Workshops 2019
    "Drone_Action": 13,  # Perera et al., Drones 2019
    "charadesego": 157,  # Sigurdsson et al., arXiv 1804.09626
    "CharadesEgo_v1_only1st": 157,
    "CharadesEgo_v1_only3rd": 157,
}
"""Classes of the sets that OneVision-Encoder (arXiv 2602.08683) knows by name."""

MULTI_LABEL = frozenset({"charadesego", "CharadesEgo_v1_only1st", "CharadesEgo_v1_only3rd"})
"""Those of which a clip may show several classes: labels such as `3;17;40`, or several rows of one clip."""

SPLITS = ("train", "val", "test")

HEVC = "_hevc"
"""Ends the name of a set's folder whose videos were re-encoded for the codec's road."""

Place = tuple[str, float | None, float | None]
"""Path, start and end of a clip."""

Label = int | tuple[int, ...]
"""A class index; of a set of several classes a clip, all that it shows, ascending."""


@dataclass(frozen=True)
class LabelledSet:
    """A data set as its manifests have it. rows, labels: by split, one a clip; classes: their names; multi_label:
    whether clips have several of them.
    """

    name: str
    manifests: dict[str, Path]
    rows: dict[str, list[Row]]
    labels: dict[str, list[Label]]
    classes: tuple[str, ...]
    multi_label: bool = False

    def only(self, splits: Iterable[str]) -> LabelledSet:
        """The same set with some of its splits."""
        kept = [split for split in splits if split in self.rows]
        return replace(
            self, rows={name: self.rows[name] for name in kept}, labels={name: self.labels[name] for name in kept}
        )


def find_folder(data_root: str | os.PathLike[str], name: str, hevc: bool = False) -> Path:
    """`data_root/name`, or `data_root/name_hevc`, which goes first where `hevc`. Raises ManifestError."""
    root = Path(data_root).absolute()
    folders = [root / name, root / f"{name}{HEVC}"]
    for folder in reversed(folders) if hevc else folders:
        if folder.is_dir():
            return folder
    there = sorted(path.name for path in root.glob("[!.]*") if path.is_dir())
    raise ManifestError(
        f"data set {quoted(name)}: no folder {folders[0]} nor {folders[1].name}; in {root} there are "
        f"{', '.join(there) or 'none'}; known by name are {', '.join(CLASSES)}"
    )


def find_manifests(folder: Path, given: Mapping[str, str] | None = None) -> dict[str, Path]:
    """The manifests of a set's folder by split: of NAME_train_new.csv, train_new.csv, the only *_train_new.csv,
    NAME_train.csv and train.csv the first that is there, and of val and test those named alike.

    given: file names, of the folder or absolute, that go before. Raises ManifestError.
    """
    name = folder.name.removesuffix(HEVC)
    patterns = (f"{name}_{{}}_new.csv", "{}_new.csv", "*_{}_new.csv", f"{name}_{{}}.csv", "{}.csv")
    asked = {split: folder / file for split, file in (given or {}).items()}
    for split, path in asked.items():
        if not path.is_file():
            raise ManifestError(f"{path}: no such file; it was named to list the {split} clips")
    for pattern in patterns:
        found = {split: paths for split in SPLITS if (paths := sorted(folder.glob(pattern.format(split))))}
        for paths in found.values():
            if len(paths) > 1:
                raise ManifestError(f"{paths[0]} and {paths[1].name}: name one of them by --train-data-csv-path")
        if "train" in found:
            return {split: paths[0] for split, paths in found.items()} | asked
    if "train" not in asked:
        raise ManifestError(
            f"{folder / 'train.csv'}: no such file, nor {name}_train_new.csv or train_new.csv; it must list the "
            "training clips as path,label"
        )
    return asked


def read_set(
    data_root: str | os.PathLike[str],
    name: str,
    hevc: bool = False,
    manifests: Mapping[str, str] | None = None,
    num_classes: int | None = None,
) -> LabelledSet:
    """Read a data set.

    Labels that are whole numbers are class indices of a set in `CLASSES`; else they are names, in sorted order, and
    of validation and test must be among those of training. Of the sets in `MULTI_LABEL` rows of one clip are one, and
    where a clip then has several classes, clips have tuples of them.

    Args:
        data_root: folder of the data sets.
        name: of one of them.
        hevc: whether its folder NAME_hevc goes first.
        manifests: file names by split, see `find_manifests`.
        num_classes: of a set that is not in `CLASSES`; of one that is, a check.

    Raises ManifestError: one line with the file, the line, and what is wrong with it.
    """
    folder = find_folder(data_root, name, hevc)
    name = name.removesuffix(HEVC)
    found = find_manifests(folder, manifests)
    rows = {split: list(read_rows(str(path))) for split, path in found.items()}
    for row in (row for split in rows.values() for row in split):
        if row.label is None:
            raise ManifestError(f"{row.where}: label must not be empty: a probe learns from it")
    if name in MULTI_LABEL:
        rows = {split: _merged(split_rows) for split, split_rows in rows.items()}
    count = CLASSES.get(name, num_classes)
    if num_classes not in (None, count):
        raise ConfigError(f"num_classes ({num_classes}) must be {count}, the classes of {name}")
    parts = {split: [_parts(row, name) for row in rows[split]] for split in rows}
    if count is not None and all(
        label.isascii() and label.isdigit() for split in parts.values() for row in split for label in row
    ):
        classes = tuple(str(number) for number in range(count))
        rule = f"must be in 0..{count - 1}, the {count} classes of {name}"
    else:
        classes = class_names(label for row in parts["train"] for label in row)
        rule = f"must be one of the {len(classes)} classes of {found['train']}"
        if count is not None and len(classes) > count:
            raise ManifestError(
                f"{found['train']}: {len(classes)} classes, {name} has {count}; check the labels, or whether they "
                "are of another set"
            )
    if len(classes) < 2:
        raise ManifestError(f"{found['train']}: {len(classes)} class, must have 2 or more to tell apart")
    numbers = {label: number for number, label in enumerate(classes)}
    several = any(len(row) > 1 for split in parts.values() for row in split)
    labels: dict[str, list[Label]] = {}
    for split, split_rows in rows.items():
        indices = [
            tuple(sorted({_class_of(row, label, numbers, rule) for label in of_row}))
            for row, of_row in zip(split_rows, parts[split], strict=True)
        ]
        labels[split] = list(indices) if several else [one for (one,) in indices]
    return LabelledSet(name, found, rows, labels, classes, several)


def _merged(rows: Sequence[Row]) -> list[Row]:
    """Rows of one clip as one, with the labels of all."""
    first: dict[Place, Row] = {}
    for row in rows:
        place = (row.path, row.start, row.end)
        known = first.get(place)
        first[place] = row if known is None else replace(known, label=f"{known.label};{row.label}")
    return list(first.values())


def _parts(row: Row, name: str) -> tuple[str, ...]:
    """The labels of a row: one, but of a set in `MULTI_LABEL`, where `c017` is class 17."""
    label = row.label or ""
    if name not in MULTI_LABEL:
        return (label,)
    parts = [part for part in re.split(r"[;,\s]+", label) if part]
    return tuple(dict.fromkeys(part[1:] if re.fullmatch(r"c\d{3}", part) else part for part in parts))


def _class_of(row: Row, label: str, numbers: Mapping[str, int], rule: str) -> int:
    number = numbers.get(label, numbers.get(label.lstrip("0") or "0", -1) if label.isdigit() else -1)
    if number < 0:
        raise ManifestError(f"{row.where}: label ({quoted(label)}) {rule}")
    return number
