"""Block search: what it finds, what it leaves, and that numba agrees with the definition bit for bit."""

from __future__ import annotations

from itertools import islice, product
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsieve.kernels.cpu import search as cpu_search
from codecsieve.kernels.reference import search as reference_search
from codecsieve.kernels.resample import Taps, area_taps

Picture = npt.NDArray[np.uint8]

forms = pytest.mark.parametrize("form", [reference_search, cpu_search], ids=["reference", "cpu"])


def texture(rng: np.random.Generator, rows: int, columns: int) -> Picture:
    """Blurred noise: detail at every level of the pyramid."""
    noise = rng.integers(0, 256, (rows + 6, columns + 6)).astype(float)
    blurred = sum(noise[y : y + rows, x : x + columns] for y, x in product(range(7), repeat=2)) / 49
    return np.clip(5 * (blurred - 127.5) + 127.5, 0, 255).astype(np.uint8)


def panned(rng: np.random.Generator, size: int, dx: int, dy: int) -> tuple[Picture, Picture]:
    """Two pictures: the first at (x, y) is the second at (x + dx, y + dy)."""
    scene = texture(rng, size + 40, size + 40)
    return scene[20 + dy :, 20 + dx :][:size, :size].copy(), scene[20:, 20:][:size, :size].copy()


