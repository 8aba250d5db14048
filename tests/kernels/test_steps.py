"""Steps of the quantiser: the definition by hand, and numba equal bit for bit."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.kernels.cpu import steps as cpu_steps
from codecsieve.kernels.reference import steps as reference_steps

forms = pytest.mark.parametrize("form", [reference_steps, cpu_steps], ids=["reference", "cpu"])


@forms
def test_a_step_is_sixteen_and_doubles_every_six(form: ModuleType) -> None:
    residual = np.full((4, 12), 8, np.uint8)
    quantiser = np.array([[4, 10, 28]], np.int8)  # steps of 1, 2 and 16 levels
    steps = form.coded_steps(residual, np.ones((1, 3), np.uint8), quantiser, 0, 0)
    assert steps[0, ::4].tolist() == [128, 64, 8]
    assert form.coded_steps(residual * 4, np.ones((1, 3), np.uint8), quantiser, 0, 0)[0, 0] == 255


@forms
def test_what_is_not_coded_takes_none(form: ModuleType) -> None:
    coefficients = np.array([[0, 1], [3, 0]], np.uint8)
    quantiser = np.full((2, 2), 4, np.int8)
    steps = form.coded_steps(np.ones((6, 5), np.uint8), coefficients, quantiser, 2, 3)
    assert (steps == 16 * np.array([[0, 1, 1, 1, 1]] * 2 + [[1, 0, 0, 0, 0]] * 4)).all()


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
def test_numba_gives_the_same(seed: int, height: int, width: int, top: int, left: int) -> None:
    random = np.random.default_rng(seed)
    units = (top + height + 3) // 4, (left + width + 3) // 4
    given = (
        random.integers(0, 256, (height, width), np.uint8),
        random.integers(0, 3, units, np.uint8),
        random.integers(-48, 52, units, np.int8),
        top,
        left,
    )
    np.testing.assert_array_equal(cpu_steps.coded_steps(*given), reference_steps.coded_steps(*given))
