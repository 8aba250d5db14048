"""Definition of `bits` signals: how many steps of its quantiser an encoder had to send for each sample.

A stand-in for bits, which no decoder counts block by block: what prediction misses, in steps of the block's own
quantiser, of those blocks only that have coefficients. Where the quantiser is coarse, or nothing was sent, it is 0.
"""

from __future__ import annotations

import numpy as np

from codecsieve.kernels.reference.compensate import UNIT

STEP_BITS = 4
"""A step is 16 of `coded_steps`: a sample that misses its prediction by 16 steps or more has 255."""
QUANTISER_STEPS = np.rint(16 * 2.0 ** ((np.arange(52) - 4) / 6)).astype(np.int32)
"""Sixteenths of a level of 8 bits in a step, by QP (H.264 8.5, H.265 8.6: twice as many every 6)."""


def coded_steps(
    residual: np.ndarray, coefficients: np.ndarray, quantiser: np.ndarray, top: int, left: int
) -> np.ndarray:
    """Sixteenths of a quantiser's step that each sample takes.

    Args:
        residual: uint8 [H, W], abs(decoded - predicted) of the shown picture, at 8 bits.
        coefficients: uint8 [Hu, Wu] of units of the coded picture; 0 where none is coded.
        quantiser: int8 [Hu, Wu], QP of luma; below 0, as of more than 8 bits, as fine as 0.
        top: first shown luma row of the coded picture; likewise left.

    Returns:
        uint8 [H, W], rounded, at most 255.
    """
    rows = (top + np.arange(residual.shape[0])) // UNIT
    columns = (left + np.arange(residual.shape[1])) // UNIT
    step = QUANTISER_STEPS[np.clip(quantiser, 0, 51)][rows[:, None], columns]
    steps = (residual.astype(np.int32) * (16 << STEP_BITS) + step // 2) // step
    return np.where(coefficients[rows[:, None], columns] > 0, np.minimum(steps, 255), 0).astype(np.uint8)
