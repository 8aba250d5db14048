"""Some clusters of a bank and the clips that are nearest to their centres: which these are, and a picture of each.

What is drawn is the patches that the cache keeps, in place. How the pictures are shown is left to `page`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codecsieve.cache import SparseCache
from codecsieve.cache.concepts import Concepts
from codecsieve.mosaic import draw_kept

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 8
"""Clips of a cluster that are drawn."""
_SLOTS, _SIDE, _GAP = 4, 96, 6


@dataclass(frozen=True)
class Member:
    """A clip of a cluster: what the cache says of it; cosine: with the centre, None where that was not kept."""

    id: str
    label: str | None
    uri: str
    cosine: float | None


@dataclass(frozen=True)
class Cluster:
    """One cluster. members: its nearest clips, nearest first; labels: the most frequent ones of all its clips."""

    number: int
    size: int
    cosine: float | None
    members: list[Member]
    labels: list[tuple[str, int]]


def cluster_sizes(concepts: Concepts) -> np.ndarray:
    """How many clips are nearest to each centre: int64 [C]."""
    return np.bincount(concepts.labels[:, 0], minlength=concepts.classes)


def choose_clusters(concepts: Concepts, count: int) -> list[int]:
    """Clusters to show: the largest, the smallest that has a clip, and others evenly between."""
    sizes = cluster_sizes(concepts)
    by_size = np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]
    places = np.linspace(0, len(by_size) - 1, min(count, len(by_size))).round().astype(int)
    return [int(by_size[place]) for place in places]


def look_at(concepts: Concepts, cache: SparseCache, chosen: Sequence[int]) -> list[Cluster]:
    """Some of the clusters, by clips of a cache; those that the cache does not have are counted, not shown."""
    numbers = {clip_id: place for place, clip_id in enumerate(cache.clip_ids)}
    return [_look_at(concepts, cache, numbers, cluster) for cluster in chosen]


def _look_at(concepts: Concepts, cache: SparseCache, numbers: Mapping[str, int], number: int) -> Cluster:
    rows = np.flatnonzero(concepts.labels[:, 0] == number)
    cosines = None if concepts.cosines is None else concepts.cosines[rows, 0]
    if cosines is not None:
        order = np.argsort(-cosines, kind="stable")
        rows, cosines = rows[order], cosines[order]
    members: list[Member] = []
    labels = Counter[str]()
    for place, row in enumerate(rows):
        clip = numbers.get(concepts.ids[row])
        if clip is None:
            continue
        label = cache.labels[clip]
        labels.update([label] if label is not None else [])
        if len(members) < SHOWN:
            cosine = None if cosines is None else float(cosines[place])
            members.append(Member(concepts.ids[row], label, cache.uris[clip], cosine))
    mean = None if cosines is None or not len(cosines) else float(cosines.mean())
    return Cluster(number, len(rows), mean, members, labels.most_common(3))


def draw_sheet(cache: SparseCache, cluster: Cluster) -> Image.Image:
    """The nearest clips of a cluster below each other, a row each. Raises CacheError where one is damaged."""
    from PIL import Image

    batch = cache.read([member.id for member in cluster.members])
    rows = [
        draw_kept(None if batch.pixels is None else batch.pixels[place], positions, cache.grid, _SLOTS, _SIDE)
        for place, positions in enumerate(batch.positions)
    ]
    height = sum(row.height + _GAP for row in rows) - _GAP
    sheet = Image.new("RGB", (max((row.width for row in rows), default=1), max(1, height)), (255, 255, 255))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet
