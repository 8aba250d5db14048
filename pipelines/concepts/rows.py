"""The vectors that are clustered, a slab at a time: held in memory where they fit, else read anew in every pass.

A slab is always of as many rows, whatever memory there is, so that sums come out with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from codecsieve.cache.features import FeatureCache
from codecsieve.errors import CacheError

SLAB = 4096
"""Rows that are searched at once; faiss takes as many."""


class Rows(Protocol):
    """Vectors of length 1."""

    width: int

    def __len__(self) -> int: ...

    def take(self, numbers: Sequence[int]) -> np.ndarray:
        """Some of them, float32 [n, D]."""
        ...


class HeldRows:
    """Vectors in memory, as float16 or float32 [N, D]."""

    def __init__(self, vectors: np.ndarray) -> None:
        """Take them as they are."""
        self._vectors, self.width = vectors, vectors.shape[1]

    def __len__(self) -> int:
        return len(self._vectors)

    def take(self, numbers: Sequence[int]) -> np.ndarray:
        """See `Rows`."""
        return unit(self._vectors[np.asarray(numbers, np.int64)])


class CachedRows:
    """Vectors of clips, by their numbers in the cache, read from a feature cache of one token a clip."""

    def __init__(self, features: FeatureCache, numbers: Sequence[int], ids: Sequence[str]) -> None:
        """ids: of the clips, for messages."""
        self._features, self._numbers, self._ids = features, numbers, ids
        self.width = features.shape[1]

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, numbers: Sequence[int]) -> np.ndarray:
        """See `Rows`. Raises CacheError where one is damaged, or of no length."""
        return unit(self._stored(numbers))

    def held(self) -> HeldRows:
        """The same, in memory."""
        kept = np.empty((len(self), self.width), np.float16)  # as they are stored: no bit is another
        for first in range(0, len(self), SLAB):
            last = min(first + SLAB, len(self))
            kept[first:last] = self._stored(range(first, last))
        return HeldRows(kept)

    def _stored(self, numbers: Sequence[int]) -> np.ndarray:
        found = self._features.read([self._numbers[number] for number in numbers])[:, 0]
        for place in np.flatnonzero(~found.any(1))[:1]:
            raise CacheError(f"clip {self._ids[numbers[place]]}: its feature is all zeros; check the encoder's weights")
        return found


def slabs(rows: Rows) -> Iterator[tuple[int, np.ndarray]]:
    """All rows in order: the number of a slab's first, and its vectors; the next is read meanwhile."""
    with ThreadPoolExecutor(1, "rows") as reader:
        starts = range(0, len(rows), SLAB)
        ahead = None
        for first in starts:
            current = ahead or reader.submit(rows.take, range(first, min(first + SLAB, len(rows))))
            following = range(first + SLAB, min(first + 2 * SLAB, len(rows)))
            ahead = reader.submit(rows.take, following) if following else None
            yield first, current.result()


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors as float32 of length 1; one of no length stays so."""
    made = np.array(vectors, np.float32)
    make_unit(made)
    return made


def make_unit(vectors: np.ndarray) -> None:
    """The same in place."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    vectors /= np.where(lengths > 0, lengths, 1)
