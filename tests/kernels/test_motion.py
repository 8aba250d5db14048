"""Camera motion: what each mode removes, and that numba agrees with the definition bit for bit."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codecsieve.kernels.camera import solve_camera, still_camera, trim_rank
from codecsieve.kernels.cpu import motion as cpu_motion
from codecsieve.kernels.reference import motion as reference_motion
from codecsieve.kernels.rules import CAMERA_MODES

# numba compiles on the first call.
compiling = settings(deadline=None)

Motion = npt.NDArray[np.int16]

forms = pytest.mark.parametrize("form", [reference_motion, cpu_motion], ids=["reference", "cpu"])
modes = st.sampled_from(CAMERA_MODES)
grids = st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(2))
extreme_motion = hnp.arrays(np.int16, grids, elements=st.sampled_from([-32768, -32767, -1, 0, 1, 5, 32767]))
any_motion = hnp.arrays(np.int16, grids, elements=st.integers(-32768, 32767), fill=st.integers(-3, 3))


@st.composite
def blocky_motion(draw: st.DrawFn) -> Motion:
    """Motion as codecs have it: 8x8-pixel blocks, some of them still, over a camera that zooms and pans."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    blocks = rng.integers(-60, 61, (20, 20, 2)) * (rng.random((20, 20, 1)) < draw(st.floats(0, 1)))
    y, x = np.mgrid[0:height, 0:width]
    camera = np.stack([x * draw(st.integers(-3, 3)), y * draw(st.integers(-3, 3)) + 7], axis=-1)
    objects = blocks.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return (objects + draw(st.booleans()) * camera).astype(np.int16)


def zoom_and_turn(height: int, width: int) -> Motion:
    y, x = np.mgrid[0:height, 0:width].astype(float)
    x, y = 2 * x - (width - 1), 2 * y - (height - 1)
    return np.rint(np.stack([9 + 0.5 * x - 0.25 * y, -6 + 0.25 * x + 0.5 * y], axis=-1)).astype(np.int16)


