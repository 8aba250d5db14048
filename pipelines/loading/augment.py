"""Colours of a batch, on its device: photometric augmentation, the same for all patches of a clip; normalisation.

Brightness, contrast, saturation, hue and channel swap are each linear in colour, so that together they are one 3x3
matrix and one shift a clip, clipped to 0..255 once, at the end. What is drawn for a clip depends on seed, epoch and
the clip's id only: not on its batch, its rank, or where a run was resumed.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codecsieve.errors import ConfigError

GREY = (0.299, 0.587, 0.114)
"""Luma's weights of red, green and blue, ITU-R BT.601."""

_YIQ = np.array([GREY, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
# A quarter turn of the I-Q plane, in RGB.
_QUARTER_TURN = np.linalg.inv(_YIQ) @ [[0, 0, 0], [0, 0, -1], [0, 1, 0]] @ _YIQ
_TO_GREY = np.tile(GREY, (3, 1))
_SWAPS = list(itertools.permutations(range(3)))[1:]


@dataclass(frozen=True, eq=False)
class ColourChange:
    """What becomes of the colours of B clips: matrix x colour + shift x the clip's mean grey.

    matrix: float32 [B, 3, 3]; shift: float32 [B]. A clip's mean grey is over all of its patches.
    """

    matrix: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class Photometric:
    """How much colours are changed, and how often.

    Strengths and `probability` are those of MoCo v2's colour jitter (arXiv 2003.04297), channel swap with
    `swap_probability` is of torchvision's RandomPhotometricDistort, after SSD (arXiv 1512.02325). Order: brightness,
    contrast, saturation, hue, swap. Hue turns colours around grey in YIQ, as DALI does. Raises ConfigError.
    """

    brightness: float = 0.4
    """Colours times 1 - brightness .. 1 + brightness."""
    contrast: float = 0.4
    """Distance from the clip's mean grey times 1 - contrast .. 1 + contrast."""
    saturation: float = 0.4
    """Distance from the pixel's own grey times 1 - saturation .. 1 + saturation."""
    hue: float = 0.1
    """Turns of the colour circle, -hue .. hue."""
    probability: float = 0.8
    """Of each of these four."""
    swap_probability: float = 0.5
    """Of red, green and blue in another order, one of the five."""

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        for name, value in vars(self).items():
            most = 0.5 if name == "hue" else 1
            if not 0 <= value <= most:
                raise ConfigError(f"{name} ({value}) must be in 0..{most}")

    def draw(self, seed: int, epoch: int, ids: Sequence[str]) -> ColourChange:
        """The change of each of these clips in this epoch."""
        matrices, shifts = zip(*(self._draw_clip(f"{seed}/{epoch}/{clip_id}") for clip_id in ids), strict=True)
        return ColourChange(np.array(matrices, np.float32), np.array(shifts, np.float32))

    def _draw_clip(self, key: str) -> tuple[np.ndarray, float]:
        # A hash rather than a generator: the same on every machine and version, and quicker to set up.
        uniform = np.frombuffer(hashlib.blake2b(key.encode()).digest(), "<u4") / 2**32
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        amounts = [
            strength * (2 * amount - 1) if coin < self.probability else 0.0
            for strength, coin, amount in zip(strengths, uniform[:4], uniform[4:8], strict=True)
        ]
        brightness, contrast, saturation = (1 + amount for amount in amounts[:3])
        matrix = brightness * contrast * _turn(saturation, 2 * math.pi * amounts[3])
        if uniform[8] < self.swap_probability:
            matrix = matrix[list(_SWAPS[int(uniform[9] * len(_SWAPS))])]
        return matrix, brightness * (1 - contrast)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of red, green and blue, white being 1. Raises ConfigError."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Check that there are three of each, and nothing to divide by zero."""
        for name, values in vars(self).items():
            if len(values) != 3:
                raise ConfigError(f"{name} ({values}) must have 3 numbers: red, green, blue")
        if min(self.std) <= 0:
            raise ConfigError(f"std ({self.std}) must be > 0")


def change_colours(patches: Tensor, change: ColourChange | None, normalisation: Normalisation | None) -> Tensor:
    """Change colours, then normalise; either may be None.

    Args:
        patches: uint8 [B, K, 3, P, P], RGB.
        change: of these B clips.
        normalisation: None: leave them 0..255.

    Returns:
        float32 of the same shape where there is a normalisation, else uint8, rounded.
    """
    if change is None and normalisation is None:
        return patches
    colours = patches.float()
    if change is not None:
        matrix, shift, grey = (
            torch.as_tensor(value, dtype=torch.float32, device=patches.device)
            for value in (change.matrix, change.shift, GREY)
        )
        shift = shift * (colours.mean((1, 3, 4)) * grey).sum(-1)
        colours = _multiply(matrix, colours).add_(shift[:, None, None, None, None]).clamp_(0, 255)
    if normalisation is None:
        return colours.round_().to(torch.uint8)
    mean, std = (255 * torch.tensor(values, device=patches.device) for values in vars(normalisation).values())
    return colours.sub_(mean[:, None, None]).div_(std[:, None, None])


def _multiply(matrix: Tensor, colours: Tensor) -> Tensor:
    """[B, 3, 3] times [B, K, 3, P, P]."""
    # Not a matmul, which autocast and TF32 would do in fewer bits than a colour has.
    of_red, of_green, of_blue = matrix[:, None, :, :, None, None].unbind(3)
    red, green, blue = colours[:, :, None].unbind(3)
    return (of_red * red).addcmul_(of_green, green).addcmul_(of_blue, blue)


def _turn(saturation: float, angle: float) -> np.ndarray:
    """float64 [3, 3]: colours turned around grey by an angle in radians, their distance from it times saturation."""
    away = np.eye(3) - _TO_GREY
    return _TO_GREY + saturation * (math.cos(angle) * away + math.sin(angle) * _QUARTER_TURN)
