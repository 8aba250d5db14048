"""The learning rate of each step: up from 0 in a line, then down to 0."""

from __future__ import annotations

import math

from .config import TrainConfig


def rate_at(step: int, config: TrainConfig) -> float:
    """The rate of a step, counted from 0. The first is not 0, and the one behind the last would be.

    `published` falls as the published training's rate does: step i by the factor (1 + ((t - i) / (t - i + 1))^2) / 2,
    which is nearly a line; its first step, which has the full rate there, warms up like any other here.
    """
    warm = round(config.warm_up * config.steps)
    if step < warm:
        return config.rate * (step + 1) / (warm + 1)
    left, whole = config.steps - step, config.steps - warm
    match config.schedule:
        case "cosine":
            return config.rate * 0.5 * (1 + math.cos(math.pi * (1 - left / whole)))
        case "published":
            rate = config.rate
            for after in range(whole, left, -1):
                rate *= (1 + ((after - 1) / after) ** 2) / 2
            return rate
    return config.rate * left / whole
