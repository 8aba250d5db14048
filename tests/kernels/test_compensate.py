"""Motion compensation by known references and weights: H.264's, H.265's, and numba equal bit for bit."""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsieve.kernels.cpu import compensate as cpu_compensate
from codecsieve.kernels.reference import compensate as reference_compensate
from codecsieve.kernels.reference.compensate import EIGHT_TAP, LEFT_OUT, NO_ENTRY, Weights
from codecsieve.kernels.reference.predict import BILINEAR, LIST_0, SIX_TAP, prediction_residual

Plane = npt.NDArray[np.unsignedinteger]

forms = pytest.mark.parametrize("form", [reference_compensate, cpu_compensate], ids=["reference", "cpu"])
fractions = pytest.mark.parametrize(("dx", "dy"), list(product(range(4), repeat=2)))


class Compensation(NamedTuple):
    """The arguments of `compensated_residual`."""

    picture: Plane
    references: tuple[Plane, ...]
    plane_of: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.int16]
    entries: npt.NDArray[np.int8]
    weights: Weights | None
    shown: tuple[int, int, int, int]
    width: int
    filter: int
    bit_depth: int


def noise(rng: np.random.Generator, shape: tuple[int, int], depth: int) -> Plane:
    """Samples of any value, or extremes only, where clipping and overflow show."""
    peak = (1 << depth) - 1
    values = rng.choice([0, peak], shape) if rng.random() < 0.5 else rng.integers(0, peak + 1, shape)
    return values.astype(np.uint8 if depth == 8 else np.uint16)


def some_weights(rng: np.random.Generator, count: int, depth: int) -> Weights:
    """Weights as far as the standards let them go, with some that change nothing."""
    denominator = int(rng.integers(0, 8))
    single = np.stack([rng.integers(-128, 256, count), rng.integers(-128, 128, count) << (depth - 8)], axis=1)
    pairs = rng.integers(-128, 256, (count, count, 2))
    single[rng.random(count) < 0.4] = 1 << denominator, 0
    pairs[rng.random((count, count)) < 0.4] = 1 << denominator
    return Weights(denominator, single.astype(np.int32), pairs.astype(np.int32))