@st.composite
def picture_pairs(draw: st.DrawFn) -> tuple[Picture, Picture]:
    """Two pictures with much, little or nothing in common; few grey levels give many equal costs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(1, 70))
    kind = draw(st.sampled_from(["pan", "noise", "levels", "stripes", "objects"]))
    if kind == "pan":
        return panned(rng, size, draw(st.integers(-20, 20)), draw(st.integers(-20, 20)))
    if kind == "objects":
        scene = texture(rng, size, size)
        blocks = rng.integers(-12, 13, (size // 8 + 1, size // 8 + 1, 2)).repeat(8, 0).repeat(8, 1)[:size, :size]
        y, x = np.mgrid[:size, :size]
        return scene[np.clip(y + blocks[..., 1], 0, size - 1), np.clip(x + blocks[..., 0], 0, size - 1)], scene
    if kind == "stripes":
        x = np.arange(size) * np.ones((size, 1), int)
        period = draw(st.integers(2, 16))
        return ((x + draw(st.integers(0, 16))) % period * 15).astype(np.uint8), (x % period * 15).astype(np.uint8)
    levels = 255 if kind == "noise" else 1
    first, second = rng.integers(0, levels + 1, (2, size, size), dtype=np.uint8)
    return first, second


@pytest.mark.slow
@settings(max_examples=60)
@given(picture_pairs())
def test_numba_finds_the_same_signals_bit_for_bit(pair: tuple[Picture, Picture]) -> None:
    current, previous = pair
    levels = [[form.pyramid(picture) for picture in pair] for form in (reference_search, cpu_search)]
    for ours, theirs in zip(levels[0] + levels[1], levels[1] + levels[0], strict=True):
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))
    vectors = reference_search.search_motion(current, previous)
    assert np.array_equal(cpu_search.search_motion(current, previous), vectors)
    motion, residual = reference_search.search_signals(*levels[0])
    our_motion, our_residual = cpu_search.search_signals(*levels[1])
    assert our_motion.dtype == motion.dtype == np.int16
    assert our_residual.dtype == residual.dtype == np.uint8
    assert np.array_equal(our_motion, motion)
    assert np.array_equal(our_residual, residual)


@settings(max_examples=60)
@given(picture_pairs())
def test_no_block_is_predicted_worse_than_by_no_motion_nor_from_out_of_reach(
    pair: tuple[Picture, Picture],
) -> None:
    current, previous = pair
    motion, residual = cpu_search.search_signals(cpu_search.pyramid(current), cpu_search.pyramid(previous))
    assert np.abs(motion).max() <= 4 * 16
    in_place = np.abs(current.astype(int) - previous)
    for y, x in product(range(0, len(current), 8), repeat=2):
        assert residual[y : y + 8, x : x + 8].sum() <= in_place[y : y + 8, x : x + 8].sum()


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -1), (2, 3), (-5, 7), (11, -9), (-15, 15), (16, -16)])
@forms
def test_a_pan_is_found_to_the_pixel_but_at_the_border(form: ModuleType, dx: int, dy: int) -> None:
    size = 128
    current, previous = panned(np.random.default_rng(3), size, dx, dy)
    motion, residual = form.search_signals(form.pyramid(current), form.pyramid(previous))
    inside = slice(24 // 4, (size - 24) // 4)
    assert (motion[inside, inside] == (4 * dx, 4 * dy)).all()
    assert not residual[24 : size - 24, 24 : size - 24].any()


@forms
def test_a_block_that_moves_by_itself_is_found(form: ModuleType) -> None:
    rng = np.random.default_rng(8)
    previous = texture(rng, 96, 96)
    current = previous.copy()
    current[32:64, 32:64] = previous[37:69, 26:58]
    motion, residual = form.search_signals(form.pyramid(current), form.pyramid(previous))
    assert (motion[8:16, 8:16] == (-24, 20)).all()
    assert not residual.any()


@forms
def test_a_cut_leaves_a_large_residual(form: ModuleType) -> None:
    first, second = texture(np.random.default_rng(1), 112, 112), texture(np.random.default_rng(2), 112, 112)
    motion, residual = form.search_signals(form.pyramid(first), form.pyramid(second))
    assert residual.mean() > 15
    black, white = np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)
    motion, residual = form.search_signals(form.pyramid(black), form.pyramid(white))
    assert not motion.any()
    assert (residual == 255).all()


@forms
def test_equal_matches_are_decided_by_length_then_y_then_x(form: ModuleType) -> None:
    flat = np.full((64, 64), 77, np.uint8)
    assert not form.search_motion(flat, flat).any()
    # Stripes 4 pixels wide, which the levels above keep; half a period to either side looks alike.
    x = np.arange(160)
    stripes = np.where(x % 8 < 4, 20, 220).astype(np.uint8) * np.ones((160, 1), np.uint8)
    lying = stripes.T.copy()
    upright, across = form.search_motion(stripes, 240 - stripes), form.search_motion(lying, 240 - lying)
    assert (upright[4:16, 4:16] == (-4, 0)).all()
    assert (across[4:16, 4:16] == (0, -4)).all()


def test_every_displacement_has_a_cost_of_its_own_that_holds_it() -> None:
    everywhere = list(product(range(-16, 17), repeat=2))
    costs = {reference_search.cost(255 * 64, dx, dy): (dx, dy) for dx, dy in everywhere}
    assert len(costs) == len(everywhere)
    assert all(reference_search.vector_of(cost) == vector for cost, vector in costs.items())
    assert reference_search.cost(10, 16, 16) < reference_search.cost(11, 0, 0)
    assert reference_search.cost(10, 0, 3) < reference_search.cost(10, -2, -2)
    assert reference_search.cost(10, 3, -1) < reference_search.cost(10, -1, 3)
    assert reference_search.cost(10, -3, 1) < reference_search.cost(10, 3, 1)


@forms
def test_only_pixels_inside_count_in_a_partial_block(form: ModuleType) -> None:
    """20 pixels are 2 blocks and a half: 3 blocks, 5 cells."""
    current, previous = panned(np.random.default_rng(5), 20, -2, -1)
    motion, residual = form.search_signals(form.pyramid(current), form.pyramid(previous))
    assert form.search_motion(current, previous).shape == (3, 3, 2)
    assert motion.shape == (5, 5, 2)
    assert (motion[4, 2:] == (-8, -4)).all()
    assert (motion[2:, 4] == (-8, -4)).all()
    assert not residual[16:, 8:].any()
    assert not residual[8:, 16:].any()


@forms
def test_a_level_is_the_rounded_mean_of_the_one_before(form: ModuleType) -> None:
    luma = np.array([[0, 1, 9], [0, 1, 8], [7, 6, 200]], np.uint8)
    levels = form.pyramid(luma)
    assert [level.tolist() for level in levels] == [luma.tolist(), [[1, 9], [7, 200]], [[54]]]


@forms
def test_pictures_of_two_sizes_are_refused(form: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"\(16, 16\).*\(24, 24\).*same shapes"):
        form.search_signals(form.pyramid(np.zeros((16, 16), np.uint8)), form.pyramid(np.zeros((24, 24), np.uint8)))


@st.composite
def resizes(draw: st.DrawFn) -> tuple[npt.NDArray[np.unsignedinteger], int, int, Taps, Taps, int]:
    depth = draw(st.sampled_from([8, 10, 12, 16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width, top, left, padding = (
        draw(st.integers(low, high)) for low, high in ((1, 60), (1, 60), *[(0, 9)] * 3)
    )
    scaled_height, scaled_width = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    size = draw(st.integers(1, min(scaled_height, scaled_width)))
    rows = area_taps(height, scaled_height, draw(st.integers(0, scaled_height - size)), size)
    columns = area_taps(width, scaled_width, draw(st.integers(0, scaled_width - size)), size)
    low = draw(st.sampled_from([0, (1 << depth) - 2]))
    samples = rng.integers(low, 1 << depth, (top + height + padding, left + width + padding))
    return samples.astype(np.uint8 if depth == 8 else np.uint16), top, left, rows, columns, depth


@given(resizes())
def test_numba_resizes_the_same_bit_for_bit(
    resize: tuple[npt.NDArray[np.unsignedinteger], int, int, Taps, Taps, int],
) -> None:
    expected = reference_search.area_resize(*resize)
    ours = cpu_search.area_resize(*resize)
    assert ours.dtype == expected.dtype == np.uint8
    assert np.array_equal(ours, expected)


@pytest.mark.parametrize(("height", "width", "scaled_height", "scaled_width"), [(30, 40, 9, 12), (10, 13, 20, 26)])
@forms
def test_a_resized_sample_is_the_mean_of_the_area_that_it_covers(
    form: ModuleType, height: int, width: int, scaled_height: int, scaled_width: int
) -> None:
    size, offset = 7, 2
    plane = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    fine = plane.repeat(scaled_height, axis=0).repeat(scaled_width, axis=1).astype(float)
    exact = fine.reshape(scaled_height, height, scaled_width, width).mean(axis=(1, 3))
    taps = area_taps(height, scaled_height, offset, size), area_taps(width, scaled_width, offset, size)
    ours = form.area_resize(plane, 0, 0, *taps, 8)
    assert np.abs(ours - exact[offset:, offset:][:size, :size]).max() < 0.52


@forms
def test_the_lower_bits_of_deep_samples_are_dropped(form: ModuleType) -> None:
    taps = area_taps(6, 3, 0, 3)
    plane = np.random.default_rng(0).integers(0, 256, (6, 6))
    shallow = form.area_resize(plane.astype(np.uint8), 0, 0, taps, taps, 8)
    deep = form.area_resize((plane * 4 + 3).astype(np.uint16), 0, 0, taps, taps, 10)
    assert np.array_equal(shallow, deep)


def test_both_forms_agree_on_real_pictures_and_predict_them(shared: Path) -> None:
    path = shared / "videos" / "h264_b_pan_bear_480p.mp4"
    with av.open(str(path)) as container:
        pictures = [picture.to_ndarray(format="gray") for picture in islice(container.decode(video=0), 12)]
    height, width = pictures[0].shape
    taps = area_taps(height, 112, 0, 112), area_taps(width, 199, 43, 112)
    current, previous = (cpu_search.pyramid(cpu_search.area_resize(pictures[k], 0, 0, *taps, 8)) for k in (11, 8))
    motion, residual = reference_search.search_signals(current, previous)
    our_motion, our_residual = cpu_search.search_signals(current, previous)
    assert np.array_equal(our_motion, motion)
    assert np.array_equal(our_residual, residual)
    assert residual.mean() < 0.6 * np.abs(current[0].astype(int) - previous[0]).mean()
