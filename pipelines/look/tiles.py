"""What the pictures of a clip are put together of: a slot's tile, its heat, a line of text, and their colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Rgb = tuple[int, int, int]

PAPER: Rgb = (255, 255, 255)
INK: Rgb = (28, 30, 36)
FAINT: Rgb = (118, 122, 132)
FIRE: Rgb = (227, 89, 51)  # of the colours of heat
_DARK: Rgb = (22, 24, 30)  # where nothing is kept

# Nine even stops of "inferno", a perceptually uniform colour map (van der Walt and Smith, matplotlib, CC0).
_INFERNO = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (186, 54, 85),
        (227, 89, 51),
        (249, 140, 10),
        (249, 201, 50),
        (252, 255, 164),
    ],
    dtype=np.float64,
)


def heat_of(scores: NDArray[np.generic]) -> NDArray[np.float64]:
    """Scores as 0..1, on one scale for the whole clip, so that colours compare over slots.

    1 is the 99th percentile of the scores above zero. Few patches hold most of the energy: the power of 2/3
    keeps the rest of the clip from being black.
    """
    energy = scores.astype(np.float64)
    positive = energy[energy > 0]
    if not positive.size:
        return np.zeros_like(energy)
    return np.clip(energy / np.percentile(positive, 99), 0, 1) ** (2 / 3)


def _tile_size(grid: tuple[int, ...], side: int) -> tuple[int, int]:
    """(width, height) near `side` in which every patch has the same whole number of pixels."""
    patch = max(1, round(side / grid[1]))
    return grid[1] * patch, grid[0] * patch


def masked_tile(frame: NDArray[np.uint8], mask: NDArray[np.bool_], side: int = 144) -> Image.Image:
    """The patches of a frame that the mask [gh, gw] keeps; the rest is dark, with a trace of the frame."""
    size = _tile_size(mask.shape, side)
    picture = Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)
    stencil = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
    ground = Image.blend(Image.new("RGB", size, _DARK), picture.convert("L").convert("RGB"), 0.08)
    return Image.composite(picture, ground, stencil)


def heat_tile(frame: NDArray[np.uint8], heat: NDArray[np.float64], side: int = 144) -> Image.Image:
    """The heat [gh, gw] in colour over the frame in grey; the hotter, the less of the frame shows."""
    size = _tile_size(heat.shape, side)
    grey = np.asarray(Image.fromarray(frame).convert("L").resize(size, Image.Resampling.LANCZOS), np.float64)
    large = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.NEAREST)
    hot = np.asarray(large, np.float64)[..., None]
    weight = 0.45 + 0.4 * hot
    blend = (1 - weight) * grey[..., None] * 0.8 + weight * _inferno(hot[..., 0])
    return Image.fromarray(blend.round().astype(np.uint8))


def _inferno(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """0..1 to RGB 0..255, along a new last axis."""
    stops = np.linspace(0, 1, len(_INFERNO))
    return np.stack([np.interp(values, stops, channel) for channel in _INFERNO.T], axis=-1)


def draw_legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    """What the colours of heat mean, on a sheet."""
    ramp = np.broadcast_to(_inferno(np.linspace(0, 1, 96)), (8, 96, 3)).round().astype(np.uint8)
    sheet.paste(Image.fromarray(ramp), (left, top))
    draw.text((left, top + 13), "low", FAINT, font_of(12))
    draw.text((left + 96, top + 13), "high", FAINT, font_of(12), anchor="ra")


def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The one font, in pixels."""
    return ImageFont.load_default(size)


def draw_text(draw: ImageDraw.ImageDraw, at: tuple[int, int], words: str, size: int, colour: Rgb, width: int) -> None:
    """One line of text, its end cut off with an ellipsis where it would be wider than `width`."""
    font = font_of(size)
    cut = words
    while cut and draw.textlength(cut if cut == words else cut + "…", font) > width:
        cut = cut[:-1]
    draw.text(at, cut if cut == words else cut + "…", colour, font)
