"""Turn what was decoded the way a player shows it, where the file says that it is stored turned or mirrored.

Pictures that are stored upright pass through without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecsieve.codec.picture import Orientation, Picture, PictureFormat
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
    if layout.orientation.transposed:
        return layout.width, layout.height
    return layout.height, layout.width


def coded_layout(layout: PictureFormat) -> UprightLayout:
    """The planes of a picture as coded: what `upright_layout` is of one that is stored upright."""
    shift_y, shift_x = max(layout.chroma_shift_y, 0), max(layout.chroma_shift_x, 0)
    # MPEG's default siting: chroma on the left luma sample of each pair, halfway between rows.
    sited = 0.25 if shift_x == 1 else 0.0
    origins = (layout.crop_top, layout.crop_left), (layout.crop_top >> shift_y, layout.crop_left >> shift_x)
    return UprightLayout(origins, layout.height, layout.width, (0.0, sited), (shift_y, shift_x))


def upright_layout(layout: PictureFormat) -> UprightLayout:
    """How the planes lie that `upright_planes` gives."""
    coded, turned = coded_layout(layout), layout.orientation
    if not turned:
        return coded
    sizes, siting, subsampling = (coded.height, coded.width), coded.chroma_shift, coded.subsampling
    if turned.transposed:
        sizes, siting, subsampling = sizes[::-1], siting[::-1], subsampling[::-1]
    siting = siting[0] * (-1 if turned.flip_y else 1), siting[1] * (-1 if turned.flip_x else 1)
    return UprightLayout(((0, 0), (0, 0)), *sizes, siting, subsampling)


def upright_planes(picture: Picture) -> tuple[np.ndarray, ...]:
    """Y, or Y, U, V, upright: uint8 or uint16 [rows, columns], C-contiguous; copied only where they are turned."""
    layout = picture.layout
    if not layout.orientation:
        return picture.planes
    coded = coded_layout(layout)
    sizes = (coded.height, coded.width), coded.chroma_size, coded.chroma_size
    origins = (*coded.origins, coded.origins[1])
    return tuple(
        _turned(plane[top : top + rows, left : left + columns], layout.orientation)
        for plane, (top, left), (rows, columns) in zip(picture.planes, origins, sizes, strict=False)
    )


def upright_residual(residual: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Residual [H, W] as coded, turned upright."""
    return _turned(residual, orientation) if orientation else residual


def upright_motion(motion: np.ndarray, height: int, width: int, orientation: Orientation) -> np.ndarray:
    """Motion [Hc, Wc, 2] of a coded picture of height x width, turned upright: cells and vectors alike.

    A cell of the turned grid takes the motion of the coded cell under its middle.
    """
    if not orientation:
        return motion
    tall, wide = (width, height) if orientation.transposed else (height, width)
    y = np.minimum(np.arange(-(-tall // CELL)) * CELL + CELL // 2, tall - 1)[:, None]
    x = np.minimum(np.arange(-(-wide // CELL)) * CELL + CELL // 2, wide - 1)[None, :]
    y, x = tall - 1 - y if orientation.flip_y else y, wide - 1 - x if orientation.flip_x else x
    rows, columns = (x, y) if orientation.transposed else (y, x)
    cells = motion[rows // CELL, columns // CELL]
    if orientation.transposed:
        cells = cells[..., ::-1]
    signs = np.array((-1 if orientation.flip_x else 1, -1 if orientation.flip_y else 1))
    return np.clip(cells.astype(np.int32) * signs, -32768, 32767).astype(np.int16)


def _turned(plane: np.ndarray, orientation: Orientation) -> np.ndarray:
    plane = plane.T if orientation.transposed else plane
    plane = plane[::-1] if orientation.flip_y else plane
    return np.ascontiguousarray(plane[:, ::-1] if orientation.flip_x else plane)
