"""References of blocks as the kernels take them: each picture with a weight is an entry, and its number a byte."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Entries:
    """What `kernels.reference.compensate` takes of entries."""

    pictures: tuple[int, ...]
    """Numbers of the pictures, each once."""
    plane_of: np.ndarray
    """int32 [n]."""
    weights: Weights | None


class EntryTable:
    """Gives each reference its entry, in the order in which they first come."""

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self._numbers: dict[Reference, int] = {}

    def number(self, reference: Reference) -> int:
        """Its entry. Raises FieldsError where there are more than any stream has."""
        if reference not in self._numbers:
            if len(self.references) == MOST_ENTRIES:
                raise FieldsError(f"no picture has more than {MOST_ENTRIES} references")
            self._numbers[reference] = len(self.references)
            self.references.append(reference)
        return self._numbers[reference]

    def entries(self, denominator: int) -> Entries:
        """All of them, with explicit weights of so many bits (H.264 8.4.2.3, H.265 8.5.3.3.4.3)."""
        pictures = tuple(dict.fromkeys(reference.picture for reference in self.references))
        plane_of = np.array([pictures.index(reference.picture) for reference in self.references], np.int32)
        single = np.array([(reference.weight, reference.offset) for reference in self.references], np.int32)
        if (single == (1 << denominator, 0)).all():
            return Entries(pictures, plane_of, None)
        pairs = np.stack(np.meshgrid(single[:, 0], single[:, 0], indexing="ij"), axis=-1).astype(np.int32)
        return Entries(pictures, plane_of, Weights(denominator, single, pairs))
