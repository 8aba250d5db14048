"""Mean energy of the cells of a slot, from the residual of their pixels and their motion: numba.

Equal bit for bit to `codecsieve.kernels.reference.energy.cell_energy`, which defines it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, uintp

from codecsieve.kernels.geometry import CELL, CENTER_BITS
from codecsieve.kernels.reference.energy import ENERGY_ONE, SCALE_BITS, WEIGHT_BITS
from codecsieve.kernels.rules import FUSE_MODES

_ONE = np.int32(ENERGY_ONE)
_SCALE_HALF = np.int32(1 << (SCALE_BITS - 1))
_SCALE_SHIFT = np.int32(SCALE_BITS)
_WEIGHT_HALF = np.int32(1 << (WEIGHT_BITS - 1))
_WEIGHT_SHIFT = np.int32(WEIGHT_BITS)
_CENTER_HALF = np.int32(1 << (CENTER_BITS - 1))
_CENTER_SHIFT = np.int32(CENTER_BITS)
_WEIGHTED, _MAX, _SUM, _PRODUCT = (FUSE_MODES.index(name) for name in ("weighted", "max", "sum", "product"))

# Every intermediate fits 32 bits and is kept there, so that the loops vectorise: `ENERGY_ONE <<
# SCALE_BITS`, `ENERGY_ONE << WEIGHT_BITS`, and `ENERGY_ONE` times the largest lift are each below 2^31 with
# their rounding. Offsets are unsigned for the same reason.


@njit(cache=True, nogil=True)
def cell_means(
    motion: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    limit: np.uint8,
    table: npt.NDArray[np.int32],
    fuse: int,
    w_mv: int,
    w_res: int,
    shown: tuple[int, int, int, int],
) -> npt.NDArray[np.int32]:
    """`cell_energy` of the rows and columns of cells that are shown (begin and end of each); others are left."""
    if fuse == _PRODUCT:
        return _products(motion, residual, limit, table, shown)
    height, width = residual.shape
    row_begin, row_end, begin, end = shown
    means = np.empty(motion.shape, np.int32)
    scale = np.int32((ENERGY_ONE << SCALE_BITS) // limit)
    start, pixels = uintp(begin * CELL), uintp(min(end * CELL, width) - begin * CELL)
    # A row of cells spread over its pixels; the sums of its columns of pixels; and a row of pixels.
    e_mv = np.empty((end - begin) * CELL, np.int32)
    lift = np.empty((end - begin) * CELL, np.int32)
    sums = np.empty((end - begin) * CELL, np.int32)
    energy = np.zeros((end - begin) * CELL, np.int32)
    # Most limits of real pictures divide 1.0, so that an energy of residual is whole before it is rounded.
    step = np.int32(w_res * (ENERGY_ONE // limit)) if fuse == _WEIGHTED and ENERGY_ONE % limit == 0 else np.int32(0)
    for row in range(row_begin, row_end):
        _spread(motion, row, begin, e_mv)
        _spread(table, row, begin, lift)
        sums[:] = 0
        rows = min(CELL, height - row * CELL)
        if step:
            _add_whole(residual, row * CELL, rows, start, pixels, limit, step, np.int32(w_mv), e_mv, lift, sums)
        for y in range(row * CELL, row * CELL + (0 if step else rows)):
            for x in range(pixels):
                level = np.int32(min(residual[y, start + x], limit))
                energy[x] = np.int32(np.int32(level * scale) + _SCALE_HALF) >> _SCALE_SHIFT
            _fuse_row(energy, e_mv, fuse, np.int32(w_mv), np.int32(w_res))
            for x in range(pixels):
                lifted = np.int32(np.int32(energy[x] * lift[x]) + _CENTER_HALF) >> _CENTER_SHIFT
                sums[x] += min(lifted, _ONE)
        _mean_row(sums, rows, pixels, means, row, begin)
    return means


@njit(cache=True, nogil=True)
def _add_whole(
    residual: npt.NDArray[np.uint8],
    top: int,
    rows: int,
    start: int,
    pixels: int,
    limit: np.uint8,
    step: np.int32,
    w_mv: np.int32,
    e_mv: npt.NDArray[np.int32],
    lift: npt.NDArray[np.int32],
    sums: npt.NDArray[np.int32],
) -> None:
    """Add up the columns of a row of cells, weighted, where a level of residual adds a whole `step`; uses `e_mv` up."""
    for x in range(len(e_mv)):
        e_mv[x] = np.int32(w_mv * e_mv[x]) + _WEIGHT_HALF
    for y in range(top, top + rows):
        for x in range(pixels):
            level = np.int32(min(residual[y, start + x], limit))
            both = np.int32(np.int32(level * step) + e_mv[x]) >> _WEIGHT_SHIFT
            lifted = np.int32(np.int32(both * lift[x]) + _CENTER_HALF) >> _CENTER_SHIFT
            sums[x] += min(lifted, _ONE)


@njit(cache=True, nogil=True)
def _spread(cells: npt.NDArray[np.int32], row: int, begin: int, pixels: npt.NDArray[np.int32]) -> None:
    """Give every pixel of a row of cells its cell's value."""
    for column in range(uintp(len(pixels) // CELL)):
        value = cells[row, uintp(begin) + column]
        for i in range(uintp(CELL)):
            pixels[column * uintp(CELL) + i] = value


@njit(cache=True, nogil=True)
def _mean_row(
    sums: npt.NDArray[np.int32], rows: int, width: int, means: npt.NDArray[np.int32], row: int, begin: int
) -> None:
    """Means of a row of cells from its sums by column of pixels; only cells of 16 pixels need no division."""
    whole = width // CELL if rows == CELL else 0
    for column in range(uintp(whole)):
        x = column * uintp(CELL)
        total = np.int32(sums[x] + sums[x + uintp(1)]) + np.int32(sums[x + uintp(2)] + sums[x + uintp(3)])
        means[row, uintp(begin) + column] = np.int32(total + CELL * CELL // 2) // (CELL * CELL)
    for column in range(whole, len(sums) // CELL):
        x = column * CELL
        pixels = rows * min(CELL, np.int64(width) - x)
        total = 0
        for i in range(min(CELL, np.int64(width) - x)):
            total += sums[x + i]
        means[row, begin + column] = (total + pixels // 2) // pixels


@njit(cache=True, nogil=True)
def _fuse_row(
    energy: npt.NDArray[np.int32], e_mv: npt.NDArray[np.int32], fuse: int, w_mv: np.int32, w_res: np.int32
) -> None:
    """Replace the energies of residual by the fused ones."""
    if fuse == _WEIGHTED:
        for x in range(len(energy)):
            both = np.int32(w_mv * e_mv[x] + w_res * energy[x] + _WEIGHT_HALF)
            energy[x] = np.int32(both >> _WEIGHT_SHIFT)
    elif fuse == _MAX:
        for x in range(len(energy)):
            energy[x] = max(e_mv[x], energy[x])
    elif fuse == _SUM:
        for x in range(len(energy)):
            energy[x] = min(np.int32(e_mv[x] + energy[x]), _ONE)
    else:
        for x in range(len(energy)):
            energy[x] = np.int32(np.sqrt(np.float64(e_mv[x]) * np.float64(energy[x])))


@njit(cache=True, nogil=True)
def _products(
    motion: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    limit: np.uint8,
    table: npt.NDArray[np.int32],
    shown: tuple[int, int, int, int],
) -> npt.NDArray[np.int32]:
    """`cell_means` where motion meets the residual once it is that of cells."""
    height, width = residual.shape
    row_begin, row_end, begin, end = shown
    means = np.empty(motion.shape, np.int32)
    scale = np.int32((ENERGY_ONE << SCALE_BITS) // limit)
    start, pixels = uintp(begin * CELL), uintp(min(end * CELL, width) - begin * CELL)
    sums = np.empty((end - begin) * CELL, np.int32)
    for row in range(row_begin, row_end):
        sums[:] = 0
        rows = min(CELL, height - row * CELL)
        for y in range(row * CELL, row * CELL + rows):
            for x in range(pixels):
                level = np.int32(min(residual[y, start + x], limit))
                sums[x] += np.int32(np.int32(level * scale) + _SCALE_HALF) >> _SCALE_SHIFT
        _mean_row(sums, rows, pixels, means, row, begin)
        for column in range(uintp(begin), uintp(end)):
            product = np.float64(motion[row, column]) * np.float64(means[row, column])
            fused = np.int32(np.sqrt(product) + 0.5)
            lifted = np.int32(np.int32(fused * table[row, column]) + _CENTER_HALF) >> _CENTER_SHIFT
            means[row, column] = min(lifted, _ONE)
    return means
