"""A clip at a size of its own: it has the upper left of the model's square, and what is kept of it is chosen there.

So positions, and what keeps whole slots, are of a grid that the clip fills, though all clips of a cache have the same
square. How large a picture is seen is left to `kernels.geometry`, the choice itself to `kept`.
"""

from __future__ import annotations

import numpy as np

from codecsieve.pipelines.config import SieveConfig

Grid = tuple[int, int]


def seen_grid(scores: np.ndarray) -> Grid:
    """Rows and columns of patches of which anything is seen, by scores [T, grid, grid]: the clip's own grid."""
    rows, columns = np.nonzero((scores >= 0).any(axis=0))
    return int(rows.max()) + 1, int(columns.max()) + 1


def grid_to_keep_of(scores: np.ndarray, config: SieveConfig) -> Grid:
    """The clip's own grid; of a clip that has too few patches for `k_keep` there, one as much larger as that takes."""
    rows, columns = seen_grid(scores)
    slot = -(-config.k_keep // (config.groups * config.group_slots))
    columns = min(max(columns, _blocks(-(-slot // rows), config.merge)), config.grid)
    return min(max(rows, _blocks(-(-slot // columns), config.merge)), config.grid), columns


def in_square(indices: np.ndarray, own: Grid, grid: int) -> np.ndarray:
    """Patches of slots of the clip's own grid as those of the square's: int32 [n], `t*grid*grid + h*grid + w`."""
    slots, places = np.divmod(indices, own[0] * own[1])
    rows, columns = np.divmod(places, own[1])
    return ((slots * grid + rows) * grid + columns).astype(np.int32)


def _blocks(patches: int, merge: int) -> int:
    """So many patches, and what there is more of them in whole blocks."""
    return -(-patches // merge) * merge
