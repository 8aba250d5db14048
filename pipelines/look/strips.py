"""Strips of bars: how many tokens each slot of a clip was given, one bar a slot, on a scale that strips share.

A still shows few slots; its strips show all of them. What is counted, and the words beside, are left to `pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from codecsieve.pipelines.look.tiles import FAINT, INK, Rgb, draw_text, font_of

STRIP = 76
"""Height of a strip's bars, in pixels."""
GAP = 22
"""Between strips, and between the last one and its numbers."""
NUMBERS = 18

_TRACK: Rgb = (243, 244, 247)
_SHOWN: Rgb = (224, 226, 233)  # the track of a slot that has a column above


@dataclass(frozen=True)
class Strip:
    """Tokens kept of each slot, int [T], with what stands beside them and their colour."""

    name: str
    what: str
    counts: NDArray[np.integer]
    colour: Rgb


def strips_height(strips: Sequence[Strip]) -> int:
    """Pixels that strips take, with the numbers below."""
    return len(strips) * (STRIP + GAP) - GAP + 6 + NUMBERS


def draw_strips(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    label: int,
    width: int,
    strips: Sequence[Strip],
    shown: NDArray[np.integer],
) -> None:
    """Strips one below the other: words `label` pixels wide, then bars over `width` pixels.

    All are on one scale, so that equal budgets have equal areas. shown: the slots whose numbers are told.
    """
    most = max(1, *(int(strip.counts.max()) for strip in strips))
    for number, strip in enumerate(strips):
        upper = top + number * (STRIP + GAP)
        draw_text(draw, (left, upper + 2), strip.name, 18, INK, label)
        for line, words in enumerate(strip.what.split("\n")):
            draw_text(draw, (left, upper + 30 + 18 * line), words, 13, FAINT, label)
        for slot, count in enumerate(strip.counts):
            begin, end = _bar(slot, len(strip.counts), left + label, width)
            ground = upper + STRIP - 1
            draw.rectangle((begin, upper, end, ground), _SHOWN if slot in shown else _TRACK)
            if count:
                draw.rectangle((begin, ground + 1 - max(1, round(count * STRIP / most)), end, ground), strip.colour)
    below = top + strips_height(strips) - NUMBERS
    draw.text((left + label - 10, below), "slot", FAINT, font_of(13), anchor="ra")
    for slot in shown:
        begin, end = _bar(int(slot), len(strips[0].counts), left + label, width)
        draw.text(((begin + end + 1) // 2, below), str(slot), FAINT, font_of(13), anchor="ma")


def _bar(slot: int, slots: int, left: int, width: int) -> tuple[int, int]:
    """First and last pixel of a slot's bar; bars are apart where there is room, and share pixels where there is not."""
    apart = min(4, width // slots // 4)
    begin, after = ((slot + side) * (width + apart) // slots for side in (0, 1))
    return left + min(begin, width - 1), left + max(begin, after - 1 - apart)
