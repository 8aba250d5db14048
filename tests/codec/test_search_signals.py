"""Block search: the motion of the pictures at the model's resolution, for codecs that give none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codecsieve.codec.clip import read_clip


def coarse(seed: int, width: int = 160) -> np.ndarray:
    """A random texture of 4x4 px squares, 112 px high."""
    return np.random.default_rng(seed).integers(20, 230, (28, width // 4), np.uint8).repeat(4, 0).repeat(4, 1)


@pytest.mark.parametrize(
    ("codec", "name"), [("libx264", "a.mp4"), ("libx265", "a.mkv"), ("libvpx-vp9", "a.webm"), ("libsvtav1", "a.mp4")]
)
def test_motion_of_a_pan_is_the_pan(tmp_path: Path, make_video, codec: str, name: str) -> None:
    ground = coarse(0)
    pictures = [np.ascontiguousarray(ground[:, 30 - 3 * n : 142 - 3 * n]) for n in range(8)]
    options = {"b": "4000000"} if codec == "libvpx-vp9" else {"crf": "20"}
    path = make_video(tmp_path / name, codec, pictures=pictures, options=options)
    clip = read_clip(path, num_frames=8, signals="search", size=112)
    assert clip.signals == "search"
    assert clip.motion.shape == (8, 28, 28, 2)
    assert clip.residual.shape == (8, 112, 112)
    assert clip.keyframe.tolist() == [True] + [False] * 7
    assert not clip.motion[0].any()
    assert np.median(clip.motion[1:, 2:-2, 4:-2].reshape(-1, 2), axis=0).tolist() == [-12, 0]
    assert (clip.motion[1:, 2:-2, 4:-2] == [-12, 0]).all(-1).mean() > 0.95


def test_motion_is_measured_at_the_resolution_of_the_model(tmp_path: Path, make_video) -> None:
    ground = coarse(1).repeat(2, 0).repeat(2, 1)  # 224 px high, seen at 112: 4 px are 2
    pictures = [np.ascontiguousarray(ground[:, 40 - 4 * n : 264 - 4 * n]) for n in range(8)]
    clip = read_clip(make_video(tmp_path / "a.mp4", pictures=pictures), num_frames=8, signals="search", size=112)
    assert np.median(clip.motion[1:, 2:-2, 4:-2].reshape(-1, 2), axis=0).tolist() == [-8, 0]


def test_frames_are_compared_with_the_one_shown_before_whatever_is_sampled(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=41, options={"g": "10", "bf": "2"}, moving="pan")
    dense = read_clip(path, num_frames=41, signals="search", size=56)
    sparse = read_clip(path, num_frames=5, signals="search", size=56)
    assert sparse.frame_ids.tolist() == [0, 10, 20, 30, 40]
    assert sparse.keyframe.tolist() == [True, False, False, False, False]
    np.testing.assert_array_equal(sparse.motion, dense.motion[::10])
    np.testing.assert_array_equal(sparse.residual, dense.residual[::10])
    assert sparse.pictures_decoded < dense.pictures_decoded


def test_a_cut_disturbs_no_other_frame(tmp_path: Path, make_video) -> None:
    scenes = [coarse(2), coarse(3)]
    pictures = [np.ascontiguousarray(scenes[n >= 6][:, 30 - 2 * n : 142 - 2 * n]) for n in range(12)]
    clip = read_clip(make_video(tmp_path / "cut.mp4", pictures=pictures), num_frames=12, signals="search", size=112)
    pan = [n for n in range(1, 12) if n != 6]
    medians = np.median(clip.motion[pan][:, 2:-2, 4:-2].reshape(len(pan), -1, 2), axis=1)
    assert medians.tolist() == [[-8, 0]] * len(pan)
    assert clip.residual[6].mean() > 5 * clip.residual[pan].mean()
    assert not clip.keyframe[6]  # whatever the codec did there


def test_a_range_is_compared_with_the_frame_before_it(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=30, moving="pan")
    part = read_clip(path, num_frames=4, signals="search", size=56, start=0.4)
    assert part.frame_ids[0] == 10
    assert not part.keyframe.any()
    assert part.motion[0].any()
