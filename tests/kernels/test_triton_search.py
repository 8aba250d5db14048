"""Block search in Triton: equal bit for bit to the definition, under the interpreter, and to numba, on a GPU."""

from __future__ import annotations

import os
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsieve.kernels.cpu import search as cpu_search
from codecsieve.kernels.levels import Levels, level_shapes
from codecsieve.kernels.reference import search as reference_search
from codecsieve.kernels.triton.search import search_vectors

pytestmark = pytest.mark.slow

Pictures = npt.NDArray[np.uint8]

interpreted = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="needs Triton's interpreter: TRITON_INTERPRET=1"
)


def levels_of(pictures: Pictures) -> Levels:
    """Pyramids of pictures [n, S, S] with their border around them, by the definition."""
    size = pictures.shape[1]
    pyramids = [reference_search.pyramid(picture) for picture in pictures]
    arrays = []
    for level, shape in enumerate(level_shapes(size)):
        border = [(shape.reach, length - shape.reach - shape.side) for length in (shape.rows, shape.pitch)]
        padded = [np.pad(pyramid[level], border, mode="edge") for pyramid in pyramids]
        arrays.append(torch.from_numpy(np.array(padded, np.uint8).reshape(-1, shape.rows, shape.pitch)))
    return Levels(size, tuple(arrays))


def textures(rng: np.random.Generator, n: int, size: int) -> Pictures:
    """Blurred noise: detail at every level of the pyramid."""
    noise = rng.integers(0, 256, (n, size + 6, size + 6)).astype(float)
    blurred = sum(noise[:, y : y + size, x : x + size] for y, x in product(range(7), repeat=2)) / 49
    return np.clip(5 * (blurred - 127.5) + 127.5, 0, 255).astype(np.uint8)


def scenes(rng: np.random.Generator, size: int) -> tuple[Pictures, Pictures]:
    """Pairs with much, little or nothing in common; few grey levels give many equal costs."""
    scene = textures(rng, 1, size + 40)[0]
    dx, dy = rng.integers(-20, 21, 2)
    x = np.arange(size) * np.ones((size, 1), int)
    black = np.zeros((size, size), np.uint8)
    noise = rng.integers(0, 256, (2, size, size))
    few = rng.integers(0, 2, (2, size, size))
    pairs = [
        (scene[20 + dy :, 20 + dx :][:size, :size], scene[20:, 20:][:size, :size]),
        ((x + rng.integers(0, 16)) % 12 * 15, x % 12 * 15),
        (black, ~black),
        (black, black),
        (noise[0], noise[1]),
        (few[0], few[1]),
    ]
    ours, theirs = (np.array(pictures, np.uint8) for pictures in zip(*pairs, strict=True))
    return ours, theirs


def by_numba(current: Pictures, previous: Pictures) -> npt.NDArray[np.int16]:
    return np.stack([cpu_search.search_motion(ours, theirs) for ours, theirs in zip(current, previous, strict=True)])


@interpreted
@settings(max_examples=4)
@given(st.integers(0, 2**32), st.integers(1, 70))
def test_finds_the_vectors_of_the_definition_bit_for_bit(seed: int, size: int) -> None:
    current, previous = scenes(np.random.default_rng(seed), size)
    vectors = search_vectors(levels_of(current), levels_of(previous))
    expected = [reference_search.search_motion(*pair) for pair in zip(current, previous, strict=True)]
    assert vectors.dtype == torch.int16
    assert np.array_equal(vectors, np.stack(expected))


@interpreted
@pytest.mark.parametrize("size", [4, 20, 33, 64])
def test_only_pixels_inside_count_whatever_the_size(size: int) -> None:
    """Partial words, partial blocks, levels of odd sides, and blocks that fill a program."""
    current, previous = scenes(np.random.default_rng(size), size)
    vectors = search_vectors(levels_of(current), levels_of(previous))
    assert np.array_equal(vectors, by_numba(current, previous))


@interpreted
def test_pans_as_far_as_the_reach_are_found() -> None:
    pans = [(0, 0), (1, 0), (-5, 7), (-15, 15), (16, -16)]
    scene = textures(np.random.default_rng(3), 1, 136)[0]
    current = np.stack([scene[20 + dy : 116 + dy, 20 + dx : 116 + dx] for dx, dy in pans])
    previous = np.broadcast_to(scene[20:116, 20:116], current.shape)
    vectors = search_vectors(levels_of(current), levels_of(previous)).numpy()
    assert (vectors[:, 3:9, 3:9] == np.array(pans)[:, None, None]).all()


def test_the_largest_cost_fits_32_bits() -> None:
    assert reference_search.cost(64 * 255, 16, 16) < 1 << 32


@interpreted
def test_no_pictures_have_no_vectors() -> None:
    none = levels_of(np.zeros((0, 24, 24), np.uint8))
    assert search_vectors(none, none).shape == (0, 3, 3, 2)


def test_pictures_of_two_sizes_or_numbers_are_refused() -> None:
    three = levels_of(np.zeros((3, 16, 16), np.uint8))
    with pytest.raises(ValueError, match="must have the same shapes"):
        search_vectors(three, levels_of(np.zeros((3, 24, 24), np.uint8)))
    with pytest.raises(ValueError, match="must have the same shapes"):
        search_vectors(three, levels_of(np.zeros((2, 16, 16), np.uint8)))


@pytest.mark.gpu
@pytest.mark.parametrize(("n", "size"), [(64, 224), (3, 225), (1, 1), (6, 57)])
def test_a_gpu_finds_the_vectors_of_numba_bit_for_bit(n: int, size: int) -> None:
    rng = np.random.default_rng(size)
    pairs = [scenes(rng, size) for _ in range(-(-n // 6))]
    current, previous = (np.concatenate(pictures)[:n] for pictures in zip(*pairs, strict=True))
    levels = [levels_of(pictures) for pictures in (current, previous)]
    on_gpu = [Levels(size, tuple(array.cuda() for array in level.arrays)) for level in levels]
    assert np.array_equal(search_vectors(*on_gpu).cpu(), by_numba(current, previous))
