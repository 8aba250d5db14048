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
    """Odd sizes, strides of each plane's own, crops, blocks of 4x4 to all, vectors far outside, all kinds of entries."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    taps = draw(st.sampled_from([SIX_TAP, BILINEAR, EIGHT_TAP]))
    depth = draw(st.sampled_from([8, 8, 10, 12] if taps == EIGHT_TAP else [8, 8, 10, 14]))
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