def pixels(vectors: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    return vectors / 4096


@compiling
@given(extreme_motion | any_motion | blocky_motion(), modes)
def test_numba_removes_the_same_camera_bit_for_bit(motion: Motion, mode: str) -> None:
    assert (cpu_motion.estimate_camera(motion, mode) == reference_motion.estimate_camera(motion, mode)).all()
    vectors = reference_motion.remove_camera(motion, mode)
    ours = cpu_motion.remove_camera(motion, mode)
    assert ours.dtype == vectors.dtype == np.int32
    assert (ours == vectors).all()
    assert (cpu_motion.magnitude(vectors) == reference_motion.magnitude(vectors)).all()


@pytest.mark.parametrize("spread", [0, 3, 9000])
def test_numba_finds_the_same_median_of_more_cells_than_16_bits_count(spread: int) -> None:
    motion = np.random.default_rng(spread).normal(-5, spread, (270, 480, 2)).clip(-32768, 32767).astype(np.int16)
    ours = cpu_motion.estimate_camera(motion, "median")
    assert (ours == reference_motion.estimate_camera(motion, "median")).all()


@compiling
@given(extreme_motion | any_motion | blocky_motion(), modes)
def test_numba_measures_what_the_camera_leaves_in_one_go(motion: Motion, mode: str) -> None:
    camera = reference_motion.estimate_camera(motion, mode)
    left = reference_motion.magnitude(reference_motion.subtract_camera(motion, camera))
    assert (cpu_motion.lengths_without_camera(motion, camera) == left).all()


@compiling
@given(extreme_motion | blocky_motion(), st.integers(0, 2**32))
def test_numba_sums_the_same_moments(motion: Motion, seed: int) -> None:
    kept = np.random.default_rng(seed).random(motion.shape[:2]) < 0.5
    assert (cpu_motion.camera_moments(motion, kept) == reference_motion.camera_moments(motion, kept)).all()


@compiling
@given(hnp.arrays(np.int32, (9, 7, 2), elements=st.integers(-(2**28), 2**28)), st.integers(0, 62))
def test_numba_measures_and_ranks_the_same_lengths(vectors: npt.NDArray[np.int32], rank: int) -> None:
    lengths = reference_motion.magnitude(vectors)
    assert (cpu_motion.magnitude(vectors) == lengths).all()
    assert cpu_motion.length_at_rank(lengths, rank) == reference_motion.length_at_rank(lengths, rank)


@forms
def test_lengths_are_integer_square_roots_up_to_256_pixels(form: ModuleType) -> None:
    vectors = np.array([[[3, 4], [-5, 5], [0, 0], [-(2**20) + 1, 1], [0, 2**20], [2**27, -(2**27)]]], np.int32)
    assert form.magnitude(vectors).tolist() == [[5, 7, 0, 2**20 - 1, 2**20 - 1, 2**20 - 1]]


@forms
@pytest.mark.parametrize("mode", CAMERA_MODES)
def test_a_pure_pan_leaves_nothing_in_any_mode_but_none(form: ModuleType, mode: str) -> None:
    motion = np.full((18, 32, 2), (13, -7), np.int16)
    left = form.remove_camera(motion, mode)
    expected = [13 * 1024, -7 * 1024] if mode == "none" else [0, 0]
    assert (left == expected).all()


@forms
def test_an_object_over_a_pan_keeps_its_motion(form: ModuleType) -> None:
    motion = np.full((18, 32, 2), (8, 0), np.int16)
    motion[4:8, 4:10] = (20, -4)
    for mode in ("median", "similarity", "rigid", "affine"):
        left = pixels(form.remove_camera(motion, mode))
        assert np.abs(left[4:8, 4:10] - (3, -1)).max() < 0.01
        assert np.abs(left[10:, 12:]).max() < 0.01


@forms
def test_zoom_and_turn_are_removed_by_the_fits_and_not_by_the_median(form: ModuleType) -> None:
    motion = zoom_and_turn(18, 32)
    for mode in ("rigid", "affine"):
        assert np.abs(pixels(form.remove_camera(motion, mode))).max() <= 0.15  # rounding to quarter-pel
    for mode in ("median", "similarity"):  # a turn is none on axes that are not as long as each other
        assert np.abs(pixels(form.remove_camera(motion, mode))).max() > 1


@forms
def test_shear_is_removed_by_affine_alone(form: ModuleType) -> None:
    motion = np.zeros((18, 32, 2), np.int16)
    motion[..., 0] = 3 * (2 * np.arange(18)[:, None] - 17)
    # Not to the last bit: within a cell the motion is flat, and its pixels are the points of the fit.
    assert np.abs(pixels(form.remove_camera(motion, "affine"))).max() < 0.1
    for mode in ("similarity", "rigid"):
        assert np.abs(pixels(form.remove_camera(motion, mode))).max() > 2


@forms
def test_objects_are_trimmed_out_of_the_fit(form: ModuleType) -> None:
    motion = zoom_and_turn(18, 32)
    motion[2:10, 3:12] += 60
    left = pixels(form.remove_camera(motion, "rigid"))
    background = np.ones((18, 32), bool)
    background[2:10, 3:12] = False
    assert np.abs(left[background]).max() < 0.2
    assert np.abs(left[~background] - 15).max() < 0.4


@forms
def test_the_mean_is_rounded_half_up_and_the_median_is_the_lower_one(form: ModuleType) -> None:
    motion = np.array([[[0, -1], [0, 0], [0, 0], [1, 0]]], np.int16)
    assert form.remove_camera(motion, "mean")[0, 1].tolist() == [-256, 256]
    assert form.remove_camera(motion.repeat(512, axis=1), "mean")[0, 512].tolist() == [-256, 256]
    tie = np.array([[[0, 0]] * 2047 + [[1, -1]]], np.int16)  # 1024/2048 = half of 1/4096 px
    assert form.remove_camera(tie, "mean")[0, 0].tolist() == [-1, 0]
    halves = np.array([[[1, 9], [4, 2]]], np.int16)
    assert form.remove_camera(halves, "median")[0].tolist() == [[0, 7 * 1024], [3 * 1024, 0]]


@forms
@pytest.mark.parametrize("mode", ["similarity", "rigid", "affine"])
def test_too_few_moving_cells_leave_the_median(form: ModuleType, mode: str) -> None:
    motion = np.zeros((18, 32, 2), np.int16)
    motion[0, :3] = (9, 9)
    assert (form.remove_camera(motion, mode) == 1024 * motion.astype(np.int32)).all()
    motion[0, 3] = (9, 9)
    assert (form.estimate_camera(motion, mode) == still_camera(9 * 1024, 9 * 1024)).all()


@forms
def test_a_fit_that_throws_a_corner_out_of_all_bounds_leaves_the_median(form: ModuleType) -> None:
    motion = np.zeros((256, 256, 2), np.int16)
    motion[0, 0:2] = (-32768, 0)
    motion[0, 2:4] = (32767, 0)
    assert (form.remove_camera(motion, "affine") == 1024 * motion.astype(np.int32)).all()


@given(st.integers(-400, 400), st.integers(-400, 400), st.integers(-40, 40), st.integers(-40, 40))
def test_the_solution_is_the_least_squares_of_the_cells_pixels(u: int, v: int, zoom: int, turn: int) -> None:
    height, width = 7, 11
    rng = np.random.default_rng(abs(u * 7 + v))
    y, x = np.mgrid[0:height, 0:width]
    x, y = 2 * x - (width - 1), 2 * y - (height - 1)
    noise = rng.integers(-20, 21, (height, width, 2))
    motion = (np.stack([u + zoom * x - turn * y, v + turn * x + zoom * y], axis=-1) + noise).astype(np.int16)
    kept = rng.random((height, width)) < 0.4
    kept[0, :4] = True
    moments = reference_motion.camera_moments(motion, kept)

    steps = np.array([-0.75, -0.25, 0.25, 0.75])
    px = (x[kept][:, None, None] + steps).repeat(4, axis=1).ravel()
    py = (y[kept][:, None, None] + steps[:, None]).repeat(4, axis=2).ravel()
    pu, pv = motion[kept].astype(float).repeat(16, axis=0).T
    one, zero = np.ones_like(px), np.zeros_like(px)

    basis = np.stack([one, px, py], axis=1)
    affine = np.linalg.lstsq(basis, np.stack([pu, pv], axis=1), rcond=None)[0].T
    turned = np.concatenate([np.stack([one, zero, px, -py], 1), np.stack([zero, one, py, px], 1)])
    tx, ty, a, b = np.linalg.lstsq(turned, np.concatenate([pu, pv]), rcond=None)[0]
    rigid = np.array([[tx, a, -b], [ty, b, a]])
    for mode, expected in (("affine", affine), ("rigid", rigid)):
        solved = solve_camera(moments, mode, height, width)
        assert solved is not None
        assert np.abs(solved / (1024 * 65536) - expected).max() < 1e-6


def test_the_best_seventy_percent_are_counted_rounded_up() -> None:
    assert [trim_rank(points) + 1 for points in (8, 10, 11, 100)] == [6, 7, 8, 70]


@forms
def test_an_unknown_mode_is_refused(form: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"camera mode \('zoom'\) must be one of none, mean"):
        form.remove_camera(np.zeros((2, 2, 2), np.int16), "zoom")
