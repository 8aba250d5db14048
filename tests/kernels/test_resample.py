"""Resampling and colour tables: exact sums, the filters they stand for, the matrices of the standard."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codecsieve.kernels.reference.gather import to_rgb
from codecsieve.kernels.resample import (
    FRACTION_BITS,
    LUMA_WEIGHTS,
    TAP_BITS,
    Taps,
    area_taps,
    colour_matrix,
    cubic_taps,
    few_taps,
)

sizes = st.integers(1, 400)


def apply(taps: Taps, samples: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The taps of an axis on real samples [source]."""
    positions = taps.first[:, None] + np.arange(taps.weights.shape[1])
    return (taps.weights * samples[positions]).sum(axis=1) / (1 << TAP_BITS)


def check_taps(taps: Taps, source: int, size: int) -> None:
    assert taps.first.dtype == taps.weights.dtype == np.int64
    assert len(taps.first) == len(taps.weights) == size
    assert (taps.weights.sum(axis=1) == 1 << TAP_BITS).all()
    assert taps.first.min() >= 0
    assert taps.first.max() + taps.weights.shape[1] <= source


@given(sizes, sizes, st.data())
def test_weights_sum_to_one_exactly_and_stay_inside_the_picture(source: int, scaled: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, scaled - 1))
    size = data.draw(st.integers(1, scaled - offset))
    check_taps(area_taps(source, scaled, offset, size), source, size)
    check_taps(cubic_taps(source, scaled, offset, size, float(source), 0.0), source, size)
    check_taps(cubic_taps(source, scaled, offset, size, source - 0.5, 0.25), source, size)


@given(sizes, sizes)
def test_area_weights_are_the_overlaps(source: int, scaled: int) -> None:
    """Every source sample is covered once, by as much as weights rounded to a whole sum can tell."""
    taps = area_taps(source, scaled, 0, scaled)
    covered = np.zeros(source)
    for first, weights in zip(taps.first, taps.weights, strict=True):
        covered[first : first + len(weights)] += weights / (1 << TAP_BITS)
    rounding = (taps.weights.shape[1] / 2 + 1) / (1 << TAP_BITS)
    assert np.abs(covered - scaled / source).max() < (2 + scaled / source) * rounding


def test_area_weights_of_a_whole_factor_are_equal() -> None:
    taps = area_taps(12, 3, 1, 2)
    assert taps.first.tolist() == [4, 7]
    assert (taps.weights[0] == [4096, 4096, 4096, 4096, 0]).all()
    assert (taps.weights[1] == [0, 4096, 4096, 4096, 4096]).all()


@pytest.mark.parametrize(("source", "scaled"), [(640, 224), (225, 224), (224, 224), (90, 224), (3, 28), (1, 14)])
def test_cubic_weights_are_those_of_pillow(source: int, scaled: int) -> None:
    samples = np.random.default_rng(source).uniform(0, 255, source).astype(np.float32)
    theirs = np.asarray(Image.fromarray(samples[None]).resize((scaled, 1), Image.Resampling.BICUBIC))[0]
    ours = apply(cubic_taps(source, scaled, 0, scaled, float(source), 0.0), samples)
    assert np.abs(ours - theirs).max() < 0.1


def test_a_crop_has_the_weights_of_its_place() -> None:
    whole, crop = (cubic_taps(360, 224, offset, size, 360.0, 0.0) for offset, size in ((0, 224), (70, 50)))
    assert np.array_equal(whole.first[70:120], crop.first)
    assert np.array_equal(whole.weights[70:120], crop.weights)


