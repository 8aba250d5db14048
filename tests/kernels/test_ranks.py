"""What stands at a rank: counted, it is what sorting finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codecsieve.kernels.cpu.ranks import level_at_rank, values_at_rank

# numba compiles on the first call.
compiling = settings(deadline=None)


@compiling
@given(
    st.sampled_from([(1, 1), (9, 31), (70, 500), (160, 401)]),
    st.sampled_from([0, 1, 3, 40, 255]),
    st.integers(0, 2**32),
    st.floats(0, 1),
)
def test_a_level_at_a_rank_is_that_of_the_sorted_picture(
    size: tuple[int, int], top: int, seed: int, place: float
) -> None:
    rng = np.random.default_rng(seed)
    picture = (rng.integers(0, top + 1, size) * rng.random(size) ** rng.integers(0, 4)).astype(np.uint8)
    rank = int(place * (picture.size - 1))
    assert level_at_rank(picture, rank) == np.sort(picture, axis=None)[rank]


@pytest.mark.parametrize("level", [0, 7, 254, 255])
def test_a_sample_that_misleads_is_no_harm(level: int) -> None:
    picture = np.full((128, 1024), 255 - level, np.uint8)
    picture[1:] = level
    picture[17::16] = 255 - level
    for rank in (0, picture.size // 2, picture.size - 1):
        assert level_at_rank(picture, rank) == np.sort(picture, axis=None)[rank]


@compiling
@given(
    hnp.arrays(np.int16, (6, 10), elements=st.integers(-32768, 32767) | st.integers(-2, 2)),
    hnp.arrays(np.int32, 6, elements=st.integers(0, 3)),
    st.sampled_from([1, 2]),
    st.floats(0, 1),
)
def test_values_at_a_rank_count_each_row_as_often_as_it_stands_for(
    rows: npt.NDArray[np.int16], weights: npt.NDArray[np.int32], parts: int, place: float
) -> None:
    weights[0] = max(weights[0], 1)
    repeated = rows.repeat(weights, axis=0).reshape(-1, parts)
    rank = int(place * (len(repeated) - 1))
    assert (values_at_rank(rows, weights, parts, rank) == np.sort(repeated, axis=0)[rank]).all()
