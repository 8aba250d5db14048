"""Splits of a data set in a cache: which of its clips they are.

A clip is found by path, start and end, or, where videos were moved, by its content.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codecsieve.cache import SparseCache
from codecsieve.errors import ConfigError
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.probe.datasets import Label, LabelledSet, Place

_VALIDATION_PART = 0.1  # of the training clips of each class, where there is no val.csv


@dataclass(frozen=True)
class Split:
    """Clips of a cache. numbers: in the cache; labels: one each; failed: clips of the manifest that are not in."""

    numbers: list[int]
    labels: list[Label]
    failed: int = 0


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
        numbers: list[int] = []
        labels: list[Label] = []
        lost = 0
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


def check_splits(splits: Mapping[str, Split], ids: Mapping[str, Sequence[str]], labelled: LabelledSet) -> None:
    """Raise ConfigError where a split is empty, or shares clips with another. ids: of each split's clips."""
    seen: dict[str, str] = {}
    for name, split in splits.items():
        source = labelled.manifests.get(name, labelled.manifests["train"])
        if not split.numbers:
            why = (
                f"{split.failed} clips of {source} failed"
                if split.failed
                else "each class has one clip; write a val.csv"
            )
            raise ConfigError(f"split {name} (0 clips) must not be empty: {why}")
        shared = [seen[clip_id] for clip_id in ids[name] if clip_id in seen]
        if shared:
            raise ConfigError(
                f"{source}: {len(shared)} clips are in {shared[0]}, too, and must not be: accuracies would be false"
            )
        seen |= dict.fromkeys(ids[name], name)


def in_all(split: Split, cache: SparseCache, others: Sequence[SparseCache]) -> list[Split]:
    """The clips of a split that all of other caches have, as each has them, in the same order."""
    if len(others) == 1 and others[0] is cache:
        return [split]
    numbers = [{clip_id: number for number, clip_id in enumerate(other.clip_ids)} for other in others]
    ids = [cache.clip_ids[number] for number in split.numbers]
    kept = [at for at, clip_id in enumerate(ids) if all(clip_id in known for known in numbers)]
    labels, failed = [split.labels[at] for at in kept], split.failed + len(ids) - len(kept)
    return [Split([known[ids[at]] for at in kept], labels, failed) for known in numbers]


def split_off_validation(train: Split, clip_ids: Sequence[str]) -> tuple[Split, Split]:
    """Training clips without a tenth of each class, and that tenth: those whose ids' hashes come first.

    A class of one clip keeps it; of others at least one goes. Where clips have several classes, a tenth of all goes.
    clip_ids: the cache's, by number.
    """
    clips_of: dict[int | None, list[int]] = defaultdict(list)
    for at, label in enumerate(train.labels):
        clips_of[label if isinstance(label, int) else None].append(at)
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
