"""Blocks of 2x2 patches, which newer models merge to one token: whether patches are whole ones, and their order.

Block order: block after block, row by row of blocks, and in each the upper two patches, then the lower two.
"""

from __future__ import annotations

import numpy as np

SIDE = 2


def in_blocks(positions: np.ndarray, grid: int) -> np.ndarray | None:
    """What brings patches to block order, slot after slot; None where they are not whole blocks, each once.

    positions: [K, 3] slot, row, column. grid: patches on each side of a frame. Returns int64 [K].
    """
    if len(positions) % SIDE**2:
        return None
    slot, row, column = positions.astype(np.int64).T
    across = -(-grid // SIDE)
    block = (slot * across + row // SIDE) * across + column // SIDE
    places = block * SIDE**2 + row % SIDE * SIDE + column % SIDE
    order = np.argsort(places, kind="stable")
    blocks = places[order].reshape(-1, SIDE**2)
    whole = (blocks == blocks[:, :1] + np.arange(SIDE**2)).all() and (blocks[:, 0] % SIDE**2 == 0).all()
    return order if whole and len(np.unique(blocks[:, 0])) == len(blocks) else None


def block_order(rows: int, columns: int, count: int) -> np.ndarray:
    """Of patches canvas after canvas, row by row, what brings them to block order: int64 [count * rows * columns]."""
    numbers = np.arange(count * rows * columns).reshape(count, rows // SIDE, SIDE, columns // SIDE, SIDE)
    return numbers.transpose(0, 1, 3, 2, 4).reshape(-1)


def raster_order(rows: int, columns: int, count: int) -> np.ndarray:
    """Of patches in block order: what brings them back to canvas after canvas, row by row."""
    return np.argsort(block_order(rows, columns, count))
