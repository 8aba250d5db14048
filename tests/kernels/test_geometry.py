"""Cells, crop, pooling weights and the centre table of a picture's size."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.kernels.geometry import Pooling, center_table, geometry, native_size
from codecsieve.kernels.rules import FITS, Native

sides = st.integers(1, 400)


def test_360p_is_scaled_by_its_short_side_and_cropped_about_the_centre() -> None:
    grids = geometry(360, 640, 224, 14)
    assert (grids.scaled_height, grids.scaled_width) == (224, 398)
    assert (grids.crop_top, grids.crop_left) == (0, 87)
    assert (grids.grid, grids.cells_height, grids.cells_width) == (16, 90, 160)


def test_the_scaled_long_side_is_rounded_half_up() -> None:
    assert geometry(4, 5, 14, 14).scaled_width == 18  # 17.5
    assert geometry(5, 4, 14, 14).scaled_height == 18


def test_the_last_cells_hold_the_pixels_that_are_left() -> None:
    grids = geometry(9, 6, 14, 14)
    assert grids.cell_pixels_y.tolist() == [4, 4, 1]
    assert grids.cell_pixels_x.tolist() == [4, 2]


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([(14, 14), (112, 14), (504, 14), (576, 16)]))
def test_a_letterbox_shows_the_whole_picture_in_its_middle(
    height: int, width: int, size_patch: tuple[int, int]
) -> None:
    size, patch = size_patch
    grids = geometry(height, width, size, patch, "letterbox")
    top, bottom, left, right = grids.seen
    assert (bottom - top, right - left) == (grids.scaled_height, grids.scaled_width)
    assert max(grids.scaled_height, grids.scaled_width) == size
    for length, side in ((bottom - top, height), (right - left, width)):
        assert length == max(math.floor(side * size / max(height, width) + 0.5), 1)
    assert 0 <= size - bottom - top <= 1
    assert 0 <= size - right - left <= 1
    # Where luma is brought to the model's resolution first, its grids are those of the picture.
    again = geometry(grids.scaled_height, grids.scaled_width, size, patch, "letterbox")
    assert again.seen == grids.seen
    picture = np.zeros((size, size), bool)
    picture[top:bottom, left:right] = True
    shows = picture.reshape(grids.grid, patch, grids.grid, patch).any(axis=(1, 3))
    np.testing.assert_array_equal(grids.unscored, np.where(shows, 0, -1))
    np.testing.assert_array_equal(again.unscored, grids.unscored)


def test_a_square_picture_needs_no_letterbox() -> None:
    crop, box = geometry(100, 100, 112, 14), geometry(100, 100, 112, 14, "letterbox")
    assert crop.seen == box.seen == (0, 112, 0, 112)
    assert not crop.unscored.any()
    assert not box.unscored.any()
    np.testing.assert_array_equal(crop.pool_x.weights, box.pool_x.weights)


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.sampled_from([14, 28, 32]),
    st.integers(1, 4000),
    st.sampled_from([8, 40, 10**4]),
)
def test_a_size_of_its_own_is_the_nearest_that_is_allowed(
    height: int, width: int, step: int, most: int, longest: int
) -> None:
    fit, size = Native(most * step**2 + step, step), longest * step
    own = native_size(height, width, size, fit)
    (rows, over), (columns, beside) = (divmod(side, step) for side in own)
    assert over == beside == 0
    assert min(rows, columns) >= 1
    assert rows * columns <= most
    assert max(own) <= size
    nearest = [max(round(Fraction(side, step)), 1) for side in (height, width)]
    if nearest[0] * nearest[1] <= most and max(nearest) <= longest:
        assert [rows, columns] == nearest
    elif min(rows, columns) > 1:  # not cut short: of the same shape as largely as is allowed, each side rounded down
        for side, other, blocks in ((height, width, rows), (width, height, columns)):
            assert (blocks * step) ** 2 * other <= side * fit.max_pixels
            assert blocks * step * max(height, width) <= side * size
            more = (blocks + 1) * step
            assert more**2 * other > side * fit.max_pixels or more * max(height, width) > side * size
    # Where luma is brought to the model's resolution first, its grids are those of the picture.
    assert native_size(*own, size, fit) == own


@given(st.integers(28, 3000), st.integers(28, 3000), st.sampled_from([392 * 392, 10**6]))
def test_sizes_are_those_of_qwen2_vl_but_that_nothing_is_made_larger(height: int, width: int, most: int) -> None:
    theirs = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    own = native_size(height, width, 10**5, Native(most, 28))
    for side, other, found, expected in zip(
        (height, width), (width, height), own, theirs.smart_resize(height, width, 28, 1, most), strict=True
    ):
        just_so = found**2 * other == side * most  # where floating point may lose a block
        assert found == expected or (just_so and found == expected + 28)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1080, 1920, (280, 504)),
        (240, 320, (252, 308)),
        (70, 98, (56, 112)),  # 2.5 and 3.5 blocks: to the even one
        (4, 1000, (28, 1008)),
        (4, 9000, (28, 1008)),
        (9000, 4, (1008, 28)),
    ],
)
def test_a_size_of_its_own_is_the_upper_left_of_the_square(height: int, width: int, expected: tuple[int, int]) -> None:
    grids = geometry(height, width, 1008, 14, Native(392 * 392, 28))
    assert (grids.scaled_height, grids.scaled_width) == expected
    assert grids.seen == (0, expected[0], 0, expected[1])
    shows = np.zeros((72, 72), bool)
    shows[: expected[0] // 14, : expected[1] // 14] = True
    np.testing.assert_array_equal(grids.unscored, np.where(shows, 0, -1))
    for pool, blocks in ((grids.pool_y, expected[0] // 14), (grids.pool_x, expected[1] // 14)):
        assert (pool.weights[:blocks].sum(axis=1) == 4096).all()
        assert not pool.weights[blocks:].any()


def test_another_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fit \('stretch'\) must be one of crop, letterbox"):
        geometry(9, 16, 14, 14, "stretch")


@given(sides, sides, st.sampled_from([(14, 14), (28, 7), (112, 14), (224, 16)]), st.sampled_from(FITS))
def test_each_patch_is_weighed_by_the_area_of_its_cells(
    height: int, width: int, size_patch: tuple[int, int], fit: str
) -> None:
    """Padding counts as what it is: part of the patch, and of no cell."""
    size, patch = size_patch
    grids = geometry(height, width, size, patch, fit)
    for side, scaled, crop, pool in (
        (height, grids.scaled_height, grids.crop_top, grids.pool_y),
        (width, grids.scaled_width, grids.crop_left, grids.pool_x),
    ):
        cells = math.ceil(side / 4)
        taps = pool.weights.shape[1]
        assert fit == "letterbox" or (pool.weights.sum(axis=1) == 4096).all()
        assert (pool.weights >= 0).all()
        assert (pool.first >= 0).all()
        assert (pool.first + taps <= cells).all()
        edges = (crop + patch * np.arange(grids.grid + 1)) * side / scaled
        cell_edges = np.minimum(4 * np.arange(cells + 1), side)
        for i in range(grids.grid):
            overlap = np.clip(np.minimum(edges[i + 1], cell_edges[1:]) - np.maximum(edges[i], cell_edges[:-1]), 0, None)
            exact = np.zeros(cells)
            exact[pool.first[i] : pool.first[i] + taps] = pool.weights[i] / 4096
            assert np.abs(exact - overlap / (edges[i + 1] - edges[i])).max() <= 1.001 / 4096


@pytest.mark.parametrize("weights", [[4000, 97], [-1, 4096]])
def test_weights_of_more_than_a_patch_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="must be >= 0 and sum to at most 4096"):
        Pooling(np.zeros(1, np.int32), np.array([weights], np.int32))
    with pytest.raises(ValueError, match="must match"):
        Pooling(np.zeros(2, np.int32), np.array([[4096]], np.int32))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 4, 14, 14), r"height \(0\) must be > 0"),
        ((4, -1, 14, 14), r"width \(-1\) must be > 0"),
        ((4, 4, 14, 0), r"patch \(0\) must be > 0"),
        ((4, 4, 100, 14), r"size \(100\) must be a multiple of patch \(14\)"),
    ],
)
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        geometry(*sizes)


@given(sides, sides, st.floats(-1, 7), st.floats(-1, 2))
def test_the_centre_table_is_the_gaussian_of_the_distance_to_the_centre(
    height: int, width: int, prior: float, part: float
) -> None:
    grids = geometry(height, width, 14, 14)
    y = np.array([np.arange(height)[4 * i : 4 * i + 4].mean() for i in range(grids.cells_height)])
    x = np.array([np.arange(width)[4 * i : 4 * i + 4].mean() for i in range(grids.cells_width)])
    squares = (y[:, None] - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
    sigma = max(1, part * min(height, width))
    exact = 4096 * (1 + max(prior, 0) * np.exp(-squares / (2 * sigma * sigma)))
    table = center_table(grids, prior, part)
    assert table.dtype == np.int32
    assert np.abs(table - exact).max() <= 0.5 + 1e-6


def test_the_centre_table_lifts_the_centre_most_and_nothing_without_a_prior() -> None:
    grids = geometry(360, 640, 224, 14)
    table = center_table(grids, 0.3, 0.35)
    assert (table == table[::-1, ::-1]).all()
    assert table.max() == table[44:46, 79:81].max() <= 1.3 * 4096
    assert table.min() == table[0, 0]
    assert (center_table(grids, 0.0, 0.35) == 4096).all()
    assert (center_table(grids, -1.0, 0.35) == 4096).all()


@pytest.mark.parametrize(("prior", "sigma"), [(math.nan, 0.35), (0.3, math.inf), (7.01, 0.35)])
def test_a_centre_prior_that_32_bits_cannot_hold_is_refused(prior: float, sigma: float) -> None:
    with pytest.raises(ValueError, match="center_prior"):
        center_table(geometry(8, 8, 14, 14), prior, sigma)


def test_tables_are_shared_and_cannot_be_written() -> None:
    grids = geometry(64, 48, 28, 14)
    assert geometry(64, 48, 28, 14) is grids
    assert center_table(grids, 0.3, 0.35) is center_table(grids, 0.3, 0.35)
    for table in (center_table(grids, 0.3, 0.35), grids.pool_y.weights, grids.cell_pixels_x):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0
