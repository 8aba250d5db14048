"""Groups of slots: equal ones, and those that are over once as much has moved as is their share."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.kernels.groups import group_edges
from codecsieve.kernels.rules import Grouping


@st.composite
def clips(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], Grouping]:
    """Scores [T, 2, 2] of which some last slots show nothing, and groups that T slots make."""
    groups, least = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    most = draw(st.integers(least, 9))
    slots = draw(st.integers(groups * least, groups * most))
    scores = np.array(draw(st.lists(st.integers(-1, 50), min_size=4 * slots, max_size=4 * slots))).reshape(slots, 2, 2)
    scores[draw(st.integers(0, slots)) :] = -1
    return scores, Grouping(groups, "motion", least, most)


@given(clips())
def test_a_group_is_over_once_its_share_of_the_motion_is_reached(
    clip: tuple[npt.NDArray[np.int64], Grouping],
) -> None:
    scores, grouping = clip
    groups, least, most = grouping.groups, grouping.min_frames, grouping.max_frames
    seen = [slot for slot in range(len(scores)) if (scores[slot] >= 0).any()]
    counted = max([groups * least] + [slot + 1 for slot in seen])
    energy = [1 + sum(max(int(score), 0) for score in scores[slot].ravel()) for slot in range(counted)]
    lengths: list[int] = []
    # Slot by slot: one more, until the group is ready, or must be over.
    for group in range(groups):
        start, behind, length = sum(lengths), groups - group - 1, 0
        while True:
            length += 1
            left = counted - start - length
            ready = sum(energy[: start + length]) * groups >= (group + 1) * sum(energy)
            if length >= least and left <= behind * most and (ready or length == most or left == behind * least):
                break
        lengths.append(length)
    edges = group_edges(scores, grouping)
    assert edges == [0, *np.cumsum(lengths[:-1]).tolist(), len(scores)]
    assert all(least <= length <= most for length in lengths)


@given(st.integers(1, 6), st.integers(1, 9))
def test_equal_groups_have_as_many_slots_each(groups: int, each: int) -> None:
    edges = group_edges(np.zeros((groups * each, 2, 2), np.int64), Grouping(groups))
    assert edges == [each * group for group in range(groups + 1)]


def test_where_much_moves_groups_are_short() -> None:
    scores = np.ones((64, 4, 4), np.int64)
    scores[20:30] = 100
    assert group_edges(scores, Grouping(4, "motion", 4, 40)) == [0, 23, 27, 31, 64]
    assert group_edges(scores, Grouping(4, "motion", 8, 40)) == [0, 23, 31, 39, 64]
    assert group_edges(scores, Grouping(4, "motion", 4, 20)) == [0, 20, 26, 44, 64]
    assert group_edges(np.zeros((64, 4, 4), np.int64), Grouping(4, "motion")) == [0, 16, 32, 48, 64]


def test_the_largest_scores_there_can_be_are_summed_exactly() -> None:
    scores = np.full((1024, 36, 36), 255 * 14 * 14, np.int32)
    assert group_edges(scores, Grouping(32, "motion")) == list(range(0, 1025, 32))


@pytest.mark.parametrize(
    ("slots", "grouping", "message"),
    [
        (64, Grouping(0), "groups (0) must be >= 1"),
        (64, Grouping(7), "groups (7) must divide 64, the number of slots"),
        (64, Grouping(4, "time"), "groups_by ('time') must be one of equal, motion"),
        (64, Grouping(4, "motion", 9, 8), "min_group_frames (9) must be in 1..8, which is max_group_frames"),
        (
            31,
            Grouping(4, "motion"),
            "groups (4) of min_group_frames (8) to max_group_frames (64) have 32 to 256 slots, not 31",
        ),
    ],
)
def test_groups_that_slots_do_not_make_are_refused(slots: int, grouping: Grouping, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        group_edges(np.zeros((slots, 2, 2), np.int64), grouping)
