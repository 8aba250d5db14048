"""Pictures of clips in which coloured things cross, one after the other, quickly; and the questions asked of them.

The camera stands still before a photo, under noise. A thing enters at one side and leaves at the other in a tenth of
the clip; all things of a clip go the same way, each has a colour of its own, and no two are there at once. So most
pictures of a clip show nothing of it, and no single one tells which way a thing goes, how many there are or which came
first. Files of these clips are left to `clips`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.training.photos import read_photo

SIDE = 84
"""Of a picture, in pixels."""
FRAMES = 96
"""Of a clip."""

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""Where a thing goes: right and down by so much."""
COLOURS = {"red": (215, 40, 40), "green": (40, 170, 60), "blue": (45, 80, 220), "yellow": (235, 215, 50)}
COUNTS = ("one", "two", "three", "four")
SHAPES = ("disc", "square", "diamond")

QUESTIONS = {
    "way": "Which way does it move?",
    "count": "How many are there?",
    "first": "What moved first?",
}
ANSWERS = {"way": tuple(WAYS), "count": COUNTS, "first": tuple(COLOURS)}
"""Four to each question; every clip draws all alike."""

BACKGROUNDS = {
    "train": ("brick", "cars", "crossing", "cyclist", "meadow", "stars", "coffee", "pagoda"),
    "val": ("grass", "page", "retina"),
    "test": ("gravel", "rocket", "street", "moon", "pavement", "script"),
}
"""By split: no photo of one is in the other."""

_NOISE = 2.0  # deviation of a picture's noise, of 255
_SLOT = FRAMES // len(COUNTS)  # frames within which one thing crosses


@dataclass(frozen=True)
class Crossing:
    """A thing on its way. start, length: frames; lane: of its centre, across the way, 0..SIDE; size: px."""

    colour: str
    shape: str
    start: int
    length: int
    lane: float
    size: int


@dataclass(frozen=True)
class Shot:
    """A clip, down to its numbers; seed: of what of the photo is seen, of light and noise."""

    split: str
    number: int
    background: str
    way: str
    crossings: tuple[Crossing, ...]
    seed: tuple[int, ...]

    def answer(self, question: str) -> str:
        """The right one of `ANSWERS[question]`."""
        if question == "way":
            return self.way
        return COUNTS[len(self.crossings) - 1] if question == "count" else self.crossings[0].colour


def draw_shot(split: str, number: int, seed: int) -> Shot:
    """A clip of a split, at random: ways, counts and colours all alike, and independent of each other."""
    seeds = (seed, list(BACKGROUNDS).index(split), number)
    random = np.random.default_rng(seeds)
    count = int(random.integers(1, len(COUNTS) + 1))
    slots = np.sort(random.permutation(len(COUNTS))[:count])
    colours = random.permutation(list(COLOURS))[:count]
    crossings = tuple(
        _draw_crossing(str(colour), int(slot), random) for colour, slot in zip(colours, slots, strict=True)
    )
    background, way = random.choice(BACKGROUNDS[split]), random.choice(list(WAYS))
    return Shot(split, number, str(background), str(way), crossings, seeds)


def pictures(shot: Shot) -> Iterator[np.ndarray]:
    """Its frames, RGB uint8 [84, 84, 3]."""
    random = np.random.default_rng([*shot.seed, 1])
    ground = _ground(shot.background, random)
    for number in range(FRAMES):
        picture = ground + _NOISE * random.standard_normal((SIDE, SIDE, 1), np.float32)
        for thing in shot.crossings:
            if thing.start <= number < thing.start + thing.length:
                _paint(picture, thing, _place(thing, shot.way, number))
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _draw_crossing(colour: str, slot: int, random: np.random.Generator) -> Crossing:
    size, length = int(random.integers(16, 22)), int(random.integers(8, 11))
    start = slot * _SLOT + int(random.integers(1, _SLOT - length))
    lane = float(random.uniform(size / 2, SIDE - size / 2))
    return Crossing(colour, str(random.choice(SHAPES)), start, length, lane, size)


def _place(thing: Crossing, way: str, number: int) -> tuple[float, float]:
    """Its centre in a frame: x, y. It begins and ends half outside."""
    along = SIDE * (number - thing.start) / (thing.length - 1)
    right, down = WAYS[way]
    if right + down < 0:
        along = SIDE - along
    return (along, thing.lane) if right else (thing.lane, along)


def _paint(picture: np.ndarray, thing: Crossing, centre: tuple[float, float]) -> None:
    """Put a thing into a picture, float32 [84, 84, 3]."""
    y, x = np.ogrid[:SIDE, :SIDE]
    across, down = np.abs(x + 0.5 - centre[0]), np.abs(y + 0.5 - centre[1])
    distance = {"disc": np.hypot(across, down), "square": np.maximum(across, down), "diamond": (across + down) / 1.3}
    alpha = np.clip(thing.size / 2 + 0.5 - distance[thing.shape], 0, 1)[..., None]
    picture += alpha * (np.array(COLOURS[thing.colour], np.float32) - picture)


@cache
def _photo(name: str) -> Image.Image:
    photo = read_photo(name)
    scale = 2 * SIDE / min(photo.size)
    return photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)


def _ground(name: str, random: np.random.Generator) -> np.ndarray:
    """A piece of a photo, mirrored or not, in some light: float32 [84, 84, 3]."""
    photo = _photo(name)
    left, top = (int(random.integers(0, size - SIDE)) for size in photo.size)
    piece = np.asarray(photo.crop((left, top, left + SIDE, top + SIDE)), np.float32)
    return piece[:, :: int(random.choice([-1, 1]))] * np.float32(random.uniform(0.6, 1.05))
