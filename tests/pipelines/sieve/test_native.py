"""Clips at a size of their own: whole pictures in the upper left of the square, and what is kept, chosen in that."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import codecsieve as cs
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.reference.energy import fuse_weights, score_clip
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.look.draw import draw_clip
from codecsieve.pipelines.sieve import clip as clip_road
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import select_from
from codecsieve.pipelines.sieve.native import seen_grid

OWN = SieveConfig(4, 168, k_keep=120, fit="native", max_pixels=112 * 112, merge=2)
SIZES = {"wide": (192, 108), "tall": (108, 192), "small": (90, 62)}
GRIDS = {"wide": (6, 10), "tall": (10, 6), "small": (4, 6)}
"""Rows and columns of patches: of 12,544 pixels 149 x 84 in blocks of 28, or 90 x 62 to the nearest."""


@pytest.fixture(scope="module", params=list(SIZES))
def shape(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def path(shape: str, tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    return make_video(tmp_path_factory.mktemp(shape) / "clip.mp4", frames=24, size=SIZES[shape], moving="pan")


def everything(shape: str) -> SieveConfig:
    """Keeps all patches of clips of a shape."""
    rows, columns = GRIDS[shape]
    return dataclasses.replace(OWN, k_keep=4 * rows * columns)


def test_the_whole_picture_is_shown_as_large_as_is_allowed(path: Path, shape: str) -> None:
    clip, (rows, columns) = sieve_clip(path, everything(shape)), GRIDS[shape]
    assert seen_grid(clip.slot_scores) == clip.grid == (rows, columns)
    assert (clip.scores >= 0).all()
    raster = np.lexsort(clip.positions.T[::-1])
    patches = clip.patches[raster].reshape(4, rows, columns, 3, 14, 14)
    pictures = patches.transpose(0, 1, 4, 2, 5, 3).reshape(4, rows * 14, columns * 14, 3)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for picture, frame in zip(pictures, clip.frame_ids.tolist(), strict=True):
        shown = Image.fromarray(frames[frame]).resize((columns * 14, rows * 14), Image.Resampling.BICUBIC)
        assert np.abs(picture.astype(int) - np.asarray(shown)).mean() < 1.5


@pytest.mark.parametrize("scale", ["slot", "clip", "none"])
def test_scores_are_those_of_the_definition(path: Path, shape: str, scale: Any) -> None:
    signals = cs.read_clip(path, 4)
    grids = geometry(*signals.residual.shape[1:], 168, 14, OWN.fitting)
    arrays = signals.motion, signals.residual, signals.keyframe
    table = center_table(grids, OWN.center_prior, OWN.center_sigma)
    measure = dataclasses.replace(OWN.measure, scale=scale)
    expected = score_clip(*arrays, grids, table, OWN.mv_compensate, OWN.fuse, fuse_weights(1, 1), measure)
    scores = sieve_clip(path, dataclasses.replace(OWN, scale=scale)).slot_scores
    np.testing.assert_array_equal(scores, expected)
    rows, columns = GRIDS[shape]
    assert (scores[:, :rows, :columns] >= 0).all()
    assert (scores > 0).any()
    assert (scores >= 0).sum() == 4 * rows * columns


@pytest.mark.parametrize("signals", ["search", "difference"])
def test_what_is_made_of_the_models_pixels_is_made_of_as_many(path: Path, shape: str, signals: Any) -> None:
    config = dataclasses.replace(OWN, signals=signals)
    with clip_road.open_clip(path, config, None, None) as clip:
        slots = list(clip.slots(168, config.fitting))
    rows, columns = GRIDS[shape]
    assert {slot.residual.shape for slot in slots} == {(14 * rows, 14 * columns)}
    scores = sieve_clip(path, config).slot_scores
    assert seen_grid(scores) == (rows, columns)
    assert (scores > 0).any()


@given(
    st.integers(0, 2**32),
    st.integers(2, 6),
    st.integers(2, 6),
    st.fixed_dictionaries(
        {
            "anchors": st.integers(0, 2),
            "static_fallback": st.booleans(),
            "suppress": st.sampled_from(["none", "time", "cell"]),
            "groups": st.sampled_from([1, 2]),
            "token_order": st.sampled_from(["raster", "zigzag"]),
        }
    ),
)
def test_what_is_kept_is_chosen_as_if_the_clips_own_grid_were_all(
    seed: int, rows: int, columns: int, options: dict[str, Any]
) -> None:
    own = np.random.default_rng(seed).integers(0, 3000, (4, 2 * rows, 2 * columns))
    square = np.full((4, 12, 12), -1)
    square[:, : 2 * rows, : 2 * columns] = own
    config = dataclasses.replace(OWN, k_keep=8 * rows * columns, max_pixels=168 * 168, **options)
    kept = np.unravel_index(select_from(square, config), square.shape)
    expected = cs.select_patches(own, config.k_keep, merge=2, **options)
    np.testing.assert_array_equal(kept, np.unravel_index(expected, own.shape))


def test_a_slot_that_is_kept_whole_is_the_whole_picture_and_nothing_else(path: Path, shape: str) -> None:
    rows, columns = GRIDS[shape]
    clip = sieve_clip(path, dataclasses.replace(OWN, anchors=1, k_keep=60))
    first = clip.positions[clip.positions[:, 0] == 0]
    assert len(first) == rows * columns
    assert first[:, 1].max() == rows - 1
    assert first[:, 2].max() == columns - 1
    drawn = draw_clip(path, dataclasses.replace(OWN, k_keep=60))
    np.testing.assert_array_equal(np.unique(drawn.sampled // 144), np.arange(0, 4, 3)[: 60 // (rows * columns)])
    assert len(drawn.sampled) == 60 // (rows * columns) * rows * columns


def test_of_a_clip_with_too_few_patches_all_are_kept_and_black_ones_besides(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=24, size=SIZES["small"], moving="pan")
    clip = sieve_clip(path, OWN)  # 96 patches for 120
    assert (clip.scores >= 0).sum() == 96
    assert len(np.unique(clip.indices)) == 120
    assert not clip.patches[clip.scores < 0].any()
    assert clip.patches[clip.scores >= 0].any()


def test_pictures_are_the_same_where_slots_are_resized_as_they_come(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = sieve_clip(path, OWN)
    monkeypatch.setattr(clip_road, "HELD_BYTES", 0)
    resized = sieve_clip(path, OWN)
    np.testing.assert_array_equal(held.indices, resized.indices)
    np.testing.assert_array_equal(held.patches, resized.patches)


@pytest.mark.slow
def test_clips_of_different_shapes_are_one_cache(tmp_path: Path, make_video) -> None:
    (tmp_path / "videos").mkdir()
    for shape in ("wide", "tall"):
        make_video(tmp_path / "videos" / f"{shape}.mp4", frames=24, size=SIZES[shape], moving="pan")
    options = {"num_frames": 4, "input_size": 168, "k_keep": 120, "fit": "native", "max_pixels": 112 * 112, "merge": 2}
    assert cs.precompute(tmp_path / "videos", tmp_path / "cache", workers=0, **options).made == 2
    assert cs.precompute(tmp_path / "videos", tmp_path / "cache", workers=0, **options).skipped == 2
    cache = cs.open_cache(tmp_path / "cache")
    grids = zip(cache.index["grid_rows"].to_pylist(), cache.index["grid_columns"].to_pylist(), strict=True)
    assert list(grids) == [GRIDS[Path(uri).stem] for uri in cache.uris]
    batch = next(iter(cs.make_loader(cache, batch_size=2)))
    assert tuple(batch.patches.shape[:2]) == (2, 120)
    for clip in cache:
        rows, columns = GRIDS[Path(clip.uri).stem]
        assert clip.positions[:, 1].max() < rows
        assert clip.positions[:, 2].max() < columns
        assert clip.show(slots=4).width
    cs.export_cache(cache, tmp_path / "canvases", "ov2")
    assert len(list((tmp_path / "canvases").rglob("patch_positions.npy"))) == 2
