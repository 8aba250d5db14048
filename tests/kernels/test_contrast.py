"""Motion that differs from what is around it, and residual that changes: their meaning, and numba bit for bit."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codecsieve.kernels.cpu import contrast as cpu_contrast
from codecsieve.kernels.reference import contrast as reference_contrast
from codecsieve.kernels.reference.motion import LENGTH_TOP
from codecsieve.kernels.rules import CAMERA_MODES, INCONSISTENCY_MODES, Measure

forms = pytest.mark.parametrize("form", [reference_contrast, cpu_contrast], ids=["reference", "cpu"])
compiling = settings(deadline=None)  # numba compiles on the first call
sides = st.integers(1, 25)
ksizes = st.sampled_from(range(3, 18, 2))


@compiling
@given(
    st.tuples(sides, sides).flatmap(
        lambda cells: hnp.arrays(np.int16, (*cells, 2), elements=st.integers(-9, 9) | st.integers(-32768, 32767))
    ),
    st.sampled_from(CAMERA_MODES),
    st.sampled_from(INCONSISTENCY_MODES),
    ksizes,
)
def test_numba_measures_the_same_lengths(motion: npt.NDArray[np.int16], mode: str, way: str, ksize: int) -> None:
    measure = Measure(way, ksize)
    lengths = cpu_contrast.motion_lengths(motion, mode, measure)
    assert lengths.dtype == np.int32
    assert (lengths == reference_contrast.motion_lengths(motion, mode, measure)).all()
    assert lengths.min() >= 0
    assert lengths.max() <= LENGTH_TOP


@compiling
@given(
    st.tuples(sides, sides).flatmap(
        lambda cells: hnp.arrays(np.int32, cells, elements=st.integers(0, 99) | st.integers(0, LENGTH_TOP))
    ),
    st.integers(1, 8),
)
def test_numba_measures_the_same_variance(lengths: npt.NDArray[np.int32], radius: int) -> None:
    variance = reference_contrast.local_variance(lengths, radius)
    assert (cpu_contrast.local_variance(lengths, radius) == variance).all()


@compiling
@given(st.tuples(sides, st.integers(1, 70)).flatmap(lambda pixels: hnp.arrays(np.uint8, pixels)))
def test_numba_measures_the_same_gradient(residual: npt.NDArray[np.uint8]) -> None:
    gradient = reference_contrast.residual_gradient(residual)
    assert (cpu_contrast.residual_gradient(residual) == gradient).all()


@compiling
@given(st.integers(0, 2**32), st.sampled_from(["mean", "none"]))
def test_cells_asked_for_are_those_of_the_whole(seed: int, way: str) -> None:
    rng = np.random.default_rng(seed)
    motion = rng.integers(-50, 50, (30, 40, 2)).astype(np.int16)
    top, bottom = np.sort(rng.choice(31, 2, replace=False))
    left, right = np.sort(rng.choice(41, 2, replace=False))
    measure = Measure(way, 9)
    part = cpu_contrast.motion_lengths(motion, "median", measure, (top, bottom, left, right))
    whole = cpu_contrast.motion_lengths(motion, "median", measure)
    assert (part[top:bottom, left:right] == whole[top:bottom, left:right]).all()


@forms
@pytest.mark.parametrize("ksize", [3, 9])
def test_what_moves_with_its_surroundings_is_at_rest(form: ModuleType, ksize: int) -> None:
    motion = np.full((20, 30, 2), (12, -7), np.int16)
    for way in ("mean", "variance"):
        assert (form.motion_lengths(motion, "none", Measure(way, ksize)) == 0).all()


@forms
def test_one_cell_stands_out_by_its_part_of_the_neighbourhood(form: ModuleType) -> None:
    motion = np.zeros((9, 9, 2), np.int16)
    motion[4, 4, 0] = 36  # 9 px
    lengths = form.motion_lengths(motion, "none", Measure("mean", 3))
    assert lengths[4, 4] == 8 * 4096
    assert lengths[3, 3] == lengths[5, 4] == 4096
    assert lengths[2, 4] == lengths[4, 6] == 0
    # At a corner there are 4 cells of the 9.
    motion = np.zeros((9, 9, 2), np.int16)
    motion[0, 0, 1] = 16
    assert form.motion_lengths(motion, "none", Measure("mean", 3))[:2, :2].tolist() == [[12288, 2731], [2731, 1820]]
    # Of one length of 4 px among 9, the variance is 16 (1/9 - 1/81) px^2.
    motion = np.roll(motion, (4, 4), (0, 1))
    variance = form.motion_lengths(motion, "none", Measure("variance", 3))
    assert variance[4, 4] == variance[5, 3] == 16 * 8 * 4096 // 81
    assert variance[2, 4] == 0


@forms
def test_a_camera_that_moves_all_alike_makes_no_difference_to_the_mean(form: ModuleType) -> None:
    motion = np.random.default_rng(0).integers(-90, 90, (21, 33, 2)).astype(np.int16)
    ways = [form.motion_lengths(motion, mode, Measure("mean", 5)) for mode in ("none", "mean", "median")]
    assert (ways[0] == ways[1]).all()
    assert (ways[0] == ways[2]).all()


@forms
def test_variance_is_at_most_that_of_16_px(form: ModuleType) -> None:
    motion = np.zeros((4, 4, 2), np.int16)
    motion[::2] = 1000
    assert (form.motion_lengths(motion, "none", Measure("variance", 9)) == LENGTH_TOP).all()


@forms
def test_a_residual_counts_where_it_changes(form: ModuleType) -> None:
    residual = np.zeros((5, 7), np.uint8)
    residual[:, 4:] = 81
    assert form.residual_gradient(residual).tolist() == [[0, 0, 0, 41, 41, 0, 0]] * 5  # 81 / 2, rounded
    assert form.residual_gradient(residual.T.copy()).T.tolist() == [[0, 0, 0, 41, 41, 0, 0]] * 5
    assert (form.residual_gradient(np.full((4, 4), 200, np.uint8)) == 0).all()
    checks = np.indices((6, 6)).sum(axis=0) // 2 % 2 * 255
    assert form.residual_gradient(checks.astype(np.uint8)).max() == 255
