"""Fast CPU form of `kernels.reference.units`: the same functions, the same bits."""

from __future__ import annotations

import numpy as np
from numba import int16, int32, njit, uintp

from codecsieve.kernels.reference.compensate import LEFT_OUT, NO_ENTRY, UNIT
from codecsieve.kernels.reference.units import FRAME, INTERLACED, USES_LIST

USES_0, USES_1 = USES_LIST
ONE, TWO, FOUR = uintp(1), uintp(2), uintp(4)


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


def h264_units(
    motion: tuple[np.ndarray, np.ndarray],
    references: tuple[np.ndarray, np.ndarray],
    types: np.ndarray,
    slices: np.ndarray,
    entry_of: np.ndarray,
    rows: int,
) -> tuple[np.ndarray, np.ndarray]:
    """See `reference.units.h264_units`."""
    first, step = (0, 1) if rows == FRAME else (rows, 2)
    high, wide = (types.shape[0] - first + step - 1) // step, types.shape[1] - 1
    vectors = np.empty((4 * high, 4 * wide, 2, 2), np.int16)
    entries = np.empty((4 * high, 4 * wide, 2), np.int8)
    # A vector is moved as one number, and so are the entries of both lists.
    _h264_units(
        motion[0].view(np.int32)[..., 0], motion[1].view(np.int32)[..., 0], references[0], references[1],
        types, slices, entry_of, first, step, vectors.view(np.int32)[..., 0], entries.view(np.int16)[..., 0],
    )  # fmt: skip
    return vectors, entries


@njit(cache=True, nogil=True)
def _entry(entry_of: np.ndarray, at: int, which: int, index: int) -> np.int32:
    """Entry of a reference index, NO_ENTRY of one that is below 0; LEFT_OUT where there ought to be one."""
    if index < 0:
        return int32(NO_ENTRY)
    if at >= entry_of.shape[0] or index >= entry_of.shape[2]:
        return int32(LEFT_OUT)
    entry = int32(entry_of[at, which, uintp(index)])
    return entry if entry >= 0 else int32(LEFT_OUT)


@njit(cache=True, nogil=True)
def _h264_units(
    motion_0: np.ndarray,
    motion_1: np.ndarray,
    references_0: np.ndarray,
    references_1: np.ndarray,
    types: np.ndarray,
    slices: np.ndarray,
    entry_of: np.ndarray,
    first: int,
    step: int,
    vectors: np.ndarray,
    entries: np.ndarray,
) -> None:
    """Units of one macroblock after the other, a quarter at a time. Offsets are unsigned: see `interpolate`."""
    fields, nothing = step == 2, int32(-1)
    for i in range(uintp(entries.shape[0] // 4)):
        row = uintp(first) + uintp(step) * i
        for j in range(uintp(entries.shape[1] // 4)):
            kind, at = types[row, j], uintp(slices[row, j])
            other = (kind & INTERLACED > 0) != fields
            for quarter in range(uintp(4)):
                index_0 = int32(references_0[row, j, quarter]) if kind & USES_0 else nothing
                index_1 = int32(references_1[row, j, quarter]) if kind & USES_1 else nothing
                entry_0, entry_1 = _entry(entry_of, at, 0, index_0), _entry(entry_of, at, 1, index_1)
                if other or entry_0 == LEFT_OUT or entry_1 == LEFT_OUT:
                    entry_0 = entry_1 = int32(NO_ENTRY)
                # All bits where a vector is used, and none where it is not.
                used_0 = nothing if entry_0 >= 0 else int32(0)
                used_1 = nothing if entry_1 >= 0 else int32(0)
                both = int16((entry_1 << 8) | ((int32(LEFT_OUT) if other else entry_0) & 255))
                down, x = (quarter >> ONE) * TWO, FOUR * j + (quarter & ONE) * TWO
                for line in range(2):
                    y, moved = FOUR * i + down + uintp(line), FOUR * row + down + uintp(line)
                    entries[y, x] = entries[y, x + ONE] = both
                    vectors[y, x, 0], vectors[y, x + ONE, 0] = (
                        motion_0[moved, x] & used_0,
                        motion_0[moved, x + ONE] & used_0,
                    )
                    vectors[y, x, 1], vectors[y, x + ONE, 1] = (
                        motion_1[moved, x] & used_1,
                        motion_1[moved, x + ONE] & used_1,
                    )


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