@st.composite
def compensations(draw: st.DrawFn) -> Compensation:
    """Odd sizes, strides of their own, crops, blocks of 4x4 to all, vectors far outside, all kinds of entries."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    taps = draw(st.sampled_from([SIX_TAP, BILINEAR, EIGHT_TAP]))
    depth = draw(st.sampled_from([8, 9, 10, 12] if taps == EIGHT_TAP else [8, 8, 10, 14]))
    rows, width = draw(st.integers(1, 80)), draw(st.integers(1, 90))
    count = draw(st.integers(1, 16))
    planes = [noise(rng, (rows, width + int(rng.choice([0, 1, 13, 64]))), depth) for _ in range(count + 1)]
    grid = -(-rows // 4), -(-width // 4)
    reach = draw(st.sampled_from([3, 30, 400, 32767]))
    motions = rng.integers(-reach, reach + 1, (draw(st.integers(1, 5)), 2, 2))
    motions[rng.random(motions.shape) < 0.3] &= ~3
    n = draw(st.integers(1, 6))
    kinds = rng.integers(NO_ENTRY, n, (draw(st.integers(1, 5)), 2))
    kinds[rng.random(len(kinds)) < 0.1, 0] = LEFT_OUT
    high, wide = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (4, 3), (4, 4), (8, 4), (16, 16), (3, 99)]))
    coarse = -(-grid[0] // high), -(-grid[1] // wide)
    chosen = [
        rng.integers(0, len(of), coarse).repeat(high, axis=0).repeat(wide, axis=1)[: grid[0], : grid[1]]
        for of in (motions, kinds)
    ]
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, width - 1))
    whole = draw(st.booleans())
    return Compensation(
        picture=planes[0],
        references=tuple(planes[1:]),
        plane_of=rng.integers(0, count, n).astype(np.int32),
        vectors=motions[chosen[0]].astype(np.int16),
        entries=kinds[chosen[1]].astype(np.int8),
        weights=some_weights(rng, n, depth) if draw(st.booleans()) else None,
        shown=(0, 0, rows, width)
        if whole
        else (top, left, draw(st.integers(1, rows - top)), draw(st.integers(1, width - left))),
        width=width,
        filter=taps,
        bit_depth=depth,
    )


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(compensations())
def test_numba_leaves_the_same_residual_bit_for_bit(compensation: Compensation) -> None:
    expected = reference_compensate.compensated_residual(*compensation)
    ours = cpu_compensate.compensated_residual(*compensation)
    assert ours.dtype == expected.dtype == np.uint8
    assert np.array_equal(ours, expected)


@fractions
@pytest.mark.parametrize("taps", [SIX_TAP, BILINEAR, EIGHT_TAP])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_numba_interpolates_every_fraction_the_same(taps: int, depth: int, dx: int, dy: int) -> None:
    """Extreme samples, in narrow and wide areas, of one list and two, over the edge too."""
    rng = np.random.default_rng(taps + depth)
    peak = (1 << depth) - 1
    kind = np.uint8 if depth == 8 else np.uint16
    planes = [rng.choice([0, peak], (37, 100)).astype(kind) for _ in range(3)]
    vectors = rng.integers(-3, 4, (10, 24, 2, 2)) * 4 + (dx, dy)
    vectors[4:, 8:] = vectors[4, 8]
    vectors[:, 4:6] = vectors[0, 4]
    entries = np.zeros((10, 24, 2), np.int8)
    entries[:, :10, 1] = NO_ENTRY
    entries[..., 0] = 1
    arguments = Compensation(
        planes[0], tuple(planes[1:]), np.arange(2, dtype=np.int32), vectors.astype(np.int16), entries, None,
        (0, 0, 37, 95), 95, taps, depth,
    )  # fmt: skip
    expected = reference_compensate.compensated_residual(*arguments)
    assert np.array_equal(cpu_compensate.compensated_residual(*arguments), expected)


def test_numba_takes_fields_and_planes_that_cannot_be_written() -> None:
    """Every second row of a picture, not copied; and of planes whose rows are not their own, a copy."""
    rng = np.random.default_rng(8)
    frames = [noise(rng, (40, 64), 8) for _ in range(3)]
    fields = [frame[1::2] for frame in frames]
    fields[2] = np.asfortranarray(fields[2])
    for field in fields:
        field.flags.writeable = False
    vectors = rng.integers(-60, 60, (5, 15, 2, 2)).astype(np.int16)
    entries = rng.integers(NO_ENTRY, 2, (5, 15, 2)).astype(np.int8)
    rest = np.arange(2, dtype=np.int32), vectors, entries, None, (0, 0, 20, 60), 60, SIX_TAP, 8
    expected = reference_compensate.compensated_residual(fields[0], tuple(fields[1:]), *rest)
    assert np.array_equal(cpu_compensate.compensated_residual(fields[0], tuple(fields[1:]), *rest), expected)


@forms
@pytest.mark.parametrize("depth", [8, 10])
def test_with_one_candidate_it_is_what_the_guess_was(form: ModuleType, depth: int) -> None:
    """Blocks of 8x8 with list 0 alone: nothing is left for `prediction_residual` to choose."""
    rng = np.random.default_rng(depth)
    picture, past = (noise(rng, (40, 56), depth) for _ in range(2))
    vectors = rng.integers(-90, 90, (5, 7, 2, 2)).astype(np.int16)
    lists = rng.integers(0, 2, (5, 7)).astype(np.uint8)
    rest = (3, 1, 36, 50), 53, SIX_TAP, depth
    expected = prediction_residual(picture, (past,), None, vectors, lists, *rest)
    entries = np.stack([np.where(lists & LIST_0, 0, NO_ENTRY), np.full_like(lists, NO_ENTRY, np.int8)], axis=-1)
    units = [grid.repeat(2, axis=0).repeat(2, axis=1) for grid in (vectors, entries.astype(np.int8))]
    ours = form.compensated_residual(picture, (past,), np.zeros(1, np.int32), *units, None, *rest)
    assert np.array_equal(ours, expected)


def predicted(
    form: ModuleType,
    planes: tuple[Plane, ...],
    vectors: tuple[tuple[int, int], tuple[int, int]],
    entries: tuple[int, int],
    taps: int,
    weights: Weights | None = None,
) -> Plane:
    """The 8-bit prediction of a picture with one motion: what a black one misses."""
    rows, width = planes[0].shape
    grid = -(-rows // 4), -(-width // 4)
    return np.asarray(
        form.compensated_residual(
            np.zeros_like(planes[0]),
            planes,
            np.arange(len(planes), dtype=np.int32),
            np.broadcast_to(np.array(vectors, np.int16), (*grid, 2, 2)),
            np.broadcast_to(np.array(entries, np.int8), (*grid, 2)),
            weights,
            (0, 0, rows, width),
            width,
            taps,
            8,
        )
    )


H265_TAPS = {
    0: [0, 0, 0, 64, 0, 0, 0, 0],
    1: [-1, 4, -10, 58, 17, -5, 1, 0],
    2: [-1, 4, -11, 40, 40, -11, 4, -1],
    3: [0, 1, -5, 17, 58, -10, 4, -1],
}
"""Table 8-11 of ITU-T H.265, as printed."""


@fractions
@forms
def test_one_sample_spreads_by_the_table_of_the_standard(form: ModuleType, dx: int, dy: int) -> None:
    """A sample 64 above a grey of 100: at each distance, it adds its two coefficients' product over 64, rounded."""
    plane = np.full((24, 24), 100, np.uint8)
    plane[12, 12] = 164
    found = predicted(form, (plane,), ((dx, dy), (0, 0)), (0, NO_ENTRY), EIGHT_TAP)
    expected = np.full((24, 24), 100)
    for row, column in product(range(8), repeat=2):  # sample (12, 12) is tap k of the place 3 - k away
        added = H265_TAPS[dy][row] * H265_TAPS[dx][column]
        expected[12 + 3 - row, 12 + 3 - column] += (added + 32) // 64
    assert np.array_equal(found, expected)


