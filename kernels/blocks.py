"""Blocks of patches that language models merge to one token, so that all of a block are kept or none: their scores,
and the patches of those that are kept, in the order in which tokens stand.

Host-only integers, the same for every device. Which blocks are kept is left to `select`, which takes them for patches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def block_scores(scores: npt.NDArray[np.integer], merge: int) -> npt.NDArray[np.int64]:
    """Scores of blocks of merge x merge patches: the sum of those of their patches.

    Args:
        scores: integers [T, gh, gw], negative where a patch shows nothing of the picture, which then adds nothing.
        merge: side of a block, in patches.

    Returns:
        int64 [T, gh / merge, gw / merge]; -1 where no patch of a block shows anything.

    Raises:
        ValueError: the grid is not one of whole blocks.
    """
    slots, rows, columns = scores.shape
    if merge < 1 or rows % merge or columns % merge:
        raise ValueError(f"merge ({merge}) must divide the grid, {rows} x {columns} patches")
    blocks = scores.reshape(slots, rows // merge, merge, columns // merge, merge).astype(np.int64)
    shows = (blocks >= 0).any(axis=(2, 4))
    return np.where(shows, np.maximum(blocks, 0).sum(axis=(2, 4)), -1)


def zigzag(blocks: npt.NDArray[np.integer], rows: int, columns: int) -> npt.NDArray[np.integer]:
    """Blocks by slot and row, those of rows 0, 2, 4, ... from left to right, of the others from right to left.

    Args:
        blocks: integers [n], indices of blocks, `t*rows*columns + h*columns + w`.
        rows, columns: blocks of a slot.
    """
    slot_rows, places = np.divmod(blocks, columns)
    back = slot_rows % rows % 2 == 1
    return blocks[np.argsort(slot_rows * columns + np.where(back, columns - 1 - places, places), kind="stable")]


def token_order_of(positions: npt.NDArray[np.integer], merge: int, token_order: str) -> npt.NDArray[np.int64]:
    """What brings patches of whole blocks, however they lie, to the order in which a clip's tokens stand.

    Args:
        positions: integers [K, 3], slot, row, column.
        merge: side of a block, in patches.
        token_order: of `TOKEN_ORDERS`: that of the blocks of a slot.

    Returns:
        int64 [K].
    """
    slot, row, column = positions.astype(np.int64).T
    block_row, block_column = row // merge, column // merge
    if token_order == "zigzag":
        block_column = np.where(block_row % 2 == 1, -block_column, block_column)
    return np.lexsort((column % merge, row % merge, block_column, block_row, slot))


def patches_of_blocks(blocks: npt.NDArray[np.integer], grid: tuple[int, int], merge: int) -> npt.NDArray[np.int32]:
    """The patches of some blocks, those of a block side by side, row by row.

    Args:
        blocks: integers [n], indices of blocks, `t*bh*bw + h*bw + w` of a grid of bh x bw blocks.
        grid: gh, gw, patches of a slot.
        merge: side of a block, in patches.

    Returns:
        int32 [n * merge * merge], `t*gh*gw + h*gw + w`.
    """
    rows, columns = grid
    patches = np.arange(rows * columns).reshape(rows // merge, merge, columns // merge, merge)
    of_block = patches.transpose(0, 2, 1, 3).reshape(-1, merge * merge)
    slots, places = np.divmod(blocks, len(of_block))
    return (slots[:, None] * (rows * columns) + of_block[places]).ravel().astype(np.int32)
