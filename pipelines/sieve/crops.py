"""The model's crop of a picture, held until it is known which patches to cut out of it.

Only the samples that the crop's pixels are made of are copied: the decoder's own buffers go back to it at once,
which is both smaller and quicker than making it allocate new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from codecsieve.codec.picture import Picture
from codecsieve.codec.upright import UprightLayout, upright_layout, upright_planes
from codecsieve.kernels.cpu.gather import gather_patches
from codecsieve.kernels.geometry import geometry
from codecsieve.kernels.resample import ColourMatrix, Taps, colour_matrix, cubic_taps, few_taps
from codecsieve.kernels.rules import Fit

FEW = 16
"""Chroma samples of an axis below which it matters what is taken to lie beyond them."""


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
    seen: tuple[int, int, int, int]
    """Begin and end of the model's rows, then of its columns, that show the picture; the others are black."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(plane.nbytes for plane in self.planes)

    def copied(self, copy: Callable[[np.ndarray], np.ndarray]) -> Crop:
        """The same of copies of its samples."""
        return replace(self, planes=tuple(copy(plane) for plane in self.planes))


def hold_crop(picture: Picture, size: int, patch: int, fit: Fit = "crop") -> Crop:
    """Copy the samples of the model's crop (size x size model pixels) out of a picture."""
    return view_crop(picture, size, patch, fit).copied(np.ndarray.copy)


def view_crop(picture: Picture, size: int, patch: int, fit: Fit = "crop") -> Crop:
    """The model's crop in the picture's own memory: for `Crop.copied`, or to know its size."""
    shown = upright_layout(picture.layout)
    luma, chroma = crop_taps(shown, size, patch, fit)
    layout, upright = picture.layout, upright_planes(picture)
    return Crop(
        planes=(
            _part(upright[0], shown.origins[0], luma),
            *(_part(plane, shown.origins[1], chroma) for plane in upright[1:]),
        ),
        luma_taps=luma.taps,
        chroma_taps=chroma.taps,
        origins=((-luma.top, -luma.left), (-chroma.top, -chroma.left)),
        patch=patch,
        bit_depth=layout.bit_depth,
        matrix=colour_matrix(layout.matrix, layout.full_range),
        seen=geometry(shown.height, shown.width, size, patch, fit).seen,
    )


class PlaneTaps(NamedTuple):
    """Weights of a plane's rows and columns, and the samples that they count: top .. bottom, left .. right."""

    taps: tuple[Taps, Taps]
    top: int
    bottom: int
    left: int
    right: int


@lru_cache(maxsize=64)
def crop_taps(shown: UprightLayout, size: int, patch: int, fit: Fit = "crop") -> tuple[PlaneTaps, PlaneTaps]:
    """What the crop's pixels are made of, in Y and in U, V; pixels beside the picture, of its nearest samples."""
    height, width = shown.height, shown.width
    grids = geometry(height, width, size, patch, fit)
    down_y, down_x = (1 << shift for shift in shown.subsampling)
    rows, columns = shown.chroma_size
    y_axis, x_axis = (grids.scaled_height, grids.crop_top), (grids.scaled_width, grids.crop_left)
    luma = (
        cubic_taps(height, *y_axis, size, float(height), 0.0),
        cubic_taps(width, *x_axis, size, float(width), 0.0),
    )
    chroma = (
        _chroma_taps(rows, height, *y_axis, size, height / down_y, shown.chroma_shift[0]),
        _chroma_taps(columns, width, *x_axis, size, width / down_x, shown.chroma_shift[1]),
    )
    return PlaneTaps(luma, *_span(luma[0]), *_span(luma[1])), PlaneTaps(chroma, *_span(chroma[0]), *_span(chroma[1]))


def _chroma_taps(source: int, luma: int, scaled: int, offset: int, size: int, length: float, shift: float) -> Taps:
    if source < min(luma, FEW):
        return few_taps(source, luma, scaled, offset, size, length, shift)
    return cubic_taps(source, scaled, offset, size, length, shift)


def _span(axis: Taps) -> tuple[int, int]:
    """The first sample of an axis that any output counts, and the end of the last."""
    return int(axis.first[0]), int(axis.first[-1]) + axis.weights.shape[1]


def _part(plane: np.ndarray, origin: tuple[int, int], shown: PlaneTaps) -> np.ndarray:
    y, x = origin
    return plane[y + shown.top : y + shown.bottom, x + shown.left : x + shown.right]


def cut_patches(crop: Crop, corners: np.ndarray) -> np.ndarray:
    """Patches at int64 [n, 2] corners (top, left in model pixels): uint8 [n, 3, P, P], RGB."""
    patches = gather_patches(
        crop.planes,
        crop.luma_taps,
        crop.chroma_taps,
        corners.astype(np.int64),
        crop.patch,
        crop.bit_depth,
        crop.matrix,
        crop.origins,
    )
    side = len(crop.luma_taps[0].first)
    if crop.seen != (0, side, 0, side):
        blacken_padding(patches, corners, crop.seen)
    return patches


def blacken_padding(patches: np.ndarray, corners: np.ndarray, seen: tuple[int, int, int, int]) -> None:
    """Make pixels of patches uint8 [n, 3, P, P] at int64 [n, 2] corners black that are beside the picture."""
    inside = np.arange(patches.shape[-1])
    top, bottom, left, right = seen
    rows, columns = corners[:, :1] + inside, corners[:, 1:] + inside
    patches.swapaxes(1, 2)[(rows < top) | (rows >= bottom)] = 0
    patches.transpose(0, 3, 1, 2)[(columns < left) | (columns >= right)] = 0


def slot_corners(grid: int, patch: int) -> np.ndarray:
    """int64 [grid * grid, 2]: top and left of every patch of a slot, in model pixels, row by row."""
    return np.argwhere(np.ones((grid, grid), bool)) * patch
