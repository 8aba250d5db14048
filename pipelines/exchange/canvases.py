"""Canvases: patches packed densely into pictures, row by row, and taken out of them again.

Which patches, in which order, is left to the formats; so is where the pictures lie.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from codecsieve.errors import ConfigError

from .selection import Selection

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
BLOCK = 16
"""Pixels of a square that JPEG, with chroma at half resolution, codes by itself: patches as large do not mix."""
_QUALITY = 95
_FAST = 1  # of zlib: patches beside each other have nothing in common that a longer search would find


@dataclass(frozen=True)
class Sheet:
    """What fits on a canvas: rows and columns of patches; patch: the side of each in pixels."""

    rows: int
    columns: int
    patch: int

    @property
    def patches(self) -> int:
        """How many fit."""
        return self.rows * self.columns


def pack(patches: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Patches uint8 [n * rows * columns, 3, P, P] on canvases uint8 [n, rows * P, columns * P, 3], row by row."""
    side = sheet.patch
    placed = patches.reshape(-1, sheet.rows, sheet.columns, 3, side, side).transpose(0, 1, 4, 2, 5, 3)
    return placed.reshape(-1, sheet.rows * side, sheet.columns * side, 3)


def unpack(canvases: np.ndarray, patch: int) -> np.ndarray:
    """The patches uint8 [n * rows * columns, 3, P, P] of canvases uint8 [n, rows * P, columns * P, 3]."""
    count, height, width, _ = canvases.shape
    placed = canvases.reshape(count, height // patch, patch, width // patch, patch, 3).transpose(0, 1, 3, 5, 2, 4)
    return placed.reshape(-1, 3, patch, patch)


def encode(canvas: np.ndarray, form: str) -> bytes:
    """A canvas uint8 [H, W, 3] as the bytes of a picture; form: "png", which keeps every pixel, or "jpeg"."""
    from PIL import Image

    data = io.BytesIO()
    if form == "png":
        Image.fromarray(canvas).save(data, "PNG", compress_level=_FAST)
    else:
        Image.fromarray(canvas).save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def check_canvases(selection: Selection, to: str, form: str) -> None:
    """Raise ConfigError where a cache's patches cannot be put on canvases of this form."""
    cache = selection.cache
    cache.check_pixels()
    if not cache.grid:
        raise ConfigError(
            f"--to {to}: cache {cache.location} does not say its input_size, without which a position has no index"
        )
    if form == "jpeg" and cache.layout.patch != BLOCK:
        raise ConfigError(
            f"canvas (jpeg) is for patches of {BLOCK} px, this cache has {cache.layout.patch}: JPEG would mix them "
            "with their neighbours; use png"
        )
