"""Kept patches, each put back at its place: the picture that a notebook shows of a clip, drawn without decoding.

It takes plain arrays, so that caches, batches and sieved clips draw alike. Pictures of whole frames, of saliency and of
the method are left to `pipelines.look`.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from codecsieve.text import shortened

if TYPE_CHECKING:  # pillow is imported when something is drawn: reading a cache does without it
    from PIL import Image

_GROUND = (22, 24, 30)  # where nothing is kept
_CELL = (196, 200, 210)  # what is kept, where its pixels are not
_PAPER, _INK = (255, 255, 255), (118, 122, 132)
_GAP, _CAPTION = 6, 18
_CELL_PIXELS = 14  # of a patch whose pixels are not there


class Pictured:
    """A clip that notebooks show as its picture, below what it says of itself."""

    def show(self, slots: int = 8) -> Image.Image:
        """The picture of the patches kept, in place, of so many slots: a notebook draws it, `.save(path)` keeps it.

        Nothing is decoded for it. Of a clip with more slots, the fullest of each part are shown.
        """
        raise NotImplementedError

    def _repr_png_(self) -> bytes:
        return png_of(self.show())

    def _repr_html_(self) -> str:
        return html_of(repr(self), [("", self.show())])


def draw_kept(
    patches: np.ndarray | None, positions: np.ndarray, grid: int = 0, slots: int = 8, side: int = 112
) -> Image.Image:
    """A row of a clip's slots, the patches that were kept in place, and below each its number and how many these are.

    Args:
        patches: uint8 [K, 3, P, P], RGB, or float, which is stretched to what can be seen; None: plain squares.
        positions: [K, 3]: slot, row, column.
        grid: patches on each side of the model's square; at least as many as the positions need.
        slots: how many are shown; of clips with more, the fullest of each part.
        side: about how many pixels wide a tile is.
    """
    from PIL import Image, ImageDraw, ImageFont

    positions = positions.astype(np.int64)
    grid = max(grid, 1, int(positions[:, 1:].max(initial=-1)) + 1)
    shown = _fullest(positions[:, 0], max(1, slots))
    side = max(1, round(side / grid)) * grid
    sheet = Image.new("RGB", (max(1, len(shown)) * (side + _GAP) - _GAP, side + _CAPTION), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, slot in enumerate(shown):
        here = positions[:, 0] == slot
        tile = _tile(None if patches is None else _seen(patches)[here], positions[here], grid)
        left = place * (side + _GAP)
        sheet.paste(tile.resize((side, side), Image.Resampling.BOX), (left, 0))
        draw.text((left, side + 3), f"slot {slot}: {here.sum()}", _INK, font)
    return sheet


def png_of(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def html_of(text: str, pictures: Iterable[tuple[str, Image.Image]]) -> str:
    """Lines of text and pictures below their captions, as HTML; text is escaped, whatever it holds."""
    parts = [f"<pre>{html.escape(text)}</pre>"]
    for caption, picture in pictures:
        data = base64.b64encode(png_of(picture)).decode()
        parts.append(f'<div style="margin-top: 6px">{html.escape(shortened(caption))}</div>' if caption else "")
        parts.append(f'<img src="data:image/png;base64,{data}">')
    return "".join(parts)


def _fullest(times: np.ndarray, count: int) -> list[int]:
    """At most `count` of the slots that have patches, ascending: of each of so many parts of them the fullest."""
    present, kept = np.unique(times, return_counts=True)
    parts = np.array_split(np.arange(len(present)), min(count, max(1, len(present))))
    return [int(present[part[kept[part].argmax()]]) for part in parts if len(part)]


def _tile(patches: np.ndarray | None, positions: np.ndarray, grid: int) -> Image.Image:
    from PIL import Image

    side = _CELL_PIXELS if patches is None else patches.shape[-1]
    tile = np.empty((grid, side, grid, side, 3), np.uint8)
    tile[:] = _GROUND
    _, rows, columns = positions.T
    tile[rows, :, columns] = _CELL if patches is None else patches.transpose(0, 2, 3, 1)
    return Image.fromarray(tile.reshape(grid * side, grid * side, 3))


def _seen(patches: np.ndarray) -> np.ndarray:
    """Patches as uint8; colours that were normalised are stretched from the least to the most of them."""
    if patches.dtype == np.uint8:
        return patches
    patches = np.nan_to_num(patches)
    least, most = float(patches.min(initial=0)), float(patches.max(initial=1))
    stretched: np.ndarray = ((patches - least) * (255 / (most - least))).round().astype(np.uint8)
    return stretched
