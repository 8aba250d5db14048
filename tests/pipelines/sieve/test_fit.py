"""Letterboxes: the whole picture centred on black, scores of its own pixels alone, and padding that is kept last."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from codecsieve.codec.clip import read_clip
from codecsieve.codec.memory import clip_bytes, further_bytes
from codecsieve.codec.packets import open_source
from codecsieve.errors import VideoError
from codecsieve.kernels.dispatch import score_patches
from codecsieve.kernels.geometry import geometry
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.look.draw import draw_clip
from codecsieve.pipelines.sieve import clip as clip_road
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import SievedClip

BOX = SieveConfig(num_frames=4, input_size=112, k_keep=4 * 64, fit="letterbox")
SIZES = {"wide": (192, 108), "tall": (108, 192), "odd": (90, 62)}
SHOWN = slice(1, 7)
"""Rows of patches, or columns of a tall one, that show some of the picture."""


@pytest.fixture(scope="module", params=list(SIZES))
def shape(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def path(shape: str, tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    return make_video(tmp_path_factory.mktemp(shape) / "clip.mp4", frames=24, size=SIZES[shape], moving="pan")


def is_shown(shape: str) -> np.ndarray:
    """bool [8, 8]: patches that show some of the picture."""
    shown = np.zeros((8, 8), bool)
    shown[SHOWN] = True
    return shown.T if shape == "tall" else shown


def pictures(clip: SievedClip) -> np.ndarray:
    """uint8 [4, 112, 112, 3] of a clip that was kept whole."""
    return clip.patches.reshape(4, 8, 8, 3, 14, 14).transpose(0, 1, 4, 2, 5, 3).reshape(4, 112, 112, 3)


def test_the_whole_picture_is_shown_in_the_middle_of_a_black_square(path: Path, shape: str) -> None:
    clip = sieve_clip(path, BOX)
    width, height = SIZES[shape]
    top, bottom, left, right = geometry(height, width, 112, 14, "letterbox").seen
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for picture, frame in zip(pictures(clip), clip.frame_ids.tolist(), strict=True):
        shown = Image.fromarray(frames[frame]).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        difference = np.abs(picture[top:bottom, left:right].astype(int) - np.asarray(shown))
        assert difference.mean() < 1.5
        beside = picture.copy()
        beside[top:bottom, left:right] = 0
        assert not beside.any()


@pytest.mark.parametrize("scale", ["slot", "clip", "none"])
def test_scores_are_those_of_the_clips_arrays_and_padding_has_none(path: Path, shape: str, scale: str) -> None:
    signals = read_clip(path, 4)
    arrays = signals.motion, signals.residual, signals.keyframe
    scores = sieve_clip(path, dataclasses.replace(BOX, scale=scale)).slot_scores
    np.testing.assert_array_equal(scores, score_patches(*arrays, 112, fit="letterbox", scale=scale))
    np.testing.assert_array_equal(scores >= 0, np.broadcast_to(is_shown(shape), scores.shape))
    assert (scores > 0).any()


@pytest.mark.parametrize("signals", ["search", "difference"])
def test_what_is_made_of_the_models_pixels_is_made_of_the_pictures_alone(path: Path, shape: str, signals: str) -> None:
    config = dataclasses.replace(BOX, signals=signals)
    top, bottom, left, right = geometry(*reversed(SIZES[shape]), 112, 14, "letterbox").seen
    with clip_road.open_clip(path, config, None, None) as clip:
        slots = list(clip.slots(112, "letterbox"))
    assert {slot.residual.shape for slot in slots} == {(bottom - top, right - left)}
    # The picture moves by 2 px a frame, and no padding stands still beside it.
    moved = [np.median(slot.motion[..., 0]) for slot in slots if slot.predicted]
    assert all(abs(x) == 4 * round(2 * 112 / max(SIZES[shape])) for x in moved) == (signals == "search")
    scores = sieve_clip(path, config).slot_scores
    np.testing.assert_array_equal(scores >= 0, np.broadcast_to(is_shown(shape), scores.shape))
    assert (scores > 0).any()


@pytest.mark.parametrize("policy", ["saliency", "random"])
def test_padding_is_kept_only_where_nothing_else_is_left(path: Path, shape: str, policy: str) -> None:
    shown = is_shown(shape)
    all_shown = dataclasses.replace(BOX, policy=policy, k_keep=4 * int(shown.sum()))
    clip = sieve_clip(path, all_shown)
    assert clip.indices.tolist() == np.flatnonzero(np.broadcast_to(shown, (4, 8, 8))).tolist()
    assert clip.scores.min() >= 0
    more = sieve_clip(path, dataclasses.replace(all_shown, k_keep=all_shown.k_keep + 5))
    assert set(clip.indices.tolist()) < set(more.indices.tolist())
    assert (more.scores < 0).sum() == 5
    assert not more.patches[more.scores < 0].any()


def test_pictures_are_the_same_where_slots_are_resized_as_they_come(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(BOX, k_keep=90)
    held = sieve_clip(path, config)
    monkeypatch.setattr(clip_road, "HELD_BYTES", 0)
    resized = sieve_clip(path, config)
    np.testing.assert_array_equal(held.indices, resized.indices)
    np.testing.assert_array_equal(held.patches, resized.patches)


def test_a_drawn_clip_shows_what_is_kept(path: Path) -> None:
    clip, drawn = sieve_clip(path, BOX), draw_clip(path, BOX)
    np.testing.assert_array_equal(drawn.frames, pictures(clip))
    np.testing.assert_array_equal(drawn.scores, clip.slot_scores)


@pytest.mark.slow
def test_whole_pictures_and_many_slots_count_as_memory(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=160, size=(192, 108))
    with open_source(str(path)) as source:
        facts = source.facts
    room, packets = clip_bytes(facts.codec, facts.pixel_format, facts.width, facts.height, facts.references), 10**5
    crop = SieveConfig(num_frames=64, input_size=112, k_keep=64)
    box, many = dataclasses.replace(crop, fit="letterbox"), dataclasses.replace(crop, num_frames=128)
    for config, held in ((box, 64 * (192 - 108) * 108 * 3 // 2), (many, 64 * 108 * 108 * 3 // 2)):
        further = further_bytes(facts.pixel_format, 192, 108, config.num_frames, 112, config.fit)
        assert further == held
        sieve_clip(path, config, max_memory=room + further + packets)
        with pytest.raises(VideoError, match=r"may take .* of memory, over the .* that --max-memory allows"):
            sieve_clip(path, config, max_memory=room + further - 1)
    sieve_clip(path, crop, max_memory=room + packets)
