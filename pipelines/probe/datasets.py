"""Labelled splits of a cache: manifests say which clips make which split, and what their labels are.

A data set is a folder with `train.csv` and, where it has them, `val.csv` and `test.csv`: manifests with path and label,
see `inputs.manifest`. Labels are the manifest's, not the cache's, so that one cache of EPIC-KITCHENS serves verbs and
nouns. A clip is found by path, start and end, or, where videos were moved, by its content.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codecsieve.cache import SparseCache
from codecsieve.errors import ConfigError, ManifestError
from codecsieve.pipelines.inputs.manifest import Row, read_rows
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.loading.dataset import class_names
from codecsieve.text import quoted

CLASSES: Mapping[str, int] = {
    "ssv2": 174,  # Goyal et al., arXiv 1706.04261; version 2
    "diving48": 48,  # Li et al., ECCV 2018
    "perception_test": 63,  # temporal action localisation of Patraucean et al., arXiv 2305.13786
    "epic_verb": 97,  # Damen et al., arXiv 2006.13256
    "epic_noun": 300,  # the same
    "hmdb51": 51,  # Kuehne et al., ICCV 2011
    "k400": 400,  # Kay et al., arXiv 1705.06950
    "charadesego": 157,  # Sigurdsson et al., arXiv 1804.09626
}
"""Classes of the sets that OneVision-Encoder (arXiv 2602.08683) is evaluated on."""

SPLITS = ("train", "val", "test")

_VALIDATION_PART = 0.1  # of the training clips of each class, where there is no val.csv

Place = tuple[str, float | None, float | None]
"""Path, start and end of a clip."""


@dataclass(frozen=True)
class LabelledSet:
    """A data set as its manifests have it. rows: by split; labels: class index of each row; classes: their names."""

    name: str
    manifests: dict[str, Path]
    rows: dict[str, list[Row]]
    labels: dict[str, list[int]]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Clips of a cache. numbers: in the cache; labels: class indices; failed: clips of the manifest that are not in."""

    numbers: list[int]
    labels: list[int]
    failed: int = 0


def read_set(data_root: str | os.PathLike[str], name: str) -> LabelledSet:
    """Read the manifests `data_root/name/{train,val,test}.csv`.

    Labels that are whole numbers are class indices of a set in `CLASSES`; else they are names, in sorted order, and
    of validation and test must be among those of training.

    Raises ManifestError: one line with the file, the line, and what is wrong with it.
    """
    folder = Path(data_root).absolute() / name
    manifests = {split: folder / f"{split}.csv" for split in SPLITS if (folder / f"{split}.csv").exists()}
    if "train" not in manifests:
        raise ManifestError(f"{folder / 'train.csv'}: no such file; it must list the training clips as path,label")
    rows = {split: list(read_rows(str(path))) for split, path in manifests.items()}
    for row in (row for split in rows.values() for row in split):
        if row.label is None:
            raise ManifestError(f"{row.where}: label must not be empty: a probe learns from it")
    count = CLASSES.get(name)
    plain = [row.label or "" for split in rows.values() for row in split]
    if count is not None and all(label.isascii() and label.isdigit() for label in plain):
        classes = tuple(str(number) for number in range(count))
        rule = f"must be in 0..{count - 1}, the {count} classes of {name}"
    else:
        classes = class_names(row.label for row in rows["train"])
        rule = f"must be one of the {len(classes)} classes of {manifests['train']}"
        if count is not None and len(classes) > count:
            raise ManifestError(
                f"{manifests['train']}: {len(classes)} classes, {name} has {count}; check the labels, or whether they "
                "are of another set"
            )
    if len(classes) < 2:
        raise ManifestError(f"{manifests['train']}: {len(classes)} class, must have 2 or more to tell apart")
    numbers = {label: number for number, label in enumerate(classes)}
    labels = {split: [_class_of(row, numbers, rule) for row in rows[split]] for split in rows}
    return LabelledSet(name, manifests, rows, labels, classes)


def find_clips(
    cache: SparseCache, labelled: LabelledSet, requests: Sequence[ClipRequest] = ()
) -> dict[str, Split] | None:
    """The splits of a set; None where a clip of them was never tried for the cache.

    requests: the same clips with their ids, for those that are not where the index says that they were.
    """
    ids = {(request.path, request.start, request.end): request.id for request in requests}
    by_id = {clip_id: number for number, clip_id in enumerate(cache.clip_ids)}
    by_place: dict[Place, int | None] = {}
    failed = set()
    for record in cache.index.select(["id", "uri", "start", "end"]).to_pylist():
        place, number = (record["uri"], record["start"], record["end"]), by_id.get(record["id"])
        if number is None:
            failed.add(record["id"])
        if by_place.get(place) is None:
            by_place[place] = number
    splits = {}
    for split, rows in labelled.rows.items():
        numbers, labels, lost = [], [], 0
        for row, label in zip(rows, labelled.labels[split], strict=True):
            place = (row.path, row.start, row.end)
            clip_id = ids.get(place, "")
            if place not in by_place and clip_id not in by_id and clip_id not in failed:
                return None
            number = by_id.get(clip_id, by_place.get(place))
            if number is None:
                lost += 1
            else:
                numbers.append(number)
                labels.append(label)
        splits[split] = Split(numbers, labels, lost)
    return splits


def check_splits(splits: Mapping[str, Split], labelled: LabelledSet) -> None:
    """Raise ConfigError where a split is empty, or shares clips with another."""
    seen: dict[int, str] = {}
    for name, split in splits.items():
        source = labelled.manifests.get(name, labelled.manifests["train"])
        if not split.numbers:
            why = (
                f"{split.failed} clips of {source} failed"
                if split.failed
                else "each class has one clip; write a val.csv"
            )
            raise ConfigError(f"split {name} (0 clips) must not be empty: {why}")
        shared = [seen[number] for number in split.numbers if number in seen]
        if shared:
            raise ConfigError(
                f"{source}: {len(shared)} clips are in {shared[0]}, too, and must not be: accuracies would be false"
            )
        seen |= dict.fromkeys(split.numbers, name)


def split_off_validation(train: Split, clip_ids: Sequence[str]) -> tuple[Split, Split]:
    """Training clips without a tenth of each class, and that tenth: those whose ids' hashes come first.

    A class of one clip keeps it; of others at least one goes. clip_ids: the cache's, by number.
    """
    clips_of: dict[int, list[int]] = defaultdict(list)
    for at, label in enumerate(train.labels):
        clips_of[label].append(at)
    taken: set[int] = set()
    for places in clips_of.values():
        distinct = {train.numbers[at] for at in places}
        count = max(1, round(len(distinct) * _VALIDATION_PART)) if len(distinct) > 1 else 0
        taken |= set(sorted(distinct, key=lambda number: _hash(clip_ids[number]))[:count])
    kept = [at for at, number in enumerate(train.numbers) if number not in taken]
    left = [at for at, number in enumerate(train.numbers) if number in taken]
    return _pick(train, kept, train.failed), _pick(train, left, 0)


def _pick(split: Split, places: Sequence[int], failed: int) -> Split:
    return Split([split.numbers[at] for at in places], [split.labels[at] for at in places], failed)


def _hash(clip_id: str) -> bytes:
    return hashlib.blake2b(clip_id.encode(), digest_size=8).digest()


def _class_of(row: Row, numbers: Mapping[str, int], rule: str) -> int:
    label = row.label or ""
    number = numbers.get(label, numbers.get(label.lstrip("0") or "0", -1) if label.isdigit() else -1)
    if number < 0:
        raise ManifestError(f"{row.where}: label ({quoted(label)}) {rule}")
    return number