def worst(taps: list[int], upside_down: bool) -> Plane:
    """A plane whose samples around (16, 16) are 255 where its two taps' product is positive, or the reverse."""
    plane = np.zeros((32, 32), np.uint8)
    start = 17 - len(taps) // 2
    signs = np.outer(taps, taps) > 0
    plane[start : start + len(taps), start : start + len(taps)] = 255 * (signs ^ upside_down)
    return plane


@forms
def test_the_largest_and_least_sums_do_not_wrap_around(form: ModuleType) -> None:
    """H.265: 33150 and -16830, more and less than 16 bits and a bias hold easily; H.264: 464 and -209 unclipped."""
    for taps, weights_of_samples in ((EIGHT_TAP, H265_TAPS[2]), (SIX_TAP, [1, -5, 20, 20, -5, 1])):
        planes = worst(weights_of_samples, False), worst(weights_of_samples, True)
        half = ((2, 2), (2, 2))
        assert predicted(form, planes, half, (0, NO_ENTRY), taps)[16, 16] == 255
        assert predicted(form, planes, half, (1, NO_ENTRY), taps)[16, 16] == 0
        both = predicted(form, planes, half, (0, 1), taps)[16, 16]
        assert both == 128  # (33150 - 16830 + 64) >> 7; (255 + 0 + 1) >> 1


