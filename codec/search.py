"""`search` and `difference` signals: consecutive pictures compared, for any codec.

Luma is brought to the model's resolution and crop, and each wanted picture is compared with the one shown just
before it, whatever the codec did: by block matching, or pixel by pixel. The arithmetic is in `kernels`; on a GPU
`pipelines/sieve/gpu_clip` does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import TypeVar

import numpy as np

from codecsieve.codec.picture import Picture, PictureFormat
from codecsieve.codec.slots import SlotSignals
from codecsieve.codec.upright import UprightLayout, upright_layout, upright_planes
from codecsieve.kernels.cpu.search import area_resize, pyramid, search_signals
from codecsieve.kernels.geometry import geometry
from codecsieve.kernels.reference.search import difference_signals
from codecsieve.kernels.resample import Taps, area_taps
from codecsieve.kernels.rules import Fit


def model_luma(picture: Picture, size: int, fit: Fit = "crop") -> np.ndarray:
    """Luma of what the model sees of a picture, at its resolution and without padding: uint8, see `seen_size`."""
    shown = upright_layout(picture.layout)
    luma = upright_planes(picture)[0]
    return area_resize(luma, *shown.origins[0], *luma_taps(shown, size, fit), picture.layout.bit_depth)


def seen_size(shown: UprightLayout, size: int, fit: Fit = "crop") -> tuple[int, int]:
    """Rows and columns of the model's square that show the picture: of a crop, all."""
    top, bottom, left, right = geometry(shown.height, shown.width, size, size, fit).seen
    return bottom - top, right - left


def luma_taps(shown: UprightLayout, size: int, fit: Fit = "crop") -> tuple[Taps, Taps]:
    """Area weights of the rows and the columns that the model sees of a picture, which count shown luma samples."""
    grids = geometry(shown.height, shown.width, size, size, fit)
    rows, columns = seen_size(shown, size, fit)
    return (
        area_taps(shown.height, grids.scaled_height, max(grids.crop_top, 0), rows),
        area_taps(shown.width, grids.scaled_width, max(grids.crop_left, 0), columns),
    )


def with_previous(wanted: np.ndarray) -> np.ndarray:
    """Ascending display indices of the wanted pictures and of the picture shown before each."""
    return np.union1d(wanted, np.maximum(wanted - 1, 0))


def search_pictures(
    pictures: Iterator[Picture], wanted: Container[int], size: int, fit: Fit = "crop"
) -> Iterator[SlotSignals]:
    """`search` signals of the wanted pictures, see `_compare`."""
    return _compare(
        pictures, wanted, size, fit, lambda picture: pyramid(model_luma(picture, size, fit)), search_signals
    )


def subtract_pictures(
    pictures: Iterator[Picture], wanted: Container[int], size: int, fit: Fit = "crop"
) -> Iterator[SlotSignals]:
    """`difference` signals of the wanted pictures, see `_compare`."""
    return _compare(pictures, wanted, size, fit, lambda picture: model_luma(picture, size, fit), difference_signals)


Look = TypeVar("Look")


def _compare(
    pictures: Iterator[Picture],
    wanted: Container[int],
    size: int,
    fit: Fit,
    look: Callable[[Picture], Look],
    compare: Callable[[Look, Look], tuple[np.ndarray, np.ndarray]],
) -> Iterator[SlotSignals]:
    """Signals of the wanted pictures.

    Args:
        pictures: all that was decoded, in order of presentation, with the picture before each wanted one.
        wanted: display indices.
        size: side of the model's square.
        fit: how pictures are brought into it.
        look: what is kept of a picture until the next.
        compare: motion and residual of a picture, from what is kept of it and of the one before.

    Yields:
        One SlotSignals a wanted picture, in order; motion and residual are those of what the model sees. The first
        picture of the file has nothing before it and is unpredicted, and so is one that is laid out otherwise than
        the one before.
    """
    before: tuple[int, PictureFormat, Look] | None = None
    for picture in pictures:
        display = picture.display_index
        if display not in wanted and display + 1 not in wanted:
            continue
        seen = look(picture)
        if display in wanted:
            if before is not None and before[:2] == (display - 1, picture.layout):
                motion, residual = compare(seen, before[2])
                yield SlotSignals(picture, motion, residual, predicted=True)
            else:
                yield SlotSignals.unpredicted(picture, *seen_size(upright_layout(picture.layout), size, fit))
        before = display, picture.layout, seen
