"""What is held of a clip's slots until it is known what counts as 1.0 in the whole clip.

Of each slot the lengths of all its cells, how many pixels have each residual, and the residual where patches are: what
the definition, `codecsieve.kernels.reference.energy.clip_limits`, needs of pictures that are let go meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from codecsieve.kernels.cpu.contrast import motion_lengths, residual_gradient
from codecsieve.kernels.cpu.ranks import residual_histogram
from codecsieve.kernels.geometry import CELL, Geometry
from codecsieve.kernels.reference.energy import percentile_rank, residual_limit
from codecsieve.kernels.reference.motion import LENGTH_BITS
from codecsieve.kernels.rules import Measure


@dataclass(frozen=True)
class HeldSlot:
    """lengths: int32 [Hc, Wc]; counts: int32 [256], of the residual; crop: uint8, the residual of the cells shown."""

    geometry: Geometry
    lengths: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    crop: npt.NDArray[np.uint8]

    def levels(self) -> npt.NDArray[np.uint8]:
        """Residual uint8 [H, W], of which only the cells shown are known; others are 0."""
        whole = np.zeros((self.geometry.height, self.geometry.width), np.uint8)
        _crop_of(whole, self.geometry)[:] = self.crop
        return whole


def hold_slot(
    motion: npt.NDArray[np.int16], residual: npt.NDArray[np.uint8], geometry: Geometry, mode: str, measure: Measure
) -> HeldSlot:
    """Measure a slot, and keep of it what its clip will need; arguments are those of `reference.energy.slot_scores`."""
    levels = residual_gradient(residual) if measure.res_use_grad else residual
    lengths = motion_lengths(motion, mode, measure)
    return HeldSlot(geometry, lengths, residual_histogram(levels), _crop_of(levels, geometry).copy())


def clip_limits(held: Sequence[HeldSlot], times: Sequence[int] | None = None) -> tuple[int, int]:
    """The length and the residual that count as 1.0 in a clip.

    times: how often each counts, once where None; slots may show one picture, which is held once.
    """
    lengths, levels = np.zeros(1 << LENGTH_BITS, np.int64), np.zeros(256, np.int64)
    for slot, number in zip(held, times or [1] * len(held), strict=True):
        _count(slot.lengths, number, lengths)
        levels += number * slot.counts.astype(np.int64)
    up_to = np.cumsum(lengths)
    length = int(np.searchsorted(up_to, percentile_rank(int(up_to[-1])), side="right"))
    return max(length, 1), residual_limit(levels)


def _crop_of(picture: npt.NDArray[np.uint8], geometry: Geometry) -> npt.NDArray[np.uint8]:
    row_begin, row_end, begin, end = geometry.shown
    return picture[row_begin * CELL : row_end * CELL, begin * CELL : end * CELL]


@njit(cache=True, nogil=True)
def _count(lengths: npt.NDArray[np.int32], times: int, counts: npt.NDArray[np.int64]) -> None:
    for row in range(lengths.shape[0]):
        for column in range(lengths.shape[1]):
            counts[lengths[row, column]] += times
