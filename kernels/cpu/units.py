"""Fast CPU form of `kernels.reference.units`: the same functions, the same bits."""

from __future__ import annotations

import numpy as np
from numba import njit

from codecsieve.kernels.reference.compensate import LEFT_OUT, UNIT


@njit(cache=True, nogil=True)
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
    entries = np.full((rows, columns, 2), -1, np.int8)
    for i in range(rows):
        y = i // side
        for j in range(columns):
            x = j // side
            at = slices[y // block, x // block]
            if at < 0:
                continue
            for which in range(2):
                index = flags[y, x, 8 + which]
                if flags[y, x, 10] >> which & 1 and 0 <= index < 16:
                    entry = entry_of[at, which, index]
                    if entry >= 0:
                        entries[i, j, which] = entry
                        vectors[i, j, which, 0] = motion[y, x, 2 * which]
                        vectors[i, j, which, 1] = motion[y, x, 2 * which + 1]
    return vectors, entries


@njit(cache=True, nogil=True)
def list_motion(vectors: np.ndarray, entries: np.ndarray, lines: int, top: int, left: int, motion: np.ndarray) -> None:
    """See `reference.units.list_motion`."""
    for i in range(motion.shape[0]):
        row = (top + UNIT * i) // (UNIT * lines)
        for j in range(motion.shape[1]):
            column = (left + UNIT * j) // UNIT
            used = entries[row, column, 0]
            if used >= 0:
                motion[i, j, 0] = vectors[row, column, 0, 0]
                motion[i, j, 1] = min(max(vectors[row, column, 0, 1] * lines, -32768), 32767)
            elif used != LEFT_OUT:
                motion[i, j, 0] = motion[i, j, 1] = 0
