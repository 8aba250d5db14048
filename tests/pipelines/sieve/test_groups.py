"""Slots in groups, each of which keeps its share as if it were a clip; and as many slots as 1,024."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codecsieve as cs
from codecsieve.kernels.blocks import block_scores
from codecsieve.kernels.groups import group_edges
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import select_from

FOUR = SieveConfig(num_frames=16, input_size=56, k_keep=64, groups=4)
ONE = SieveConfig(num_frames=4, input_size=56, k_keep=16)


@given(
    st.integers(0, 2**32),
    st.fixed_dictionaries(
        {
            "policy": st.sampled_from(["saliency", "sampling", "random"]),
            "anchors": st.integers(0, 4),
            "static_fallback": st.booleans(),
            "suppress": st.sampled_from(["none", "time", "cell"]),
            "merge": st.sampled_from([1, 2]),
        }
    ),
)
def test_a_group_keeps_what_it_would_as_a_clip(seed: int, options: dict[str, Any]) -> None:
    scores = np.random.default_rng(seed).integers(-1, 3000, (16, 4, 4))
    kept = select_from(scores, dataclasses.replace(FOUR, **options))
    alone = dataclasses.replace(ONE, **options)
    expected = [64 * group + select_from(scores[4 * group : 4 * group + 4], alone) for group in range(4)]
    np.testing.assert_array_equal(kept, np.concatenate(expected))
    assert kept.dtype == np.int32


@given(
    st.integers(0, 2**32),
    st.fixed_dictionaries(
        {
            "policy": st.sampled_from(["saliency", "random"]),
            "anchors": st.integers(0, 2),
            "static_fallback": st.booleans(),
            "suppress": st.sampled_from(["none", "time", "cell"]),
            "merge": st.sampled_from([1, 2]),
        }
    ),
)
def test_a_group_by_motion_keeps_the_same_share_of_its_own_slots(seed: int, options: dict[str, Any]) -> None:
    by_motion = dataclasses.replace(FOUR, groups_by="motion", min_group_frames=2, max_group_frames=9, **options)
    random = np.random.default_rng(seed)
    scores = random.integers(-1, 3000, (16, 4, 4)) * random.integers(0, 2, (16, 1, 1))
    kept = select_from(scores, by_motion).reshape(4, 16)  # whose group a patch is, its place among the K tells
    edges = group_edges(block_scores(scores, by_motion.merge), by_motion.grouping)
    for group, (start, stop) in enumerate(itertools.pairwise(edges)):
        alone = dataclasses.replace(ONE, num_frames=stop - start, **options)
        np.testing.assert_array_equal(kept[group], 16 * start + select_from(scores[start:stop], alone))


@given(
    st.integers(0, 2**32),
    st.fixed_dictionaries(
        {
            "anchors": st.integers(0, 2),
            "static_fallback": st.booleans(),
            "suppress": st.sampled_from(["none", "time", "cell"]),
            "merge": st.sampled_from([1, 2]),
            "groups": st.sampled_from([1, 2, 4]),
            "groups_by": st.sampled_from(["equal", "motion"]),
            "min_group_frames": st.integers(2, 4),
            "max_group_frames": st.integers(16, 20),
            "token_order": st.sampled_from(["raster", "zigzag"]),
        }
    ),
)
def test_a_caller_s_own_scores_are_selected_from_in_the_same_way(seed: int, options: dict[str, Any]) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(-1, 3000, (16, 4, 4)) * random.integers(0, 2, (16, 1, 1))
    scores[random.integers(8, 17) :] = -1
    expected = select_from(scores, SieveConfig(16, 56, k_keep=64, **options))
    np.testing.assert_array_equal(cs.select_patches(scores, 64, **options), expected)


@pytest.mark.parametrize("options", [{"merge": 0}, {"groups": 0}, {"merge": 2, "groups": 3}])
def test_patches_that_make_no_blocks_of_groups_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(
        ValueError, match=r"^k_keep \(64\) must be a multiple of groups \(\d\) times the square of merge"
    ):
        cs.select_patches(np.zeros((12, 4, 4), np.int64), 64, **options)


def test_scores_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^scores \(float64\) must be integers$"):
        cs.select_patches(np.zeros((12, 4, 4)), 64, groups=2)
    with pytest.raises(ValueError, match=r"^scores \(4, 4\) must be \[T, gh, gw\], none of them 0$"):
        cs.select_patches(np.zeros((4, 4), np.int64), 16)


def test_where_something_moves_groups_by_motion_are_short_and_have_an_anchor_each(tmp_path: Path, make_video) -> None:
    random = np.random.default_rng(0)
    still = random.integers(0, 256, (48, 64), dtype=np.uint8)
    lively = [np.roll(still, 3 * shift, axis=1) for shift in range(16)]
    path: Path = make_video(tmp_path / "clip.mkv", codec="ffv1", pictures=[still] * 40 + lively + [lively[-1]] * 40)
    config = SieveConfig(96, 56, k_keep=160, signals="search", groups=4, groups_by="motion", min_group_frames=4,
                         max_group_frames=60, anchors=1, mv_compensate="none", center_prior=0)  # fmt: skip
    clip = sieve_clip(path, config)
    starts = group_edges(clip.slot_scores, config.grouping)
    assert 40 <= starts[1] <= 46
    assert all(4 <= stop - start <= 5 for start, stop in itertools.pairwise(starts[1:-1]))
    for group, kept in enumerate(clip.indices.reshape(4, 40)):
        assert kept[:16].tolist() == list(range(16 * starts[group], 16 * starts[group] + 16))
        assert kept.max() < 16 * starts[group + 1]


def test_slots_left_over_make_no_group_of_their_own() -> None:
    config = SieveConfig(64, 56, k_keep=64, groups=4, groups_by="motion", min_group_frames=2, spread="fps", fps=2)
    scores = np.random.default_rng(0).integers(0, 3000, (64, 4, 4))
    scores[20:] = -1
    kept = select_from(scores, config)
    assert kept.max() < 20 * 16
    assert len(np.unique(kept)) == 64


@pytest.mark.slow
def test_a_thousand_slots_in_groups_have_their_anchors(tmp_path: Path, make_video) -> None:
    path: Path = make_video(tmp_path / "clip.mp4", frames=1100, size=(64, 48))
    config = SieveConfig(num_frames=1024, input_size=56, k_keep=16 * 40, groups=16, anchors=1, target_frames=1024)
    clip = sieve_clip(path, config)
    slots, counts = np.unique(clip.indices // 16, return_counts=True)
    assert set(range(0, 1024, 64)) <= set(slots[counts == 16].tolist())
    assert [int(counts[slots // 64 == group].sum()) for group in range(16)] == [40] * 16
    assert clip.distinct_frames == 1024
    assert clip.patches.shape == (640, 3, 14, 14)
    assert clip.positions[:, 0].max() > 900