@pytest.mark.parametrize("depth", [9, 10, 12])
@pytest.mark.parametrize("fraction", [1, 2, 3])
def test_sums_of_deep_samples_do_not_wrap_around_either(depth: int, fraction: int) -> None:
    """All samples at their limits by the signs of the taps, across, down and both."""
    peak = (1 << depth) - 1
    signs = np.array(H265_TAPS[fraction]) > 0
    for upside_down, (dx, dy) in product((0, 1), ((fraction, 0), (0, fraction), (fraction, fraction))):
        plane = np.full((32, 32), peak * (1 - upside_down) // 3, np.uint16)
        high, wide = signs if dy else np.ones(8, bool), signs if dx else np.ones(8, bool)
        plane[13:21, 13:21] = peak * (np.equal.outer(high, wide) ^ upside_down)
        vectors = np.broadcast_to(np.array([[dx, dy], [0, 0]], np.int16), (8, 8, 2, 2))
        entries = np.broadcast_to(np.array([0, NO_ENTRY], np.int8), (8, 8, 2))
        weights = weights_of(7, [[3, 0], [1, 0]], [1, 1])  # so little that nothing is clipped
        for chosen in (None, weights):
            arguments = Compensation(
                np.zeros_like(plane), (plane,), np.zeros(2, np.int32), vectors, entries, chosen,
                (0, 0, 32, 32), 32, EIGHT_TAP, depth,
            )  # fmt: skip
            expected = reference_compensate.compensated_residual(*arguments)
            assert np.array_equal(cpu_compensate.compensated_residual(*arguments), expected)


def flat(form: ModuleType, levels: tuple[int, ...], entries: tuple[int, int], taps: int, weights: Weights) -> int:
    """One sample predicted from planes as flat."""
    planes = tuple(np.full((16, 16), level, np.uint8) for level in levels)
    found = predicted(form, planes, ((1, 6), (-3, 0)), entries, taps, weights)
    assert (found == found[0, 0]).all()
    return int(found[0, 0])


def weights_of(denominator: int, single: list[list[int]], pair: list[int]) -> Weights:
    """The pair's weights for entries 0 and 1; for others, weights that would be seen."""
    n = len(single)
    pairs = np.full((n, n, 2), 99)
    pairs[0, 1] = pair
    return Weights(denominator, np.array(single, np.int32), pairs.astype(np.int32))


@forms
def test_weights_are_those_of_the_standards(form: ModuleType) -> None:
    weights = weights_of(4, [[20, -3], [11, 4]], [7, 12])
    assert flat(form, (100, 50), (0, NO_ENTRY), SIX_TAP, weights) == ((2000 + 8) >> 4) - 3
    assert flat(form, (100, 50), (NO_ENTRY, 1), SIX_TAP, weights) == ((550 + 8) >> 4) + 4
    assert flat(form, (100, 50), (0, 1), SIX_TAP, weights) == ((700 + 600 + 16) >> 5) + 1
    assert flat(form, (100, 50), (0, NO_ENTRY), EIGHT_TAP, weights) == ((6400 * 20 + 512) >> 10) - 3
    assert flat(form, (100, 50), (NO_ENTRY, 1), EIGHT_TAP, weights) == ((3200 * 11 + 512) >> 10) + 4
    assert flat(form, (100, 50), (0, 1), EIGHT_TAP, weights) == (6400 * 7 + 3200 * 12 + (2 << 10)) >> 11
    undivided = weights_of(0, [[2, -7], [-1, 300]], [3, -2])
    assert flat(form, (100, 50), (0, NO_ENTRY), SIX_TAP, undivided) == 193
    assert flat(form, (150, 50), (0, NO_ENTRY), SIX_TAP, undivided) == 255
    assert flat(form, (50, 70), (0, 1), SIX_TAP, weights_of(0, [[1, 9], [1, -2]], [3, -2])) == 5 + 4
    assert flat(form, (20, 70), (0, 1), SIX_TAP, undivided) == 107


@forms
@pytest.mark.parametrize("taps", [SIX_TAP, EIGHT_TAP])
@pytest.mark.parametrize("denominator", [0, 5, 7])
def test_default_weights_are_none(form: ModuleType, taps: int, denominator: int) -> None:
    rng = np.random.default_rng(denominator)
    planes = noise(rng, (20, 36), 8), noise(rng, (20, 36), 8)
    one = 1 << denominator
    weights = Weights(denominator, np.array([[one, 0]] * 2, np.int32), np.full((2, 2, 2), one, np.int32))
    for entries in ((0, NO_ENTRY), (NO_ENTRY, 0), (0, 1)):
        arguments = form, planes, ((5, -6), (3, 8)), entries, taps
        assert np.array_equal(predicted(*arguments, weights), predicted(*arguments))


@forms
def test_h265_rounds_once_and_h264_each_list(form: ModuleType) -> None:
    """100.5 and 100: their mean is nearer to 100, unless one was rounded before."""
    step, even = np.full((16, 16), 100, np.uint8), np.full((16, 16), 100, np.uint8)
    step[:, 8:] = 101
    for taps, expected in ((EIGHT_TAP, 100), (SIX_TAP, 101)):
        found = predicted(form, (step, even), ((2, 0), (0, 0)), (0, 1), taps)
        assert found[8, 7] == expected


@forms
def test_units_without_a_prediction(form: ModuleType) -> None:
    """Intra is compared with the first plane in place, whatever its vector says; what is left out is 0."""
    rng = np.random.default_rng(3)
    picture, first, second = (noise(rng, (16, 24), 8) for _ in range(3))
    vectors = rng.integers(-90, 90, (4, 6, 2, 2)).astype(np.int16)
    entries = np.full((4, 6, 2), NO_ENTRY, np.int8)
    entries[1, 2] = LEFT_OUT, 0
    entries[2:, 3:] = LEFT_OUT, NO_ENTRY
    weights = Weights(2, np.full((1, 2), 9, np.int32), np.full((1, 1, 2), 9, np.int32))
    found = form.compensated_residual(
        picture, (first, second), np.ones(1, np.int32), vectors, entries, weights, (0, 0, 16, 24), 24, EIGHT_TAP, 8
    )
    expected = np.abs(picture.astype(int) - first)
    expected[4:8, 8:12] = 0
    expected[8:, 12:] = 0
    assert np.array_equal(found, expected)


@forms
def test_entries_name_planes_and_deep_residuals_are_brought_to_8_bits(form: ModuleType) -> None:
    planes = [np.full((8, 8), level, np.uint16) for level in (1000, 961, 0)]
    vectors, entries = np.zeros((2, 2, 2, 2), np.int16), np.full((2, 2, 2), NO_ENTRY, np.int8)
    entries[:, 0, 1] = 2
    entries[:, 1, 0] = 0
    found = form.compensated_residual(
        planes[0],
        tuple(planes[1:]),
        np.array([1, 1, 0], np.int32),
        vectors,
        entries,
        None,
        (0, 2, 8, 6),
        8,
        SIX_TAP,
        10,
    )
    assert found.tolist() == [[39 >> 2] * 2 + [1000 >> 2] * 4] * 8


def test_what_would_read_past_the_planes_is_refused() -> None:
    plane, vectors = np.zeros((16, 16), np.uint8), np.zeros((4, 4, 2, 2), np.int16)
    right: dict[str, object] = {
        "picture": plane,
        "references": (plane,),
        "plane_of": np.zeros(2, np.int32),
        "vectors": vectors,
        "entries": np.zeros((4, 4, 2), np.int8),
        "weights": None,
        "shown": (0, 0, 16, 16),
        "width": 16,
        "filter": SIX_TAP,
        "bit_depth": 8,
    }
    assert not cpu_compensate.compensated_residual(**right).any()  # type: ignore[arg-type]
    wrong: dict[str, list[object]] = {
        "references": [(plane[:15],), (plane[:, :15],), (plane.astype(np.uint16),)],
        "plane_of": [np.ones(2, np.int32), np.full(2, -1, np.int32), np.zeros(0, np.int32)],
        "vectors": [vectors[:3]],
        "entries": [np.zeros((4, 3, 2), np.int8), np.full((4, 4, 2), 2, np.int8)],
        "weights": [Weights(0, np.zeros((1, 2), np.int32), np.zeros((2, 2, 2), np.int32))],
        "shown": [(0, 0, 17, 16), (1, 0, 16, 16), (-1, 0, 8, 8), (0, 9, 8, 8), (0, 0, 0, 8)],
        "width": [17],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=r"are|names|lies"):
                cpu_compensate.compensated_residual(**{**right, name: value})  # type: ignore[arg-type]
