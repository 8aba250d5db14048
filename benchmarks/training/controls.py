"""Encoders that learn nothing: the one whose features are clustered, and one to compare with. See `TokenEncoder`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 4  # of each of red, green and blue
_SIDE = 8  # of a patch that is made smaller


class Colours:
    """How often each colour is in a patch: the square root of counts in 4 x 4 x 4 bins, whatever their places."""

    name, fingerprint = "colours", f"colours in {_LEVELS}^3 bins, square roots of counts"

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Tokens float32 [B, K, 64]."""
        red, green, blue = (patches.long() * _LEVELS // 256).unbind(2)  # [B, K, P, P] each
        bins = ((red * _LEVELS + green) * _LEVELS + blue).flatten(2)
        counts = torch.zeros(*bins.shape[:2], _LEVELS**3)
        return counts.scatter_add_(2, bins, torch.ones(bins.shape)).sqrt()


class Pixels:
    """The pixels of a patch, made smaller: as many numbers a token as the tiny encoder has."""

    name, fingerprint = "pixels", f"pixels, {_SIDE} x {_SIDE}"

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Tokens float32 [B, K, 192]."""
        small = functional.interpolate(patches.flatten(0, 1).float(), (_SIDE, _SIDE), mode="area")
        return (small / 128 - 1).flatten(1).unflatten(0, patches.shape[:2])
