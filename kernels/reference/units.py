"""Definition of how a decoder's own tables of motion become vectors and references of 4x4 units.

Each codec keeps them in its own way; after this all are alike, and `compensate` predicts from them. Reading the tables
is left to `codec.fields`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codecsieve.kernels.reference.compensate import LEFT_OUT, NO_ENTRY, UNIT


class HevcMotion(NamedTuple):
    """HEVC's motion, a minimum prediction block each, as its decoder keeps it."""

    vectors: np.ndarray
    """int16 [Hp, Wp, 6]: x and y of list 0, of list 1, quarter-sample; the rest is that of `flags`."""
    flags: np.ndarray
    """int8 [Hp, Wp, 12], the same bytes: 8 and 9 are the reference indices, 10 says which lists are used."""
    slices: np.ndarray
    """int16 [Hb, Wb]: which slice a coding tree block belongs to; -1: none that is known."""
    block: int
    """Minimum prediction blocks on a side of a coding tree block."""
    entry_of: np.ndarray
    """int8 [slices, 2, 16]: entry of a reference index of a list; -1: none."""
    side: int
    """Units on a side of a minimum prediction block."""
    rows: int
    """Units in a column of the picture; likewise columns in a row."""
    columns: int

    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and entries of units, see `hevc_units`."""
        return hevc_units(*self)


def hevc_units(
    motion: np.ndarray,
    flags: np.ndarray,
    slices: np.ndarray,
    block: int,
    entry_of: np.ndarray,
    side: int,
    rows: int,
    columns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """HEVC's motion to units. Arguments: see `HevcMotion`.

    Returns:
        vectors: int16 [rows, columns, 2, 2]; 0 where there is none.
        entries: int8 [rows, columns, 2]; NO_ENTRY where a list is not used, or refers to what there is not.
    """
    y, x = np.arange(rows) // side, np.arange(columns) // side
    vectors = motion[y[:, None], x, :4].reshape(rows, columns, 2, 2)
    at = slices[(y // block)[:, None], x // block]
    used = flags[y[:, None], x, 10, None] >> np.arange(2) & 1 > 0
    index = flags[y[:, None], x, 8:10]
    known = used & (at[..., None] >= 0) & (index >= 0) & (index < 16)
    entries = entry_of[np.maximum(at, 0)[..., None], np.arange(2), np.clip(index, 0, 15)]
    entries = np.where(known, entries, NO_ENTRY).astype(np.int8)
    return np.where((entries >= 0)[..., None], vectors, 0).astype(np.int16), entries


def list_motion(vectors: np.ndarray, entries: np.ndarray, lines: int, top: int, left: int, motion: np.ndarray) -> None:
    """List-0 motion of units put on the cells of the shown picture.

    Args:
        vectors: int16 [Hu, Wu, 2, 2], quarter-sample, by list, then x, y.
        entries: int8 [Hu, Wu, 2]; a cell keeps what it has where its unit is LEFT_OUT.
        lines: lines of the picture from one line of `vectors` to the next: 1, or of a field 2.
        top: first shown luma row of the coded picture; likewise left.
        motion: int16 [ceil(height / 4), ceil(width / 4), 2], quarter-sample of the picture, x then y; set to 0 where
            there is no list-0 vector.
    """
    rows = (top + np.arange(motion.shape[0]) * UNIT) // (UNIT * lines)
    columns = (left + np.arange(motion.shape[1]) * UNIT) // UNIT
    used = entries[rows[:, None], columns, 0]
    found = vectors[rows[:, None], columns, 0].astype(np.int32) * (1, lines)
    found = np.where((used >= 0)[..., None], np.clip(found, -32768, 32767), 0)
    motion[:] = np.where((used == LEFT_OUT)[..., None], motion, found)
