"""Slots at a fixed rate of clips that do not last for all of them: what is left over counts for nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codecsieve as cs
from codecsieve.cache import open_cache
from codecsieve.codec.plan import FrameSample
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.look.draw import draw_clip
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import select_from, without_spare

CONFIG = SieveConfig(num_frames=16, input_size=56, k_keep=48, spread="fps", fps=5, signals="search")


@pytest.fixture(scope="module")
def two_seconds(tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    """Ten of 5 a second: frames 0, 5, ..., 45."""
    return make_video(tmp_path_factory.mktemp("spare") / "clip.mp4", frames=50, size=(64, 48), moving="noise")


@given(
    seed=st.integers(0, 2**32),
    seen=st.integers(1, 16),
    policy=st.sampled_from(["saliency", "sampling", "random"]),
    anchors=st.integers(0, 3),
    merge=st.sampled_from([1, 2]),
    static=st.booleans(),
)
def test_what_is_kept_is_what_a_clip_of_the_slots_that_are_seen_keeps(
    seed: int, seen: int, policy: str, anchors: int, merge: int, static: bool
) -> None:
    options = {"policy": policy, "anchors": anchors, "merge": merge, "static_fallback": static}
    scores = np.random.default_rng(seed).integers(0, 3000, (16, 4, 4))
    sample = FrameSample(np.arange(16), 16, spare=16 - seen)
    kept = select_from(without_spare(scores.copy(), sample), dataclasses.replace(CONFIG, **options))
    enough = max(seen, 3)  # 48 patches are 3 slots
    alone = dataclasses.replace(CONFIG, num_frames=enough, **options)
    shown = FrameSample(np.arange(enough), enough, spare=enough - seen)
    np.testing.assert_array_equal(kept, select_from(without_spare(scores[:enough].copy(), shown), alone))
    assert len(kept) == 48
    if policy != "sampling" and seen >= 3:
        assert kept.max() < 16 * seen


def test_of_the_slots_left_over_nothing_is_kept_while_there_is_anything_else(two_seconds: Path) -> None:
    clip = sieve_clip(two_seconds, CONFIG)
    assert clip.frame_ids.tolist() == [*range(0, 50, 5), *[45] * 6]
    assert clip.distinct_frames == 10
    assert (clip.slot_scores[:10] >= 0).all()
    assert (clip.slot_scores[10:] == -1).all()
    assert clip.positions[:, 0].max() < 10
    assert clip.scores.min() >= 0
    alone = sieve_clip(two_seconds, dataclasses.replace(CONFIG, num_frames=10))
    np.testing.assert_array_equal(clip.patches, alone.patches)
    np.testing.assert_array_equal(clip.positions, alone.positions)
    drawn = draw_clip(two_seconds, CONFIG)
    np.testing.assert_array_equal(drawn.indices, clip.indices)
    assert drawn.sampled.max() < 160


def test_what_they_repeat_is_the_last_frame_where_no_other_patches_are_left(two_seconds: Path) -> None:
    clip = sieve_clip(two_seconds, dataclasses.replace(CONFIG, k_keep=11 * 16))
    assert clip.indices.tolist() == list(range(11 * 16))
    assert (clip.scores[160:] == -1).all()
    np.testing.assert_array_equal(clip.patches[160:], clip.patches[144:160])


def test_percentiles_of_a_clip_are_those_of_the_slots_that_are_seen(two_seconds: Path) -> None:
    wide = dataclasses.replace(CONFIG, scale="clip")
    clip, alone = sieve_clip(two_seconds, wide), sieve_clip(two_seconds, dataclasses.replace(wide, num_frames=10))
    np.testing.assert_array_equal(clip.slot_scores[:10], alone.slot_scores)


@pytest.mark.slow
def test_a_cache_says_rate_and_frames_and_is_gone_on_with(tmp_path: Path, two_seconds: Path) -> None:
    options = {"num_frames": 16, "input_size": 56, "k_keep": 48, "spread": "fps", "fps": 5.0}
    assert cs.precompute(two_seconds, tmp_path / "cache", workers=0, **options).made == 1
    assert cs.precompute(two_seconds, tmp_path / "cache", workers=0, **options).skipped == 1
    cache = open_cache(tmp_path / "cache")
    assert (cache.config["spread"], cache.config["fps"]) == ("fps", 5.0)
    assert cache.index["distinct_frames"].to_pylist() == [10]
    assert cache[0].frame_ids.tolist() == [*range(0, 50, 5), *[45] * 6]


@pytest.mark.slow
def test_a_thousand_slots_at_a_fixed_rate(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=1100, size=(64, 48), moving="noise")
    config = dataclasses.replace(CONFIG, num_frames=1024, k_keep=1024, fps=20)
    clip = sieve_clip(path, config)  # 44 s of 25 frames/s
    shown = np.unique([-(-(5 * k - 2) // 4) for k in range(880)])  # 1.25 k, halves down
    np.testing.assert_array_equal(clip.frame_ids[:880], shown)
    assert (clip.frame_ids[880:] == shown[-1]).all()
    assert clip.positions[:, 0].max() in range(800, 880)
    spread_out = sieve_clip(path, dataclasses.replace(config, fps=25))
    np.testing.assert_array_equal(spread_out.frame_ids, np.linspace(0, 1099, 1024).astype(int))
