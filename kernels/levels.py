"""How the GPU forms of block search keep the pyramids of a batch of pictures: levels with a border.

Each level lies in rows of whole 4-byte words and has its border repeated around it as far as a displacement
reaches, so that any block at any displacement is read without a test. The border belongs to the definition
(`reference.search`): samples outside a picture repeat it. Who fills the levels and who searches them is left to
`cupy.resample` and `triton.search`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codecsieve.kernels.reference.search import BLOCK, REACHES

if TYPE_CHECKING:
    import torch

MARGIN = 8
"""Bytes after each row: a word may be read that begins in its last pixels."""


@dataclass(frozen=True)
class LevelShape:
    """One level of the pyramid of a square picture: pixel (y, x) is at row `reach + y`, byte `reach + x`.

    side: pixels of the level. reach: of its border, before it. blocks: of 8x8 pixels on each side. rows, pitch: of
    the whole level, border included; what is behind the last block's border is border too.
    """

    side: int
    reach: int

    @property
    def blocks(self) -> int:
        return -(-self.side // BLOCK)

    @property
    def rows(self) -> int:
        return 2 * self.reach + self.blocks * BLOCK

    @property
    def pitch(self) -> int:
        return self.rows + MARGIN


def level_shapes(size: int) -> tuple[LevelShape, ...]:
    """The levels of pictures of `size` x `size`, the finest first."""
    shapes = []
    for reach in REACHES:
        shapes.append(LevelShape(size, reach))
        size = -(-size // 2)
    return tuple(shapes)


@dataclass(frozen=True)
class Levels:
    """Pyramids of n pictures.

    size: of the pictures, in the model's pixels. arrays: uint8 [n, rows, pitch] a level, see `LevelShape`; every
    byte is that of the nearest pixel of the level.
    """

    size: int
    arrays: tuple[torch.Tensor, ...]

    @property
    def shapes(self) -> tuple[LevelShape, ...]:
        """Of the levels, the finest first."""
        return level_shapes(self.size)

    def pictures(self, numbers: torch.Tensor) -> Levels:
        """The pyramids of some of the pictures, int64 [m] -> m of them."""
        return Levels(self.size, tuple(array[numbers] for array in self.arrays))
