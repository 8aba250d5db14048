"""Motion compensation: H.264's interpolation, the choice of reference, and numba equal bit for bit."""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsieve.kernels.cpu import predict as cpu_predict
from codecsieve.kernels.reference import predict as reference_predict
from codecsieve.kernels.reference.predict import BILINEAR, LIST_0, LIST_1, SIX_TAP

Plane = npt.NDArray[np.unsignedinteger]

forms = pytest.mark.parametrize("form", [reference_predict, cpu_predict], ids=["reference", "cpu"])
fractions = pytest.mark.parametrize(("dx", "dy"), list(product(range(4), repeat=2)))


class Prediction(NamedTuple):
    """The arguments of `prediction_residual`."""

    picture: Plane
    past: tuple[Plane, ...]
    future: Plane | None
    vectors: npt.NDArray[np.int16]
    lists: npt.NDArray[np.uint8]
    shown: tuple[int, int, int, int]
    width: int
    taps: int
    bit_depth: int


def planes(rng: np.random.Generator, count: int, rows: int, stride: int, depth: int, smooth: bool) -> list[Plane]:
    """Pictures that resemble each other, some blocks exactly, so that references compete; or plain noise."""
    peak = (1 << depth) - 1
    kind = np.uint8 if depth == 8 else np.uint16
    if not smooth:
        return [rng.choice([0, peak, peak // 2, 1], (rows, stride)).astype(kind) for _ in range(count)]
    y, x = np.mgrid[:rows, :stride]
    scene = peak * (0.5 + 0.3 * np.sin(x / 5) + 0.2 * np.cos(y / 3 + x / 11))
    flicker = [rng.normal(0, peak / 60, (rows, stride)) * rng.integers(0, 2, (1, stride)) for _ in range(count)]
    return [np.clip(scene + change, 0, peak).astype(kind) for change in flicker]


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    """Odd sizes, padded strides, crops, runs of one vector, vectors far outside, every list and reference."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    depth = draw(st.sampled_from([8, 10, 12]))
    rows, width, padding = (
        draw(st.integers(1, 45)),
        draw(st.integers(1, 150)),
        draw(st.sampled_from([0, 1, 13, 64])),
    )
    past_count, has_future = draw(st.integers(1, 2)), draw(st.booleans())
    pictures = planes(rng, past_count + 2, rows, width + padding, depth, draw(st.booleans()))
    grid = -(-rows // 8), -(-width // 8)
    reach = draw(st.sampled_from([3, 30, 2000, 32767]))
    choices = rng.integers(-reach, reach + 1, (draw(st.integers(1, 6)), 2, 2))
    run = draw(st.integers(1, 5))
    chosen = rng.integers(0, len(choices), (grid[0], grid[1] // run + 1)).repeat(run, axis=1)[:, : grid[1]]
    used = rng.integers(0, 4, chosen.shape).repeat(run, axis=1)[:, : grid[1]].astype(np.uint8)
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, width - 1))
    return Prediction(
        picture=pictures[0],
        past=tuple(pictures[1 : 1 + past_count]),
        future=pictures[-1] if has_future else None,
        vectors=choices[chosen].astype(np.int16),
        lists=used,
        shown=(top, left, draw(st.integers(1, rows - top)), draw(st.integers(1, width - left))),
        width=width,
        taps=draw(st.sampled_from([SIX_TAP, BILINEAR])),
        bit_depth=depth,
    )


@pytest.mark.slow
@settings(max_examples=200)
@given(predictions())
def test_numba_leaves_the_same_residual_bit_for_bit(prediction: Prediction) -> None:
    expected = reference_predict.prediction_residual(*prediction)
    ours = cpu_predict.prediction_residual(*prediction)
    assert ours.dtype == expected.dtype == np.uint8
    assert np.array_equal(ours, expected)


@fractions
@pytest.mark.parametrize("taps", [SIX_TAP, BILINEAR])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_numba_interpolates_every_fraction_the_same(taps: int, depth: int, dx: int, dy: int) -> None:
    """Extreme samples, where clipping and rounding show, in wide and narrow strips, over the edge too."""
    rng = np.random.default_rng(taps + depth)
    picture, past = planes(rng, 2, 37, 200, depth, smooth=False)
    vectors = np.zeros((5, 25, 2, 2), np.int16)
    vectors[..., 0, :] = (dx, dy)
    vectors[2, :, 0] += 4 * rng.integers(-3, 4, (25, 2)).astype(np.int16)
    vectors[3, :, 0, 0] -= 4 * 190
    lists = np.full((5, 25), LIST_0, np.uint8)
    arguments = picture, (past,), None, vectors, lists, (0, 0, 37, 195), 195, taps, depth
    expected = reference_predict.prediction_residual(*arguments)
    assert np.array_equal(cpu_predict.prediction_residual(*arguments), expected)


def sample_by_the_standard(reference: Plane, x4: int, y4: int, peak: int) -> int:
    """Luma sample at quarter-pel (x4, y4), by the letters of ITU-T H.264 figure 8-4 and table 8-12."""

    def whole(x: int, y: int) -> int:
        return int(reference[min(max(y, 0), len(reference) - 1), min(max(x, 0), reference.shape[1] - 1)])

    def filtered(values: list[int]) -> int:
        return sum(tap * value for tap, value in zip((1, -5, 20, 20, -5, 1), values, strict=True))

    def rounded(value: int, bits: int) -> int:
        return min(max((value + (1 << (bits - 1))) >> bits, 0), peak)

    x, y = x4 >> 2, y4 >> 2
    b1 = {row: filtered([whole(x + k, y + row) for k in range(-2, 4)]) for row in range(-2, 4)}
    h1 = {column: filtered([whole(x + column, y + k) for k in range(-2, 4)]) for column in range(-2, 4)}
    g_, h_, m_, n_ = whole(x, y), whole(x + 1, y), whole(x, y + 1), whole(x + 1, y + 1)
    b, s, h, m = rounded(b1[0], 5), rounded(b1[1], 5), rounded(h1[0], 5), rounded(h1[1], 5)
    j = rounded(filtered([h1[column] for column in range(-2, 4)]), 10)
    assert j == rounded(filtered([b1[row] for row in range(-2, 4)]), 10)
    assert n_ == whole((x4 + 4) >> 2, (y4 + 4) >> 2)
    averaged = {
        (0, 0): (g_, g_), (0, 1): (g_, h), (0, 2): (h, h), (0, 3): (h, m_),
        (1, 0): (g_, b), (1, 1): (b, h), (1, 2): (h, j), (1, 3): (h, s),
        (2, 0): (b, b), (2, 1): (b, j), (2, 2): (j, j), (2, 3): (j, s),
        (3, 0): (b, h_), (3, 1): (b, m), (3, 2): (j, m), (3, 3): (s, m),
    }  # fmt: skip
    first, second = averaged[x4 & 3, y4 & 3]
    return (first + second + 1) >> 1


@fractions
@forms
def test_interpolation_is_that_of_the_standard(form: ModuleType, dx: int, dy: int) -> None:
    rng = np.random.default_rng(11)
    past = rng.integers(0, 256, (24, 24), dtype=np.uint8)
    vectors = np.zeros((3, 3, 2, 2), np.int16)
    vectors[..., 0, :] = rng.integers(-5, 6, (3, 3, 2)) * 4 + (dx, dy)
    expected = np.zeros_like(past)
    for y, x in product(range(24), repeat=2):
        vector = vectors[y // 8, x // 8, 0].tolist()
        expected[y, x] = sample_by_the_standard(past, 4 * x + vector[0], 4 * y + vector[1], 255)
    lists = np.full((3, 3), LIST_0, np.uint8)
    residual = form.prediction_residual(expected, (past,), None, vectors, lists, (0, 0, 24, 24), 24, SIX_TAP, 8)
    assert not residual.any()


@forms
def test_half_samples_of_older_codecs_are_rounded_means(form: ModuleType) -> None:
    past = np.random.default_rng(4).integers(0, 256, (17, 17), dtype=np.uint8)
    wide = past.astype(int)
    across, both = (wide[:-1, :-1] + wide[:-1, 1:] + 1) >> 1, wide[:-1, :-1] + wide[:-1, 1:]
    both = (both + wide[1:, :-1] + wide[1:, 1:] + 2) >> 2
    for vector, expected in (((2, 0), across), ((2, 2), both)):
        vectors = np.zeros((2, 2, 2, 2), np.int16)
        vectors[..., 0, :] = vector
        picture = np.pad(expected.astype(np.uint8), ((0, 1), (0, 1)))
        lists = np.full((2, 2), LIST_0, np.uint8)
        arguments = picture[:16], (past[:17],), None, vectors, lists, (0, 0, 15, 15), 17, BILINEAR, 8
        assert not form.prediction_residual(*arguments)[:15, :15].any()


def one_block(
    form: ModuleType,
    picture: int,
    past: tuple[int, ...],
    future: int | None,
    used: int,
    depth: int = 8,
) -> int:
    """The residual of a flat block, its references as flat."""
    kind = np.uint8 if depth == 8 else np.uint16
    flat = [np.full((8, 8), level, kind) for level in (picture, *past)]
    ahead = None if future is None else np.full((8, 8), future, kind)
    vectors, lists = np.zeros((1, 1, 2, 2), np.int16), np.full((1, 1), used, np.uint8)
    residual = form.prediction_residual(
        flat[0], tuple(flat[1:]), ahead, vectors, lists, (0, 0, 8, 8), 8, SIX_TAP, depth
    )
    assert (residual == residual[0, 0]).all()
    return int(residual[0, 0])


@forms
def test_the_reference_of_least_error_is_taken(form: ModuleType) -> None:
    assert one_block(form, 100, (90, 97), None, LIST_0) == 3
    assert one_block(form, 100, (97, 90), None, LIST_0) == 3
    assert one_block(form, 100, (90, 97), 60, LIST_1) == 40
    assert one_block(form, 100, (90, 96), 102, LIST_0 | LIST_1) == 1


@forms
def test_of_two_references_as_good_the_first_is_taken(form: ModuleType) -> None:
    picture, upper, lower = (np.full((8, 8), 100, np.uint8) for _ in range(3))
    upper[:4] = 103
    lower[4:] = 97
    vectors, lists = np.zeros((1, 1, 2, 2), np.int16), np.full((1, 1), LIST_0, np.uint8)
    for past in ((upper, lower), (lower, upper)):
        residual = form.prediction_residual(picture, past, None, vectors, lists, (0, 0, 8, 8), 8, SIX_TAP, 8)
        assert np.array_equal(residual, np.abs(past[0].astype(int) - 100))


@forms
def test_both_lists_are_averaged_upwards(form: ModuleType) -> None:
    assert one_block(form, 100, (90,), 110, LIST_0 | LIST_1) == 0
    assert one_block(form, 100, (90,), 111, LIST_0 | LIST_1) == 1
    assert one_block(form, 100, (90,), 110, LIST_0) == 10


@forms
def test_a_block_without_a_vector_is_compared_in_place(form: ModuleType) -> None:
    assert one_block(form, 100, (90, 100), 100, 0) == 10
    assert one_block(form, 100, (90,), None, LIST_1) == 10


@forms
def test_deep_residuals_are_brought_to_8_bits(form: ModuleType) -> None:
    assert one_block(form, 1000, (961,), None, LIST_0, depth=10) == 39 >> 2
    assert one_block(form, 4095, (0,), None, LIST_0, depth=12) == 255


@forms
def test_only_the_shown_picture_comes_back(form: ModuleType) -> None:
    rng = np.random.default_rng(0)
    picture, past = (rng.integers(0, 256, (24, 32), dtype=np.uint8) for _ in range(2))
    vectors, lists = np.zeros((3, 3, 2, 2), np.int16), np.zeros((3, 3), np.uint8)
    residual = form.prediction_residual(picture, (past,), None, vectors, lists, (3, 5, 17, 13), 20, SIX_TAP, 8)
    assert np.array_equal(residual, np.abs(picture.astype(int) - past)[3:20, 5:18])


@st.composite
def motion_records(draw: st.DrawFn) -> tuple[npt.NDArray[np.integer], ...]:
    """Fields of FFmpeg's motion vectors by its types, some of blocks that reach over the grid's edge."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(0, 60))
    reach = draw(st.sampled_from([20, 5000, 2**31 - 1]))
    return (
        rng.choice([-1, 1], n).astype(np.int32),
        rng.choice([4, 8, 16], n).astype(np.uint8),
        rng.choice([4, 8, 16], n).astype(np.uint8),
        rng.integers(-12, 110, n).astype(np.int16),
        rng.integers(-12, 90, n).astype(np.int16),
        rng.integers(-reach, reach + 1, n, dtype=np.int32),
        rng.integers(-reach, reach + 1, n, dtype=np.int32),
        rng.choice([0, 1, 2, 4, 8], n).astype(np.uint16),
    )


@given(motion_records(), st.integers(1, 11), st.integers(1, 12), st.integers(0, 2**32))
def test_numba_lays_out_the_same_motion(
    records: tuple[npt.NDArray[np.integer], ...], rows: int, columns: int, seed: int
) -> None:
    vectors, lists = reference_predict.block_motion(*records, rows, columns)
    our_vectors, our_lists = cpu_predict.block_motion(*records, rows, columns)
    assert np.array_equal(our_vectors, vectors)
    assert np.array_equal(our_lists, lists)
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, 8 * rows), rng.integers(0, 8 * columns)
    shown = top, left, rng.integers(1, 8 * rows - top + 1), rng.integers(1, 8 * columns - left + 1)
    motion = reference_predict.cell_motion(vectors, lists, *shown)
    ours = cpu_predict.cell_motion(our_vectors, our_lists, *shown)
    assert ours.dtype == motion.dtype == np.int16
    assert np.array_equal(ours, motion)


@forms
def test_a_record_covers_its_blocks_in_quarter_pixels(form: ModuleType) -> None:
    """A 16x8 partition at (8, 16), half-pel vectors, and one of list 1 over its right half."""
    fields = [(-1, 16, 8, 16, 20, 3, -5, 2), (1, 8, 8, 20, 20, 7, 1, 4)]
    types = (np.int32, np.uint8, np.uint8, np.int16, np.int16, np.int32, np.int32, np.uint16)
    records = [np.array(values, kind) for values, kind in zip(zip(*fields, strict=True), types, strict=True)]
    vectors, lists = form.block_motion(*records, 4, 5)
    expected = np.zeros((4, 5), int)
    expected[2, 1:3] = LIST_0, LIST_0 | LIST_1
    assert np.array_equal(lists, expected)
    assert vectors[2, 1].tolist() == [[6, -10], [0, 0]]
    assert vectors[2, 2].tolist() == [[6, -10], [7, 1]]
    motion = form.cell_motion(vectors, lists, 14, 6, 12, 20)
    assert motion.shape == (3, 5, 2)
    assert motion[..., 0].tolist() == [[0] * 5, [0, 6, 6, 6, 6], [0, 6, 6, 6, 6]]
