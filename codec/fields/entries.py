"""References of blocks as the kernels take them: each picture with a weight is an entry, and its number a byte."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from codecsieve.codec.fields.memory import FieldsError
from codecsieve.kernels.reference.compensate import Weights

MOST_ENTRIES = 127
"""An entry is a signed byte."""


class Reference(NamedTuple):
    """A reference picture (or field) as a list has it: the same with other weights is another."""

    picture: int
    """Its number in the decoder."""
    weight: int
    offset: int


class Entries(NamedTuple):
    """What `kernels.reference.compensate` takes of entries."""

    pictures: tuple[int, ...]
    """Numbers of the pictures, each once."""
    plane_of: np.ndarray
    """int32 [n]."""
    weights: Weights | None


class EntryTable:
    """Gives each reference its entry, in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[Reference, int] = {}

    @property
    def references(self) -> list[Reference]:
        """By entry."""
        return list(self._numbers)

    def number(self, reference: Reference) -> int:
        """Its entry. Raises FieldsError where there are more than any stream has."""
        number = self._numbers.setdefault(reference, len(self._numbers))
        if number >= MOST_ENTRIES:
            raise FieldsError(f"no picture has more than {MOST_ENTRIES} references")
        return number

    def entries(self, denominator: int) -> Entries:
        """All of them, with explicit weights of so many bits (H.264 8.4.2.3, H.265 8.5.3.3.4.3)."""
        planes: dict[int, int] = {}
        plane_of = tuple(planes.setdefault(reference.picture, len(planes)) for reference in self._numbers)
        weights = tuple((reference.weight, reference.offset) for reference in self._numbers)
        return Entries(tuple(planes), _as_array(plane_of), _explicit_weights(denominator, weights))


@lru_cache(maxsize=256)
def _as_array(numbers: tuple[int, ...]) -> np.ndarray:
    return np.array(numbers, np.int32)


@lru_cache(maxsize=256)
def _explicit_weights(denominator: int, weights: tuple[tuple[int, int], ...]) -> Weights | None:
    """Weights by the weight and the offset of each entry; None where these change nothing."""
    single = np.array(weights, np.int32)
    if (single == (1 << denominator, 0)).all():
        return None
    pairs = np.stack(np.meshgrid(single[:, 0], single[:, 0], indexing="ij"), axis=-1).astype(np.int32)
    return Weights(denominator, single, pairs)
