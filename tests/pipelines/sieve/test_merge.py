"""Patches that are kept in blocks: all of a block or none, the highest sums, four tokens side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import codecsieve as cs
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import SievedClip

PLAIN = SieveConfig(num_frames=8, input_size=112, k_keep=128)
BLOCKS = dataclasses.replace(PLAIN, merge=2)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    return make_video(tmp_path_factory.mktemp("merge") / "clip.mp4", frames=24, size=(160, 120), moving="noise")


def blocks_of(clip: SievedClip) -> np.ndarray:
    """int [K / 4, 3]: slot, row and column of each block, whose four tokens must be side by side."""
    positions = clip.positions.astype(int).reshape(-1, 4, 3)
    np.testing.assert_array_equal(positions - positions[:, :1], [[[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]] * 32)
    assert not (positions[:, 0, 1:] % 2).any()
    return positions[:, 0] // [1, 2, 2]


@pytest.mark.parametrize("policy", ["saliency", "sampling", "random"])
@pytest.mark.parametrize("anchors", [0, 1])
def test_whole_blocks_are_kept_in_order(path: Path, policy: str, anchors: int) -> None:
    blocks = blocks_of(sieve_clip(path, dataclasses.replace(BLOCKS, policy=policy, anchors=anchors)))
    numbers = np.ravel_multi_index(tuple(blocks.T), (8, 4, 4))
    assert (np.diff(numbers) > 0).all()
    assert policy != "saliency" or not anchors or numbers[:16].tolist() == list(range(16))


def test_blocks_of_the_highest_sums_are_kept(path: Path) -> None:
    clip = sieve_clip(path, BLOCKS)
    sums = clip.slot_scores.reshape(8, 4, 2, 4, 2).sum(axis=(2, 4))
    kept = np.zeros(sums.shape, bool)
    kept[tuple(blocks_of(clip).T)] = True
    assert sums[kept].min() >= sums[~kept].max()
    np.testing.assert_array_equal(clip.scores, clip.slot_scores.ravel()[clip.indices])


def test_blocks_have_the_pixels_of_their_patches(path: Path) -> None:
    every = sieve_clip(path, dataclasses.replace(PLAIN, k_keep=8 * 64))
    clip = sieve_clip(path, BLOCKS)
    np.testing.assert_array_equal(clip.patches, every.patches[clip.indices])


def test_a_cache_keeps_blocks_side_by_side(path: Path, tmp_path: Path) -> None:
    options = {"num_frames": 8, "input_size": 112, "k_keep": 128, "merge": 2}
    cs.precompute(path, tmp_path / "cache", workers=0, **options)
    cache = cs.open_cache(tmp_path / "cache")
    clip = cs.sieve(path, **options)
    assert cache.config["merge"] == 2
    np.testing.assert_array_equal(cache[0].positions, clip.positions)
    np.testing.assert_array_equal(cache[0].pixels, clip.patches)


def test_a_block_of_a_letterbox_shows_some_of_the_picture(tmp_path: Path, make_video) -> None:
    wide = make_video(tmp_path / "clip.mp4", frames=24, size=(192, 96), moving="pan")
    clip = sieve_clip(wide, dataclasses.replace(BLOCKS, fit="letterbox"))  # 112 x 56: rows 2 to 5 of 8
    assert clip.scores.min() >= 0
    assert set(clip.positions[:, 1].tolist()) == {2, 3, 4, 5}
