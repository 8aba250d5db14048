"""Residuals of block search in Triton: equal bit for bit to the definition, under the interpreter or on a GPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_triton_search import interpreted, levels_of, scenes, textures

from codecsieve.kernels.cpu import search as cpu_search
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.reference import search as reference_search
from codecsieve.kernels.reference.energy import residual_histogram
from codecsieve.kernels.triton.residual import search_residual, vector_cells


def displaced(picture: npt.NDArray[np.uint8], vectors: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Each pixel's value where its block's vector points, the border repeated."""
    size = len(picture)
    each = vectors.repeat(8, axis=0).repeat(8, axis=1)[:size, :size]
    y = np.clip(np.arange(size)[:, None] + each[..., 1], 0, size - 1)
    x = np.clip(np.arange(size) + each[..., 0], 0, size - 1)
    return picture[y, x]


@pytest.mark.slow
@interpreted
@settings(max_examples=8)
@given(st.integers(0, 2**32), st.integers(1, 70))
def test_signals_are_those_of_the_definition_bit_for_bit(seed: int, size: int) -> None:
    current, previous = scenes(np.random.default_rng(seed), size)
    pyramids = [[reference_search.pyramid(picture) for picture in pictures] for pictures in (current, previous)]
    expected = [reference_search.search_signals(*pair) for pair in zip(*pyramids, strict=True)]
    vectors = np.stack([reference_search.search_pyramids(*pair) for pair in zip(*pyramids, strict=True)])
    residual, histogram = search_residual(levels_of(current), levels_of(previous), torch.from_numpy(vectors))
    assert residual.dtype == torch.uint8
    assert np.array_equal(residual, np.stack([picture for _, picture in expected]))
    assert histogram.dtype == torch.int32
    assert np.array_equal(histogram, np.stack([residual_histogram(picture) for _, picture in expected]))
    cells = vector_cells(torch.from_numpy(vectors), size)
    assert cells.dtype == torch.int16
    assert np.array_equal(cells, np.stack([motion for motion, _ in expected]))


@pytest.mark.slow
@interpreted
@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 100))
def test_any_vectors_within_reach_displace_the_pixels_of_their_blocks(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    current, previous = rng.integers(0, 256, (2, n, size, size), dtype=np.uint8)
    blocks = -(-size // 8)
    vectors = rng.choice([-16, 0, 3, 16], (n, blocks, blocks, 2)).astype(np.int16)
    residual, histogram = search_residual(levels_of(current), levels_of(previous), torch.from_numpy(vectors))
    for i in range(n):
        expected = np.abs(current[i].astype(int) - displaced(previous[i], vectors[i]))
        assert np.array_equal(residual[i], expected)
        assert np.array_equal(histogram[i], np.bincount(expected.ravel(), minlength=256))


@interpreted
def test_no_pictures_have_no_residual() -> None:
    none = levels_of(np.zeros((0, 24, 24), np.uint8))
    residual, histogram = search_residual(none, none, torch.zeros((0, 3, 3, 2), dtype=torch.int16))
    assert (residual.shape, histogram.shape) == ((0, 24, 24), (0, 256))


def test_vectors_of_other_pictures_are_refused() -> None:
    levels = levels_of(np.zeros((2, 24, 24), np.uint8))
    for vectors in (
        torch.zeros((2, 4, 3, 2), dtype=torch.int16),
        torch.zeros((1, 3, 3, 2), dtype=torch.int16),
        torch.zeros((2, 3, 3, 2), dtype=torch.int32),
    ):
        with pytest.raises(ValueError, match=r"vectors \(torch.* must be int16 \(2, 3, 3, 2\)"):
            search_residual(levels, levels, vectors)
    with pytest.raises(ValueError, match=r"must be int16 \(2, 4, 4, 2\)"):
        vector_cells(torch.zeros((2, 3, 3, 2), dtype=torch.int16), 25)


@pytest.mark.gpu
@pytest.mark.parametrize(("n", "size"), [(64, 224), (3, 225), (1, 1), (6, 57)])
def test_a_gpu_gives_the_signals_of_numba_bit_for_bit(n: int, size: int) -> None:
    current, previous = (textures(np.random.default_rng(seed), n, size) for seed in range(2))
    pyramids = [[cpu_search.pyramid(picture) for picture in pictures] for pictures in (current, previous)]
    expected = [cpu_search.search_signals(*pair) for pair in zip(*pyramids, strict=True)]
    vectors = torch.from_numpy(np.stack([cpu_search.search_pyramids(*pair) for pair in zip(*pyramids, strict=True)]))
    on_gpu = [
        Levels(size, tuple(array.cuda() for array in levels_of(pictures).arrays)) for pictures in (current, previous)
    ]
    residual, histogram = search_residual(*on_gpu, vectors.cuda())
    assert np.array_equal(residual.cpu(), np.stack([picture for _, picture in expected]))
    assert np.array_equal(histogram.cpu(), np.stack([residual_histogram(picture) for _, picture in expected]))
    assert np.array_equal(vector_cells(vectors.cuda(), size).cpu(), np.stack([motion for motion, _ in expected]))
