"""Turn what was decoded the way a player shows it, where the file says it was filmed with the camera turned.

Rotation is by quarter turns clockwise; pictures without it pass through without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecsieve.codec.picture import Picture
from codecsieve.kernels.geometry import CELL


@dataclass(frozen=True)
class UprightPlanes:
    """The shown samples of a picture, upright."""

    planes: tuple[np.ndarray, ...]
    """Y, or Y, U, V: uint8 or uint16 [rows, columns], C-contiguous."""
    origins: tuple[tuple[int, int], tuple[int, int]]
    """Row and column of the first shown sample, in Y and in U, V."""
    height: int
    """Luma rows shown."""
    width: int
    chroma_shift: tuple[float, float]
    """How far chroma samples sit from the middle of their luma samples, in chroma samples, by row and column."""
    subsampling: tuple[int, int]
    """log2 of the luma samples a chroma sample stands for, by row and column."""


def upright_size(picture: Picture) -> tuple[int, int]:
    """Height and width as shown."""
    layout = picture.layout
    if layout.rotation % 180:
        return layout.width, layout.height
    return layout.height, layout.width


def upright_planes(picture: Picture) -> UprightPlanes:
    """The planes of a picture, upright; copied only where it is rotated."""
    layout = picture.layout
    shift_y, shift_x = max(layout.chroma_shift_y, 0), max(layout.chroma_shift_x, 0)
    # MPEG's default siting: chroma on the left luma sample of each pair, halfway between rows.
    sited = 0.25 if shift_x == 1 else 0.0
    luma = layout.crop_top, layout.crop_left
    chroma = layout.crop_top >> shift_y, layout.crop_left >> shift_x
    if layout.rotation == 0:
        size = layout.height, layout.width
        return UprightPlanes(picture.planes, (luma, chroma), *size, (0.0, sited), (shift_y, shift_x))
    shown = [picture.planes[0][luma[0] : luma[0] + layout.height, luma[1] : luma[1] + layout.width]]
    rows, columns = -(-layout.height // (1 << shift_y)), -(-layout.width // (1 << shift_x))
    shown += [p[chroma[0] : chroma[0] + rows, chroma[1] : chroma[1] + columns] for p in picture.planes[1:]]
    turned = tuple(np.ascontiguousarray(np.rot90(plane, -layout.rotation // 90)) for plane in shown)
    siting = {90: (sited, 0.0), 180: (0.0, -sited), 270: (-sited, 0.0)}[layout.rotation]
    subsampling = (shift_x, shift_y) if layout.rotation % 180 else (shift_y, shift_x)
    return UprightPlanes(turned, ((0, 0), (0, 0)), *upright_size(picture), siting, subsampling)


def upright_residual(residual: np.ndarray, rotation: int) -> np.ndarray:
    """Residual [H, W] as coded, turned upright."""
    return np.ascontiguousarray(np.rot90(residual, -rotation // 90)) if rotation else residual


def upright_motion(motion: np.ndarray, height: int, width: int, rotation: int) -> np.ndarray:
    """Motion [Hc, Wc, 2] of a coded picture of height x width, turned upright: cells and vectors alike.

    A cell of the turned grid takes the motion of the coded cell under its middle.
    """
    if not rotation:
        return motion
    tall, wide = (width, height) if rotation % 180 else (height, width)
    y = np.minimum(np.arange(-(-tall // CELL)) * CELL + CELL // 2, tall - 1)[:, None]
    x = np.minimum(np.arange(-(-wide // CELL)) * CELL + CELL // 2, wide - 1)[None, :]
    if rotation == 90:
        source, signs, order = (height - 1 - x, y), (-1, 1), (1, 0)
    elif rotation == 180:
        source, signs, order = (height - 1 - y, width - 1 - x), (-1, -1), (0, 1)
    else:
        source, signs, order = (x, width - 1 - y), (1, -1), (1, 0)
    cells = motion[source[0] // CELL, source[1] // CELL][..., list(order)]
    return np.clip(cells.astype(np.int32) * np.array(signs), -32768, 32767).astype(np.int16)
