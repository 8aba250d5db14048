"""The signals of one decoded picture, as `bitstream`, `search` and `difference` give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecsieve.codec.picture import Picture
from codecsieve.kernels.geometry import CELL


@dataclass(frozen=True)
class SlotSignals:
    """Motion and residual of one picture, upright."""

    picture: Picture
    motion: np.ndarray
    """int16 [ceil(H / 4), ceil(W / 4), 2], quarter-pel, x then y."""
    residual: np.ndarray
    """uint8 [H, W], abs(luma - motion-compensated prediction): the shown picture, or what the model sees of it."""
    predicted: bool
    """False where the picture has no reference picture: motion and residual are 0 and say nothing."""

    @classmethod
    def unpredicted(cls, picture: Picture, height: int, width: int) -> SlotSignals:
        """Signals of a picture without prediction: an intra picture, or one whose reference picture is lost."""
        motion = np.zeros((-(-height // CELL), -(-width // CELL), 2), np.int16)
        return cls(picture, motion, np.zeros((height, width), np.uint8), predicted=False)
