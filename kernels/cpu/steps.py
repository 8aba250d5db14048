"""Fast CPU form of `kernels.reference.steps`: the same function, the same bits."""

from __future__ import annotations

import numpy as np
from numba import njit

from codecsieve.kernels.reference.compensate import UNIT
from codecsieve.kernels.reference.steps import QUANTISER_STEPS, STEP_BITS


@njit(cache=True, nogil=True)
def coded_steps(
    residual: np.ndarray, coefficients: np.ndarray, quantiser: np.ndarray, top: int, left: int
) -> np.ndarray:
    """See `reference.steps.coded_steps`."""
    height, width = residual.shape
    steps = np.zeros((height, width), np.uint8)
    for i in range(height):
        row = (top + i) // UNIT
        for j in range(width):
            column = (left + j) // UNIT
            if coefficients[row, column]:
                step = QUANTISER_STEPS[min(max(quantiser[row, column], 0), 51)]
                steps[i, j] = min((np.int32(residual[i, j]) * (16 << STEP_BITS) + step // 2) // step, 255)
    return steps
