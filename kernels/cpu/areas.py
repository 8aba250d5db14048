"""Neighbouring units with the same motion as areas, rectangles of one motion: the grouping of `compensate`.

Most units are parts of larger blocks, and most larger blocks move as one. A block whose units are equal is from then on
looked at as one, and joined with equal blocks below and to the right; one whose units differ is taken apart by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uintp

EACH = 4
"""Units are looked at in blocks of 4x4: H.264's macroblocks, and what H.265's larger blocks are made of."""
UNIFORM, MIXED, TAKEN = 1, 0, 2
"""What is known of a block: its units are equal, they differ, it is part of an area."""


@njit(cache=True, nogil=True)
def _is_uniform(keys: Any, pairs: Any, columns: int, row: int, column: int, end_row: int, end_column: int) -> bool:
    """Whether the units of a rectangle have the same motion."""
    unit = uintp(row * columns + column)
    key, pair = keys[unit], pairs[unit]
    differ, other = key ^ key, pair ^ pair
    for i in range(end_row - row):
        start = unit + uintp(i * columns)
        for j in range(end_column - column):
            differ |= keys[start + uintp(j)] ^ key
            other |= pairs[start + uintp(j)] ^ pair
    return differ == 0 and other == 0


@njit(cache=True, nogil=True)
def _is_uniform_block(keys: Any, pairs: Any, columns: int, row: int, column: int) -> bool:
    """The same for a whole block, whose loops the compiler unrolls."""
    unit, step = uintp(row * columns + column), uintp(columns)
    key, pair = keys[unit], pairs[unit]
    differ, other = key ^ key, pair ^ pair
    for i in range(uintp(EACH)):
        for j in range(uintp(EACH)):
            differ |= keys[unit + i * step + j] ^ key
            other |= pairs[unit + i * step + j] ^ pair
    return differ == 0 and other == 0


@njit(cache=True, nogil=True)
def _same(keys: Any, pairs: Any, unit: int, other: int) -> bool:
    return keys[uintp(unit)] == keys[uintp(other)] and pairs[uintp(unit)] == pairs[uintp(other)]


@njit(cache=True, nogil=True)
def _keep(areas: np.ndarray, count: int, row: int, column: int, end_row: int, end_column: int) -> int:
    areas[count, 0], areas[count, 1], areas[count, 2], areas[count, 3] = row, column, end_row, end_column
    return count + 1


@njit(cache=True, nogil=True)
def _pieces(
    keys: Any, pairs: Any, columns: int, row: int, column: int, end_row: int, end_column: int,
    areas: np.ndarray, count: int,
) -> int:  # fmt: skip
    """The areas of one block whose units differ."""
    done = 0  # a bit a unit, by rows
    for y in range(row, end_row):
        for x in range(column, end_column):
            place = (y - row) * EACH + x - column
            if done >> place & 1:
                continue
            right, below = x + 1, y + 1
            unit = y * columns
            while (
                right < end_column
                and not done >> (place + right - x) & 1
                and _same(keys, pairs, unit + x, unit + right)
            ):
                right += 1
            while (
                below < end_row
                and _same(keys, pairs, unit + x, below * columns + x)
                and _is_uniform(keys, pairs, columns, below, x, below + 1, right)
            ):
                below += 1
            mask = (1 << (right - x)) - 1
            for k in range(below - y):
                done |= mask << (place + k * EACH)
            count = _keep(areas, count, y, x, below, right)
    return count


@njit(cache=True, nogil=True)
def find_areas(
    keys: Any, pairs: Any, units: tuple[int, int], band: int, first: int, last: int, end_band: int,
    state: np.ndarray, areas: np.ndarray,
) -> int:  # fmt: skip
    """The areas of a few rows of blocks.

    Args:
        keys: pointer to int64, by unit, the four numbers of its vectors.
        pairs: pointer to int16, by unit, its two entries.
        units: rows and columns of the grid.
        band: first row of blocks, end_band that after the last.
        first: first column of blocks, last that after the last.
        state: uint8 [end_band - band or more, last or more], spoiled.
        areas: int64 [as many as units in those blocks, 4], receives row, column, end row, end column in units.

    Returns:
        how many areas were found. Each unit of those blocks is in one of them.
    """
    end_row, columns = units
    for row in range(band, end_band):
        y = row * EACH
        for column in range(first, last):
            x = column * EACH
            if y + EACH <= end_row and x + EACH <= columns:
                state[row - band, column] = _is_uniform_block(keys, pairs, columns, y, x)
            else:
                state[row - band, column] = MIXED
    count = 0
    for row in range(band, end_band):
        column = first
        while column < last:
            y, x = row * EACH, column * EACH
            below, right = row + 1, column + 1
            known = state[row - band, column]
            if known == UNIFORM:
                unit = y * columns + x
                while (
                    below < end_band
                    and state[below - band, column] == UNIFORM
                    and _same(keys, pairs, unit, below * EACH * columns + x)
                ):
                    below += 1
                equal = True
                while equal and right < last:
                    for k in range(row, below):
                        equal = equal and state[k - band, right] == UNIFORM
                        equal = equal and _same(keys, pairs, unit, (k * columns + right) * EACH)
                    right += equal
                for k in range(row - band, below - band):
                    for j in range(column, right):
                        state[k, j] = TAKEN
                count = _keep(areas, count, y, x, below * EACH, right * EACH)
            elif known == MIXED:
                to_row, to_column = min(y + EACH, end_row), min(x + EACH, columns)
                count = _pieces(keys, pairs, columns, y, x, to_row, to_column, areas, count)
            column = right
    return count
