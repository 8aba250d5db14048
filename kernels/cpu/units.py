"""Fast CPU form of `kernels.reference.units`: the same functions, the same bits."""

from __future__ import annotations

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.reference.compensate import LEFT_OUT, NO_ENTRY, UNIT
from codecsieve.kernels.reference.units import INTERLACED, USES_LIST, WHOLE


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
                    entry_0 = entry_1 = np.int8(NO_ENTRY)
                    used, index_0, index_1 = flags[y, x, 10], flags[y, x, 8], flags[y, x, 9]
                    if used & 1:
                        if 0 <= index_0 < 16:
                            entry_0 = entry_of[at, 0, index_0]
                        if entry_0 < 0:
                            continue
                    if used & 2:
                        if 0 <= index_1 < 16:
                            entry_1 = entry_of[at, 1, index_1]
                        if entry_1 < 0:
                            continue
                    if entry_0 >= 0:
                        entries[i, j, 0], vectors[i, j, 0] = entry_0, motion[y, x, 0]
                    if entry_1 >= 0:
                        entries[i, j, 1], vectors[i, j, 1] = entry_1, motion[y, x, 1]


@njit(cache=True, nogil=True)
def h264_units(
    motion: tuple[np.ndarray, np.ndarray],
    references: tuple[np.ndarray, np.ndarray],
    types: np.ndarray,
    slices: np.ndarray,
    entry_of: np.ndarray,
    rows: int,
) -> tuple[np.ndarray, np.ndarray]:
    """See `reference.units.h264_units`."""
    first, step = (0, 1) if rows == WHOLE else (rows, 2)
    high, wide = (types.shape[0] - first + step - 1) // step, types.shape[1] - 1
    vectors = np.zeros((4 * high, 4 * wide, 2, 2), np.int16)
    entries = np.full((4 * high, 4 * wide, 2), -1, np.int8)
    for i in range(high):
        row = first + step * i
        for j in range(wide):
            if (types[row, j] & INTERLACED > 0) == (rows == WHOLE):
                entries[4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 0] = LEFT_OUT
                continue
            at = slices[row, j]
            if at >= len(entry_of):
                continue
            for quarter in range(4):
                used_0 = references[0][row, j, quarter] if types[row, j] & USES_LIST[0] else -1
                used_1 = references[1][row, j, quarter] if types[row, j] & USES_LIST[1] else -1
                if used_0 >= 32 or used_1 >= 32:
                    continue
                entry_0 = entry_of[at, 0, used_0] if used_0 >= 0 else -1
                entry_1 = entry_of[at, 1, used_1] if used_1 >= 0 else -1
                if (used_0 >= 0 and entry_0 < 0) or (used_1 >= 0 and entry_1 < 0):
                    continue
                for unit in range(4):
                    y, x = 4 * i + quarter // 2 * 2 + unit // 2, 4 * j + quarter % 2 * 2 + unit % 2
                    moved = y + 4 * (row - i)
                    if entry_0 >= 0:
                        entries[y, x, 0] = entry_0
                        vectors[y, x, 0, 0], vectors[y, x, 0, 1] = motion[0][moved, x, 0], motion[0][moved, x, 1]
                    if entry_1 >= 0:
                        entries[y, x, 1] = entry_1
                        vectors[y, x, 1, 0], vectors[y, x, 1, 1] = motion[1][moved, x, 0], motion[1][moved, x, 1]
    return vectors, entries


@njit(cache=True, nogil=True)
def list_motion(vectors: np.ndarray, entries: np.ndarray, lines: int, top: int, left: int, motion: np.ndarray) -> None:
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
