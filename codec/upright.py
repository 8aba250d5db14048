"""Turn what was decoded the way a player shows it, where the file says it was filmed with the camera turned.

Rotation is by quarter turns clockwise; pictures without it pass through without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecsieve.codec.picture import Picture, PictureFormat
from codecsieve.kernels.geometry import CELL


@dataclass(frozen=True)
class UprightLayout:
    """Where the shown samples are in upright planes, and how those of chroma lie to those of luma."""

    origins: tuple[tuple[int, int], tuple[int, int]]
    """Row and column of the first shown sample, in Y and in U, V."""
    height: int
    """Luma rows shown."""
    width: int
    chroma_shift: tuple[float, float]
    """How far chroma samples sit from the middle of their luma samples, in chroma samples, by row and column."""
    subsampling: tuple[int, int]
    """log2 of the luma samples a chroma sample stands for, by row and column."""

    @property
    def chroma_size(self) -> tuple[int, int]:
        """Rows and columns of chroma samples shown."""
        down_y, down_x = (1 << shift for shift in self.subsampling)
        return -(-self.height // down_y), -(-self.width // down_x)


def upright_size(picture: Picture) -> tuple[int, int]:
    """Height and width as shown."""
    layout = picture.layout
    if layout.rotation % 180:
        return layout.width, layout.height
    return layout.height, layout.width


def coded_layout(layout: PictureFormat) -> UprightLayout:
    """The planes of a picture as coded: what `upright_layout` is of one that is not rotated."""
    shift_y, shift_x = max(layout.chroma_shift_y, 0), max(layout.chroma_shift_x, 0)
    # MPEG's default siting: chroma on the left luma sample of each pair, halfway between rows.
    sited = 0.25 if shift_x == 1 else 0.0
    origins = (layout.crop_top, layout.crop_left), (layout.crop_top >> shift_y, layout.crop_left >> shift_x)
    return UprightLayout(origins, layout.height, layout.width, (0.0, sited), (shift_y, shift_x))


def upright_layout(layout: PictureFormat) -> UprightLayout:
    """How the planes lie that `upright_planes` gives."""
    coded = coded_layout(layout)
    if layout.rotation == 0:
        return coded
    sited = coded.chroma_shift[1]
    siting = {90: (sited, 0.0), 180: (0.0, -sited), 270: (-sited, 0.0)}[layout.rotation]
    sizes, subsampling = (coded.height, coded.width), coded.subsampling
    if layout.rotation % 180:
        sizes, subsampling = sizes[::-1], subsampling[::-1]
    return UprightLayout(((0, 0), (0, 0)), *sizes, siting, subsampling)


def upright_planes(picture: Picture) -> tuple[np.ndarray, ...]:
    """Y, or Y, U, V, upright: uint8 or uint16 [rows, columns], C-contiguous; copied only where it is rotated."""
    layout = picture.layout
    if layout.rotation == 0:
        return picture.planes
    coded = coded_layout(layout)
    sizes = (coded.height, coded.width), coded.chroma_size, coded.chroma_size
    origins = (*coded.origins, coded.origins[1])
    return tuple(
        np.ascontiguousarray(np.rot90(plane[top : top + rows, left : left + columns], -layout.rotation // 90))
        for plane, (top, left), (rows, columns) in zip(picture.planes, origins, sizes, strict=False)
    )


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