@pytest.mark.parametrize(("luma", "scaled"), [(640, 224), (641, 224), (100, 224)])
def test_left_sited_chroma_lies_on_the_luma_that_it_belongs_to(luma: int, scaled: int) -> None:
    """Chroma sample k sits on luma sample 2k: a ramp in both is the same ramp after the resize."""
    chroma = (luma + 1) // 2
    luma_ramp = apply(cubic_taps(luma, scaled, 0, scaled, float(luma), 0.0), np.arange(luma) * 1.0)
    chroma_ramp = apply(cubic_taps(chroma, scaled, 0, scaled, luma / 2, 0.25), np.arange(chroma) * 2.0)
    assert np.abs(luma_ramp - chroma_ramp)[8:-8].max() < 0.1


@pytest.mark.parametrize(("luma", "chroma"), [(8, 4), (9, 5), (16, 4), (17, 5), (1, 1), (30, 15)])
def test_few_samples_reach_no_further_than_they_go(luma: int, chroma: int) -> None:
    """A step at the first or last sample stays within its levels by the kernel's overshoot, and an even plane even."""
    taps = few_taps(chroma, luma, 112, 0, 112, luma / -(-luma // chroma), 0.25)
    check_taps(taps, chroma, 112)
    np.testing.assert_allclose(apply(taps, np.full(chroma, 200.0)), 200)
    edge = apply(taps, np.eye(chroma)[-1] * 100)
    assert edge.max() <= 115
    assert edge[-1] >= 90


def convert(matrix_name: str, full_range: bool, yuv: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return to_rgb(*(yuv.astype(np.int64) << FRACTION_BITS), colour_matrix(matrix_name, full_range))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("name", LUMA_WEIGHTS)
def test_colour_is_that_of_the_matrix(name: str, full_range: bool) -> None:
    """Any R, G, B to Y, Cb, Cr by ITU-T H.273 8.3 in floating point, rounded, and back."""
    red_weight, blue_weight = LUMA_WEIGHTS[name]
    rgb = np.random.default_rng(0).uniform(0, 1, (3, 500))
    rgb[:, :8] = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8)
    y = red_weight * rgb[0] + (1 - red_weight - blue_weight) * rgb[1] + blue_weight * rgb[2]
    u, v = (rgb[2] - y) / (2 * (1 - blue_weight)), (rgb[0] - y) / (2 * (1 - red_weight))
    luma = 255 * y if full_range else 16 + 219 * y
    span = 255 if full_range else 224
    fine = np.rint(np.stack([luma, 128 + span * u, 128 + span * v]) * (1 << FRACTION_BITS)).astype(np.int64)
    ours = to_rgb(*fine, colour_matrix(name, full_range))
    assert ours.dtype == np.uint8
    assert np.abs(ours - 255 * rgb).max() < 0.55


@pytest.mark.parametrize("name", LUMA_WEIGHTS)
def test_black_grey_and_white_are_exact(name: str) -> None:
    limited, full = np.array([16, 235, 0, 255]), np.array([0, 255, 128, 77])
    neutral = np.full(4, 128)
    assert (convert(name, False, np.stack([limited, neutral, neutral])) == [0, 255, 0, 255]).all()
    assert (convert(name, True, np.stack([full, neutral, neutral])) == full).all()


def test_a_matrix_of_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"matrix \('ycgco'\) must be one of bt601, bt709"):
        colour_matrix("ycgco", False)


@pytest.mark.parametrize(
    ("first", "weights", "rule"),
    [
        ([0, 1], [[16384]], "must match"),
        ([0], [[16000, 300]], "must sum to 16384"),
        ([0], [[-9000, 25384]], "at most 32768"),
    ],
)
def test_taps_that_do_not_weigh_a_sample_whole_are_refused(
    first: list[int], weights: list[list[int]], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        Taps(np.array(first), np.array(weights))


@given(sizes)
def test_taps_in_eights_are_the_taps_and_zeros(source: int) -> None:
    taps = cubic_taps(source, 28, 0, 28, float(source), 0.0)
    count = taps.weights.shape[1]
    assert taps.in_eights.dtype == np.int16
    assert taps.in_eights.shape[1] % 8 == 0
    assert (taps.in_eights[:, :count] == taps.weights).all()
    assert not taps.in_eights[:, count:].any()
