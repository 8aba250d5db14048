"""A clip sieved on a GPU is the clip sieved on the processor, bit for bit; FFmpeg, an emulator and Triton's interpreter
stand in for the hardware.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
from pathlib import Path

import cuda_emulator
import numpy as np
import pytest
import torch
from codec_cases import HEVC_OPEN_GOP, OPEN_GOP, run_ffmpeg
from fake_nvdec import FakeNvdec

from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_packets import NvdecError
from codecsieve.errors import ConfigError, VideoError
from codecsieve.kernels import gpu
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.levels import Levels
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve import gpu_clip, gpu_stack
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.gpu_clip import sieve_clip_on_gpu
from codecsieve.pipelines.sieve.kept import SievedClip

pytestmark = pytest.mark.slow

SMALL = SieveConfig(num_frames=4, input_size=42, k_keep=14, signals="search")
CHANGES = dataclasses.replace(SMALL, signals="difference")

search_vectors, found = gpu.search_vectors, dict[bytes, torch.Tensor]()


def search_once(current: Levels, previous: Levels) -> torch.Tensor:
    """A search takes the interpreter seconds: what has been searched before, in another test, is not again."""
    arrays = [array.numpy() for levels in (current, previous) for array in levels.arrays]
    key = hashlib.sha256(b"".join(array.tobytes() + str(array.shape).encode() for array in arrays)).digest()
    if key not in found:
        found[key] = search_vectors(current, previous)
    return found[key].clone()


@pytest.fixture
def nvc(monkeypatch: pytest.MonkeyPatch) -> FakeNvdec:
    """Stand-ins for NVDEC and for the launch of CUDA C kernels."""
    if not cuda_emulator.available():
        pytest.skip("g++ is needed to run CUDA C on a CPU")
    fake = FakeNvdec()
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", fake)
    monkeypatch.setattr(gpu, "search_vectors", search_once)
    monkeypatch.setattr(launch, "launch", functools.partial(cuda_emulator.emulated_launch, order="forward"))
    return fake


@pytest.fixture
def session(nvc: FakeNvdec) -> NvdecSession:
    return NvdecSession(0, 0, torch.device("cpu"))


def assert_same(clip: SievedClip, expected: SievedClip) -> None:
    for field in dataclasses.fields(SievedClip):
        mine, theirs = getattr(clip, field.name), getattr(expected, field.name)
        if isinstance(theirs, np.ndarray):
            assert mine.dtype == theirs.dtype, field.name
            np.testing.assert_array_equal(mine, theirs, err_msg=field.name)
        elif field.name not in ("decoder", "pictures_decoded"):
            assert mine == theirs, field.name
    assert (clip.decoder, expected.decoder) == ("nvdec", "ffmpeg")


@pytest.mark.parametrize(
    ("name", "codec", "options", "pixel_format"),
    [
        ("a.mp4", "libx264", OPEN_GOP, "yuv420p"),
        ("a.mkv", "libx265", HEVC_OPEN_GOP, "yuv420p10le"),
        ("a.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}, "yuv420p"),
    ],
)
def test_the_same_clip_as_on_the_processor(
    tmp_path: Path, make_video, session: NvdecSession, name: str, codec: str, options: dict[str, str], pixel_format: str
) -> None:
    path = make_video(
        tmp_path / name, codec, frames=20, size=(120, 88), options=options, pixel_format=pixel_format, moving="square"
    )
    clip = sieve_clip_on_gpu(session, path, SMALL)
    assert_same(clip, sieve_clip(path, SMALL))
    assert clip.slot_scores.any()


@pytest.mark.parametrize("mode", ["none", "mean", "similarity", "rigid", "affine"])
def test_every_camera_mode(tmp_path: Path, make_video, session: NvdecSession, mode: str) -> None:
    path = make_video(tmp_path / "a.mp4", frames=12, size=(96, 64), moving="pan")
    config = dataclasses.replace(SMALL, mv_compensate=mode, fuse="geomean", anchors=1)
    assert_same(sieve_clip_on_gpu(session, path, config), sieve_clip(path, config))


def test_what_changed_since_the_frame_before(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "a.mp4", frames=12, size=(96, 64), moving="square")
    config = dataclasses.replace(CHANGES, policy="random")
    assert_same(sieve_clip_on_gpu(session, path, config), sieve_clip(path, config))


def test_blocks_of_groups_off_keyframes(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "a.mp4", frames=20, size=(96, 64), options=OPEN_GOP)
    config = SieveConfig(
        num_frames=4, input_size=56, k_keep=24, signals="search", merge=2, groups=2, anchors=1, spread="off-keyframe"
    )
    assert_same(sieve_clip_on_gpu(session, path, config), sieve_clip(path, config))


def test_letterboxes_are_the_processors(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "a.mp4", frames=4, size=(96, 64))
    with pytest.raises(ConfigError, match=r"^fit \('letterbox'\) is the processor's; use device cpu$"):
        sieve_clip_on_gpu(session, path, dataclasses.replace(SMALL, fit="letterbox"))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_video(tmp_path: Path, make_video, session: NvdecSession, degrees: int) -> None:
    source = make_video(tmp_path / "a.mp4", frames=8, size=(96, 64), moving="square")
    path = run_ffmpeg(tmp_path / "turned.mp4", "-display_rotation", str(degrees), "-i", source, "-c", "copy")
    assert_same(sieve_clip_on_gpu(session, path, SMALL), sieve_clip(path, SMALL))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_shorter_than_their_slots(tmp_path: Path, make_video, session: NvdecSession, frames: int) -> None:
    path = make_video(tmp_path / "a.mp4", frames=frames, size=(96, 64))
    assert_same(sieve_clip_on_gpu(session, path, SMALL), sieve_clip(path, SMALL))


def test_parts_of_a_file_one_after_another(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "a.mp4", frames=60, size=(96, 64), options=OPEN_GOP)
    for start, end in ((0.9, 1.3), (0.0, 0.4)):
        clip = sieve_clip_on_gpu(session, path, CHANGES, start, end)
        assert_same(clip, sieve_clip(path, CHANGES, start, end))


@pytest.mark.parametrize("most", [1, 3])
def test_more_pictures_than_a_stack_holds(
    tmp_path: Path, make_video, session: NvdecSession, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    for module in (gpu_clip, gpu_stack):
        monkeypatch.setattr(module, "MOST_STACKED", most)
    path = make_video(tmp_path / "a.mp4", frames=20, size=(96, 64))
    assert_same(sieve_clip_on_gpu(session, path, SMALL), sieve_clip(path, SMALL))


def test_no_pixels_where_none_are_asked_for(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "a.mp4", frames=8, size=(96, 64))
    assert_same(sieve_clip_on_gpu(session, path, CHANGES, pixels=False), sieve_clip(path, CHANGES, pixels=False))


def test_what_nvdec_cannot_decode_is_said(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "a.mp4", frames=4, size=(96, 64), pixel_format="yuv444p")
    with pytest.raises(NvdecError, match="not used for yuv444p"):
        sieve_clip_on_gpu(session, path, SMALL)


@pytest.mark.parametrize("bframes", ["0", "2"])
def test_motion_from_decode_statistics(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession, bframes: str
) -> None:
    """Of undivided macroblocks the statistics tell all that FFmpeg does, so the scores are nearly FFmpeg's."""
    nvc.statistics = "tuple"
    options = {"bf": bframes, "refs": "1", "crf": "20", "x264-params": "partitions=none:weightp=0:scenecut=0:8x8dct=0"}
    path = make_video(tmp_path / "a.mp4", frames=16, size=(128, 96), options=options, moving="pan")
    config = dataclasses.replace(SMALL, signals="auto")
    clip, expected = sieve_clip_on_gpu(session, path, config), sieve_clip(path, config)
    assert clip.signals == expected.signals == "bitstream"
    assert (clip.slot_scores.any(axis=(1, 2)) == expected.slot_scores.any(axis=(1, 2))).all()
    shared = len(np.intersect1d(clip.indices, expected.indices)) / len(expected.indices)
    assert shared > 0.9


def test_statistics_are_asked_for_of_codecs_that_have_them(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession
) -> None:
    nvc.statistics = "tuple"
    path = make_video(tmp_path / "a.webm", "libvpx-vp9", frames=8, size=(96, 64))
    assert sieve_clip_on_gpu(session, path, dataclasses.replace(SMALL, signals="auto")).signals == "search"
    with pytest.raises(VideoError, match="a GPU tells no motion for vp9"):
        sieve_clip_on_gpu(session, path, dataclasses.replace(SMALL, signals="bitstream"))


def test_a_picture_without_its_statistics_is_said(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "a.mp4", frames=8, size=(96, 64))
    with pytest.raises(NvdecError, match="without decode statistics"):
        sieve_clip_on_gpu(session, path, dataclasses.replace(SMALL, signals="auto"))
