"""Slots in groups, each of which keeps its share as if it were a clip; and as many slots as 1,024."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
