"""The picture of kept patches: each lies where its position says, and text around it cannot be anything but text."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from codecsieve.mosaic import draw_kept, html_of, png_of


def positions_of(*triples: tuple[int, int, int]) -> np.ndarray:
    return np.array(triples, np.uint16).reshape(-1, 3)


def test_patches_lie_where_their_positions_say() -> None:
    patches = np.zeros((3, 3, 2, 2), np.uint8)
    patches[0, 0], patches[1, 1], patches[2, 2] = 250, 250, 250  # red, green, blue
    picture = draw_kept(patches, positions_of((0, 0, 0), (0, 3, 1), (9, 2, 2)), grid=4, side=8)
    pixels = np.asarray(picture)
    assert pixels.shape[1] == 2 * 8 + 6
    assert (pixels[0:2, 0:2] == (250, 0, 0)).all()
    assert (pixels[6:8, 2:4] == (0, 250, 0)).all()
    assert (pixels[4:6, 18:20] == (0, 0, 250)).all()
    assert (pixels[0:2, 2:8] < 40).all()  # nothing is kept there


def test_of_many_slots_the_fullest_of_each_part_are_shown() -> None:
    counts = [1, 5, 2, 1, 1, 7]
    positions = positions_of(*((slot, 0, column) for slot, count in enumerate(counts) for column in range(count)))
    all_of_it = draw_kept(None, positions, grid=8, slots=6, side=8)
    two = draw_kept(None, positions, grid=8, slots=2, side=8)
    assert (all_of_it.width, two.width) == (6 * 8 + 5 * 6, 2 * 8 + 6)
    lit = (np.asarray(two)[0] > 150).all(axis=1)
    assert (lit[:8].sum(), lit[14:].sum()) == (5, 7)


@pytest.mark.parametrize(
    ("patches", "positions"),
    [
        (None, positions_of()),
        (np.zeros((0, 3, 2, 2), np.uint8), positions_of()),
        (np.full((1, 3, 14, 14), np.nan, np.float32), positions_of((3, 15, 15))),
        (np.random.default_rng(0).normal(size=(2, 3, 14, 14)).astype(np.float32), positions_of((0, 0, 0), (1, 1, 1))),
    ],
)
def test_whatever_was_kept_can_be_drawn(patches: np.ndarray | None, positions: np.ndarray) -> None:
    with Image.open(io.BytesIO(png_of(draw_kept(patches, positions, grid=16)))) as picture:
        assert picture.format == "PNG"
        assert picture.height == 112 + 18


def test_text_around_it_is_escaped() -> None:
    picture = draw_kept(None, positions_of((0, 0, 0)))
    said = html_of("<script>1</script>", [("<img src=x onerror=alert(1)>\u202e\x1b" + "y" * 999, picture)])
    assert "<script" not in said
    assert "<img src=x" not in said
    assert said.isprintable()
    assert "characters" in said  # what is long is shortened
    assert said.count("<img ") == 1
