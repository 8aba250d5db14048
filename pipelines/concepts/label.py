"""Of each clip the centres that are nearest to it, by cosine, and what there is to say of both together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .nearest import Nearest
from .rows import SLAB, Rows, slabs, unit

SAME_CENTRE = 0.9999
"""Cosine from which on two centres are one twice."""
ALIKE = 0.99
"""Cosine from which on two of a clip's labels say the same."""
_FEW = 256  # clips whose centres are compared at once


@dataclass(frozen=True)
class Counts:
    """Of a bank.

    clips, centres, dims: how many, and numbers of a centre; empty: centres that are nearest to no clip;
    duplicate_centres: those that are as good as another one (cosine >= 0.9999); duplicate_clips: clips whose feature
    another one before them has, bit by bit; same_labels: clips all of whose labels another one before them has;
    collisions: clips all of whose centres are nearly the same (cosine >= 0.99 with the nearest one); largest: clips of
    the largest cluster; mean_cosine: of clips with their nearest centre.
    """

    clips: int
    centres: int
    dims: int
    empty: int
    duplicate_centres: int
    duplicate_clips: int
    same_labels: int
    collisions: int
    largest: int
    mean_cosine: float


@dataclass(frozen=True)
class Labelled:
    """labels: int32 [N, L], nearest first; cosines: float32 [N, L] with them."""

    labels: np.ndarray
    cosines: np.ndarray
    counts: Counts


def label_rows(
    rows: Rows, centres: np.ndarray, count: int, progress: Callable[[int, int], None] | None = None
) -> Labelled:
    """Find the `count` nearest centres of each vector. centres: float32 [C, D] of any length; progress: of vectors."""
    report = progress or (lambda done, total: None)
    towards = unit(centres)
    nearest = Nearest(towards, "cosine")
    labels, cosines = np.empty((len(rows), count), np.int32), np.empty((len(rows), count), np.float32)
    prints, collisions = np.empty(len(rows), np.uint64), 0
    report(0, len(rows))
    for first, vectors in slabs(rows):
        last = first + len(vectors)
        numbers, found = nearest.search(vectors, count)
        labels[first:last], cosines[first:last] = numbers, np.clip(found, -1, 1)
        prints[first:last] = [_print(vector) for vector in vectors]
        collisions += _alike(towards, numbers)
        report(last, len(rows))
    sizes = np.bincount(labels[:, 0], minlength=len(centres))
    counts = Counts(
        clips=len(rows),
        centres=len(centres),
        dims=rows.width,
        empty=int((sizes == 0).sum()),
        duplicate_centres=_duplicates(nearest, towards),
        duplicate_clips=len(prints) - len(np.unique(prints)),
        same_labels=len(labels) - len(np.unique(np.sort(labels, axis=1), axis=0)),
        collisions=collisions,
        largest=int(sizes.max()),
        mean_cosine=round(float(cosines[:, 0].mean(dtype=np.float64)), 6),
    )
    return Labelled(labels, cosines, counts)


def _print(vector: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(vector.tobytes(), digest_size=8).digest(), "little")


def _alike(towards: np.ndarray, numbers: np.ndarray) -> int:
    """How many clips have centres that are nearly the same."""
    if numbers.shape[1] < 2:
        return 0
    alike = 0
    for first in range(0, len(numbers), _FEW):
        here = towards[numbers[first : first + _FEW]]  # [n, L, D]
        alike += int((np.einsum("nld,nd->nl", here[:, 1:], here[:, 0]) >= ALIKE).all(1).sum())
    return alike


def _duplicates(nearest: Nearest, towards: np.ndarray) -> int:
    """How many centres are as good as another one."""
    if len(towards) < 2:
        return 0
    found = 0
    for first in range(0, len(towards), SLAB):
        numbers, cosines = nearest.search(towards[first : first + SLAB], 2)
        own = np.arange(first, first + len(numbers))
        other = np.where(numbers[:, 0] == own, cosines[:, 1], cosines[:, 0])
        found += int((other >= SAME_CENTRE).sum())
    return found
