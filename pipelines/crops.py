"""The model's crop of a picture, held until it is known which patches to cut out of it.

Only the samples that the crop's pixels are made of are copied: the decoder's own buffers go back to it at once,
which is both smaller and quicker than making it allocate new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecsieve.codec.picture import Picture
from codecsieve.codec.upright import upright_planes
from codecsieve.kernels.cpu.gather import gather_patches
from codecsieve.kernels.geometry import geometry
from codecsieve.kernels.resample import ColourMatrix, Taps, colour_matrix, cubic_taps


@dataclass(frozen=True)
class Crop:
    """Samples of one picture's crop, and how to make the model's pixels of them."""

    planes: tuple[np.ndarray, ...]
    """Y, or Y, U, V: uint8 or uint16 [rows, columns]."""
    luma_taps: tuple[Taps, Taps]
    """Weights of the crop's rows and columns for Y, counting samples of the whole picture."""
    chroma_taps: tuple[Taps, Taps]
    origins: tuple[tuple[int, int], tuple[int, int]]
    """Where sample (0, 0) of the whole picture would be in Y, and in U, V: zero or negative."""
    patch: int
    bit_depth: int
    matrix: ColourMatrix

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(plane.nbytes for plane in self.planes)


def hold_crop(picture: Picture, size: int, patch: int) -> Crop:
    """Copy the samples of the model's crop (size x size model pixels) out of a picture."""
    shown = upright_planes(picture)
    grids = geometry(shown.height, shown.width, size, patch)
    down_y, down_x = (1 << shift for shift in shown.subsampling)
    rows, columns = -(-shown.height // down_y), -(-shown.width // down_x)
    y_axis, x_axis = (grids.scaled_height, grids.crop_top), (grids.scaled_width, grids.crop_left)
    luma_taps = (
        cubic_taps(shown.height, *y_axis, size, float(shown.height), 0.0),
        cubic_taps(shown.width, *x_axis, size, float(shown.width), 0.0),
    )
    chroma_taps = (
        cubic_taps(rows, *y_axis, size, shown.height / down_y, shown.chroma_shift[0]),
        cubic_taps(columns, *x_axis, size, shown.width / down_x, shown.chroma_shift[1]),
    )
    layout = picture.layout
    planes = [_copy(shown.planes[0], shown.origins[0], luma_taps)]
    planes += [_copy(plane, shown.origins[1], chroma_taps) for plane in shown.planes[1:]]
    return Crop(
        tuple(planes),
        luma_taps,
        chroma_taps,
        (_corner(luma_taps), _corner(chroma_taps)),
        patch,
        layout.bit_depth,
        colour_matrix(layout.matrix, layout.full_range),
    )


def _corner(taps: tuple[Taps, Taps]) -> tuple[int, int]:
    return -int(taps[0].first[0]), -int(taps[1].first[0])


def _copy(plane: np.ndarray, origin: tuple[int, int], taps: tuple[Taps, Taps]) -> np.ndarray:
    spans = [
        slice(start + int(axis.first[0]), start + int(axis.first[-1]) + axis.weights.shape[1])
        for start, axis in zip(origin, taps, strict=True)
    ]
    return plane[spans[0], spans[1]].copy()


def cut_patches(crop: Crop, corners: np.ndarray) -> np.ndarray:
    """Patches at int64 [n, 2] corners (top, left in model pixels): uint8 [n, 3, P, P], RGB."""
    return gather_patches(
        crop.planes,
        crop.luma_taps,
        crop.chroma_taps,
        corners.astype(np.int64),
        crop.patch,
        crop.bit_depth,
        crop.matrix,
        crop.origins,
    )


def slot_corners(grid: int, patch: int) -> np.ndarray:
    """int64 [grid * grid, 2]: top and left of every patch of a slot, in model pixels, row by row."""
    return np.argwhere(np.ones((grid, grid), bool)) * patch
