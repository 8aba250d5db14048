"""Pictures of clips: a piece of a photo moves, turns and zooms over another photo; the camera pans and shakes.

How clips of a split may move, and over what, is said here; how many there are, and their files, in `clips`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.training.photos import read_photo

SIDE = 112
"""Of a picture, in pixels."""
_SPRITE = 96  # side of a sprite before it is scaled
_SOFT = 0.08  # part of a sprite's radius over which its edge fades


@dataclass(frozen=True)
class Sprite:
    """What is cut from a photo. centre, size: of a square, in parts of the photo's width; lobes, depth: a round mask
    whose edge has so many bulges, so deep in parts of its radius.
    """

    photo: str
    centre: tuple[float, float]
    size: float
    lobes: int = 0
    depth: float = 0.0


SPRITES = (
    Sprite("admiral", (0.52, 0.45), 0.46),
    Sprite("astronaut", (0.44, 0.22), 0.32, 5, 0.12),
    Sprite("cameraman", (0.47, 0.26), 0.44, 3, 0.1),
    Sprite("cat", (0.53, 0.36), 0.56, 4, 0.1),
    Sprite("coffee", (0.48, 0.28), 0.38),
    Sprite("coins", (0.865, 0.12), 0.17, 8, 0.06),
    Sprite("driver", (0.45, 0.42), 0.5, 6, 0.1),
    Sprite("flower", (0.47, 0.35), 0.44, 7, 0.08),
    Sprite("motorcycle", (0.51, 0.42), 0.3, 4, 0.16),
    Sprite("pagoda", (0.32, 0.36), 0.36, 3, 0.14),
    Sprite("retina", (0.25, 0.5), 0.4, 9, 0.06),
    Sprite("tissue", (0.69, 0.65), 0.36, 5, 0.08),
)


@dataclass(frozen=True)
class Filming:
    """How clips of a split may be. backgrounds: photos; paths: names, see `_place`; turn: degrees a frame, either way;
    zoom: from first to last frame, by so much larger or smaller.
    """

    backgrounds: tuple[str, ...]
    paths: tuple[str, ...]
    turn: tuple[float, float]
    zoom: tuple[float, float]


FILMING = {
    "train": Filming(
        ("brick", "cars", "crossing", "cyclist", "grass", "meadow", "page", "stars"),
        ("line", "arc", "wave"),
        turn=(0.0, 3.0),
        zoom=(1.0, 1.3),
    ),
    "val": Filming(("moon", "pavement", "script"), ("corner",), turn=(3.0, 4.5), zoom=(1.3, 1.45)),
    "test": Filming(("gravel", "rocket", "street"), ("circle", "zigzag"), turn=(4.5, 6.5), zoom=(1.45, 1.7)),
}
"""By split: nothing of one is in another."""


@dataclass(frozen=True)
class Shot:
    """One clip, down to its numbers.

    sprite: of `SPRITES`; number: among the clips of its split and sprite; turn: degrees a frame; zoom: last size by
    first; frames: how many; seed: of all the rest, that is, place, direction, first size and angle, light, what of the
    background is seen, pan and shake.
    """

    split: str
    sprite: int
    number: int
    background: str
    path: str
    turn: float
    zoom: float
    frames: int
    seed: tuple[int, ...]


def draw_shot(split: str, sprite: int, number: int, frames: int, seed: int) -> Shot:
    """A clip of a split, at random."""
    seeds = (seed, list(FILMING).index(split), sprite, number)
    filming, random = FILMING[split], np.random.default_rng(seeds)
    zoom = random.uniform(*filming.zoom)
    return Shot(
        split,
        sprite,
        number,
        str(random.choice(filming.backgrounds)),
        str(random.choice(filming.paths)),
        float(random.choice([-1, 1]) * random.uniform(*filming.turn)),
        float(random.choice([zoom, 1 / zoom])),
        frames,
        seeds,
    )


def pictures(shot: Shot) -> Iterator[np.ndarray]:
    """Its frames, RGB uint8 [112, 112, 3]."""
    random = np.random.default_rng([*shot.seed, 1])
    cut, ground = cut_sprite(shot.sprite), _ground(shot.background, random)
    light = random.uniform(0.8, 1.15) * random.uniform(0.94, 1.06, 3)
    heading, angle = random.uniform(0, 2 * math.pi), random.uniform(-30, 30)
    middle = SIDE / 2 + random.uniform(-10, 10, 2)
    size = random.uniform(40, 48)
    corner = random.uniform(0.2, 0.8, 2) * (np.array(ground.size) - SIDE)
    pan = random.uniform(0.3, 1.2) * _direction(random.uniform(0, 2 * math.pi))
    shake = np.zeros(2)
    for number in range(shot.frames):
        time = number / (shot.frames - 1)  # 0..1
        shake = 0.6 * shake + random.normal(0, 0.7, 2)
        left, top = np.clip(corner + number * pan + shake, 0, np.array(ground.size) - SIDE)
        picture = _shown(ground, (1, 0, left, 0, 1, top))
        place = middle + _place(shot.path, time, heading) - shake
        scale = _SPRITE / (size * shot.zoom ** (time - 0.5))
        layer = _turned(cut, place, scale, angle + shot.turn * (number - shot.frames / 2))
        picture.paste(layer, mask=layer.getchannel("A"))
        yield np.clip(np.asarray(picture) * light, 0, 255).astype(np.uint8)


@cache
def cut_sprite(number: int) -> Image.Image:
    """A sprite as RGBA, 96 x 96, its edge soft."""
    sprite = SPRITES[number]
    photo = read_photo(sprite.photo)
    x, y, half = (photo.width * part for part in (*sprite.centre, sprite.size / 2))
    box = (x - half, y - half, x + half, y + half)
    cut = photo.resize((_SPRITE, _SPRITE), Image.Resampling.LANCZOS, box=box).convert("RGBA")
    down, right = (np.mgrid[:_SPRITE, :_SPRITE] + 0.5) / (_SPRITE / 2) - 1
    edge = 1 - sprite.depth * (1 + np.cos(sprite.lobes * np.arctan2(down, right))) / 2
    alpha = np.clip((edge - np.hypot(down, right)) / _SOFT, 0, 1)
    cut.putalpha(Image.fromarray((255 * alpha).astype(np.uint8)))
    return cut


def _ground(name: str, random: np.random.Generator) -> Image.Image:
    """A background, large enough to pan over."""
    photo = read_photo(name)
    scale = random.uniform(1.6, 2.4) * SIDE / min(photo.size)
    return photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)


def _place(path: str, time: float, heading: float) -> np.ndarray:
    """Where a sprite is on its way, in pixels from the way's middle. time: 0..1."""
    along = 44 * (time - 0.5)
    match path:
        case "line":
            way = (along, 0.0)
        case "arc":
            way = (24 * math.cos(math.pi * time), 16 * math.sin(math.pi * time) - 8)
        case "wave":
            way = (along, 7 * math.sin(2 * math.pi * time))
        case "corner":
            way = (min(along, 0.0) + 8, max(along, 0.0) - 8)
        case "circle":
            way = (17 * math.cos(2 * math.pi * time), 17 * math.sin(2 * math.pi * time))
        case "zigzag":
            way = (along, 12 * (4 * abs((2 * time) % 1 - 0.5) - 1))
        case _:
            raise ValueError(f"path ({path}) must be one that is known")
    ahead = _direction(heading)
    return way[0] * ahead + way[1] * np.array([-ahead[1], ahead[0]])


def _direction(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


def _turned(cut: Image.Image, place: np.ndarray, scale: float, degrees: float) -> Image.Image:
    """A sprite in a picture of its own. scale: pixels of the sprite a pixel."""
    cosine, sine = scale * _direction(math.radians(degrees))
    x, y = _SPRITE / 2 - cosine * place[0] - sine * place[1], _SPRITE / 2 + sine * place[0] - cosine * place[1]
    return _shown(cut, (cosine, sine, x, -sine, cosine, y))


def _shown(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """A picture of a clip: where each of its pixels is in an image."""
    return image.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
