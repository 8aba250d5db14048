"""Fast CPU form of `kernels.reference.units`: the same functions, the same bits."""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.reference.compensate import LEFT_OUT, NO_ENTRY, UNIT


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
    """See `reference.units.hevc_units`."""
    vectors = np.zeros((rows, columns, 2, 2), np.int16)
    entries = np.full((rows, columns, 2), NO_ENTRY, np.int8)
    # A vector is moved as one number.
    _hevc_units(motion.view(np.int32), flags, slices, block, entry_of, side, vectors.view(np.int32)[..., 0], entries)
    return vectors, entries


@njit(cache=True, nogil=True)
def _hevc_units(
    motion: np.ndarray,
    flags: np.ndarray,
    slices: np.ndarray,
    block: int,
    entry_of: np.ndarray,
    side: int,
    vectors: np.ndarray,
    entries: np.ndarray,
) -> None:
    """Units of one coding tree block after the other: all of a block are of one slice."""
    rows, columns = entries.shape[0], entries.shape[1]
    span = block * side
    for by in range(slices.shape[0]):
        for bx in range(slices.shape[1]):
            at = slices[by, bx]
            if at < 0:
                continue
            for i in range(by * span, min(by * span + span, rows)):
                y = i // side
                for j in range(uintp(bx * span), uintp(min(bx * span + span, columns))):
                    x = j if side == 1 else j // uintp(side)
                    used = flags[y, x, 10]
                    for which in range(2):
                        index = flags[y, x, 8 + which]
                        if used >> which & 1 and 0 <= index < 16:
                            entry = entry_of[at, which, index]
                            if entry >= 0:
                                entries[i, j, which] = entry
                                vectors[i, j, which] = motion[y, x, which]


@njit(cache=True, nogil=True)
def list_motion(
    vectors: np.ndarray, entries: np.ndarray, lines: int, top: int, left: int, motion: np.ndarray
) -> None:
    """See `reference.units.list_motion`."""
    start, side = uintp(left), uintp(UNIT)
    for i in range(motion.shape[0]):
        row = (top + UNIT * i) // (UNIT * lines)
        for j in range(uintp(motion.shape[1])):
            column = (start + side * j) // side
            used = entries[row, column, 0]
            if used >= 0:
                motion[i, j, 0] = vectors[row, column, 0, 0]
                motion[i, j, 1] = min(max(vectors[row, column, 0, 1] * lines, -32768), 32767)
            elif used != LEFT_OUT:
                motion[i, j, 0] = motion[i, j, 1] = 0
