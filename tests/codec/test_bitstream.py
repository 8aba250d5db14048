"""The codec's own motion is the motion of the pictures, and the residual is exactly what the encoder coded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codec_cases import OPEN_GOP, PLAIN, encode_frames, natural_pictures, zero_blocks

from codecsieve.codec.clip import ClipSignals, read_clip

MANY = {"bf": "3", "refs": "4", "x264-params": "no-deblock=1:weightp=2:weightb=1"}


def zero_part(clip: ClipSignals) -> float:
    assert clip.signals == "bitstream"
    return float(np.mean([zero_blocks(residual) for residual in clip.residual[~clip.keyframe]]))


@pytest.mark.parametrize("options", [PLAIN, MANY], ids=["one reference", "B-pictures"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p", "gray"])
def test_skipped_macroblocks_have_no_residual(
    tmp_path: Path, make_video, options: dict[str, str], pixel_format: str
) -> None:
    # A square crosses a still picture: far from its path nothing is coded, whatever the quantiser did there.
    path = make_video(tmp_path / "clip.mp4", frames=16, size=(160, 96), options=options, pixel_format=pixel_format)
    clip = read_clip(path, num_frames=16, signals="bitstream")
    assert repr(clip).startswith("ClipSignals of 16 slots, ")
    assert len(repr(clip)) < 400
    still = clip.residual[~clip.keyframe][:, 64:]
    assert len(still) >= 14
    assert (still == 0).all()
    assert (clip.motion[~clip.keyframe][:, 16:] == 0).all()
    assert clip.residual[:, 16:48].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "pixel_format"),
    [((384, 216), "yuv420p"), ((640, 360), "yuv420p"), ((384, 216), "yuv420p10le")],
    ids=["216p", "360p", "10-bit"],
)
def test_residual_of_a_natural_clip_is_exact(tmp_path: Path, size: tuple[int, int], pixel_format: str) -> None:
    frames = natural_pictures(40 if size[0] < 640 else 16, *size, pixel_format)
    crf = {"crf": "23"}
    plain = zero_part(read_clip(encode_frames(tmp_path / "plain.mp4", frames, PLAIN | crf), num_frames=len(frames)))
    many = zero_part(read_clip(encode_frames(tmp_path / "many.mp4", frames, MANY | crf), num_frames=len(frames)))
    assert plain >= 0.70
    assert many >= plain - 0.05


def test_deblocking_leaves_less_of_it_exact(tmp_path: Path) -> None:
    frames = natural_pictures(16, 384, 216)
    plain = zero_part(read_clip(encode_frames(tmp_path / "plain.mp4", frames, PLAIN), num_frames=16))
    usual = zero_part(read_clip(encode_frames(tmp_path / "usual.mp4", frames, {}), num_frames=16))
    assert 0.2 < usual < plain


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video", "mpeg1video"])
def test_motion_of_a_pan_is_the_pan(tmp_path: Path, make_video, codec: str) -> None:
    # The picture moves right by 2 px a frame: a block came from 2 px, 8 quarter-pel, to the left.
    options = (
        PLAIN | {"g": "50"}
        if codec == "libx264"
        else {"bf": "0", "g": "50", "b": "2000000", "sc_threshold": "1000000000"}
    )
    path = make_video(tmp_path / "pan.mp4", codec, frames=12, size=(160, 96), options=options, moving="pan")
    clip = read_clip(path, num_frames=12)
    assert clip.motion.shape == (12, 24, 40, 2)
    assert clip.keyframe.tolist() == [True] + [False] * 11
    inner = clip.motion[1:, 4:-4, 8:-4].reshape(-1, 2)
    assert np.median(inner, axis=0).tolist() == [-8, 0]
    assert (np.abs(inner - [-8, 0]).max(1) <= 1).mean() > 0.9


def test_motion_of_a_pan_down_has_its_sign(tmp_path: Path, make_video) -> None:
    ground = np.random.default_rng(1).integers(40, 200, (160, 24), np.uint8).repeat(4, 0).repeat(4, 1)
    pictures = [np.ascontiguousarray(ground[100 - 3 * n : 196 - 3 * n]) for n in range(10)]
    clip = read_clip(make_video(tmp_path / "down.mp4", pictures=pictures, options=PLAIN), num_frames=10)
    assert np.median(clip.motion[1:, 4:-4, 4:-4].reshape(-1, 2), axis=0).tolist() == [0, -12]


def test_b_pictures_keep_the_motion_to_their_list_0_reference(tmp_path: Path, make_video) -> None:
    options = {"bf": "1", "x264-params": "b-adapt=0:no-deblock=1:weightp=0:direct=none", "g": "50"}
    path = make_video(tmp_path / "pan.mp4", frames=13, size=(160, 96), options=options, moving="pan")
    clip = read_clip(path, num_frames=13)
    # P-pictures are 2 frames from their reference picture, B-pictures 1.
    medians = np.median(clip.motion[1:, 4:-4, 8:-8].reshape(12, -1, 2), axis=1)
    assert set(medians[1::2, 0].tolist()) <= {-16}
    assert (medians[:, 1] == 0).all()


def test_a_cut_disturbs_no_other_frame(tmp_path: Path, make_video) -> None:
    random = np.random.default_rng(0)
    scenes = [random.integers(20, 230, (24, 60), np.uint8).repeat(4, 0).repeat(4, 1) for _ in range(2)]
    pictures = [np.ascontiguousarray(scenes[n >= 8][:, 60 - 2 * n : 188 - 2 * n]) for n in range(16)]
    clip = read_clip(make_video(tmp_path / "cut.mp4", pictures=pictures, options=PLAIN | {"g": "50"}), num_frames=16)
    pan = [n for n in range(1, 16) if n != 8]
    medians = np.median(clip.motion[pan][:, 4:-4, 8:-4].reshape(len(pan), -1, 2), axis=1)
    assert medians.tolist() == [[-8, 0]] * len(pan)
    assert clip.keyframe[8] or clip.residual[8].mean() > 10
    assert clip.residual[pan].mean() < 2


def test_intra_pictures_say_nothing(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "intra.mp4", frames=6, options={"g": "1"}, moving="pan")
    clip = read_clip(path, num_frames=6)
    assert clip.keyframe.all()
    assert not clip.motion.any()
    assert not clip.residual.any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {"bf": "3", "refs": "4", "g": "20", "x264-params": "b-pyramid=normal:scenecut=0"}),
        ("clip.mp4", "libx264", OPEN_GOP),
        ("clip.264", "libx264", OPEN_GOP),
        ("clip.mp4", "libx264", {"intra-refresh": "1", "bf": "0", "g": "20"}),
        ("clip.mp4", "mpeg4", {"g": "12", "bf": "2"}),
        ("clip.ts", "mpeg2video", {"g": "12", "bf": "2"}),
    ],
    ids=["closed GOPs", "open GOPs", "raw", "intra refresh", "mpeg4", "mpeg2"],
)
def test_sparse_samples_have_the_signals_of_dense_ones(
    tmp_path: Path, make_video, name: str, codec: str, options: dict[str, str]
) -> None:
    # What a frame's signals are must not depend on which others were sampled.
    path = make_video(tmp_path / name, codec, frames=61, size=(128, 96), options=options, moving="pan")
    dense = read_clip(path, num_frames=61)
    for count in (3, 5, 7, 13, 21):
        sparse = read_clip(path, num_frames=count)
        ids = sparse.frame_ids
        np.testing.assert_array_equal(sparse.keyframe, dense.keyframe[ids])
        np.testing.assert_array_equal(sparse.motion, dense.motion[ids])
        np.testing.assert_array_equal(sparse.residual, dense.residual[ids])
