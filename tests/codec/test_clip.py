"""One clip from file to signals: ranges, short clips, damage, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codec_cases import CLOSED_GOP, OPEN_GOP, run_ffmpeg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from codecsieve.codec.clip import read_clip
from codecsieve.errors import VideoError


def test_shapes_types_and_counts(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=60, size=(98, 66), options=CLOSED_GOP)
    clip = read_clip(path, num_frames=6)
    assert (clip.frame_ids.dtype, clip.frame_ids.shape) == (np.int64, (6,))
    assert (clip.keyframe.dtype, clip.keyframe.shape) == (np.bool_, (6,))
    assert (clip.motion.dtype, clip.motion.shape) == (np.int16, (6, 17, 25, 2))
    assert (clip.residual.dtype, clip.residual.shape) == (np.uint8, (6, 66, 98))
    assert clip.signals == "bitstream"
    assert clip.frames_in_clip == 60
    assert 6 <= clip.pictures_decoded < 40
    assert clip.keyframe[0]
    assert not clip.motion[clip.keyframe].any()
    assert not clip.residual[clip.keyframe].any()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "264"])
@pytest.mark.parametrize("signals", ["bitstream", "search"])
def test_a_range_gives_the_slots_that_the_whole_file_gives_there(
    tmp_path: Path, make_video, suffix: str, signals: str
) -> None:
    path = make_video(tmp_path / f"clip.{suffix}", frames=50, options=OPEN_GOP, moving="pan")
    whole = read_clip(path, num_frames=50, signals=signals, size=56)
    part = read_clip(path, num_frames=15, signals=signals, size=56, start=0.8, end=1.4)
    assert part.frame_ids.tolist() == list(range(20, 35))
    assert part.frames_in_clip == 15
    np.testing.assert_array_equal(part.motion, whole.motion[20:35])
    np.testing.assert_array_equal(part.residual, whole.residual[20:35])
    np.testing.assert_array_equal(part.keyframe, whole.keyframe[20:35])


@pytest.mark.parametrize("signals", ["bitstream", "search"])
def test_repeated_slots_keep_their_own_signals(tmp_path: Path, make_video, signals: str) -> None:
    path = make_video(tmp_path / "short.mp4", frames=3, moving="pan")
    clip = read_clip(path, num_frames=7, signals=signals, size=56)
    once = read_clip(path, num_frames=3, signals=signals, size=56)
    assert clip.frame_ids.tolist() == [0, 0, 0, 1, 1, 1, 2]
    np.testing.assert_array_equal(clip.motion, once.motion[clip.frame_ids])
    np.testing.assert_array_equal(clip.residual, once.residual[clip.frame_ids])
    assert clip.residual[4].any()


@pytest.mark.parametrize(
    ("codec", "name"), [("libx264", "a.mp4"), ("libx264", "a.264"), ("libvpx-vp9", "a.webm"), ("mpeg4", "a.avi")]
)
def test_a_clip_of_one_frame(tmp_path: Path, make_video, codec: str, name: str) -> None:
    clip = read_clip(make_video(tmp_path / name, codec, frames=1), num_frames=4, size=56)
    assert clip.frame_ids.tolist() == [0, 0, 0, 0]
    assert clip.keyframe.all()
    assert clip.frames_in_clip == 1


def test_options_out_of_range_are_named(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=4)
    for options, message in (
        ({"size": 0}, r"size \(0\) must be a positive multiple of patch \(14\)"),
        ({"size": 100}, r"size \(100\) must be a positive multiple of patch \(14\)"),
        ({"patch": 0}, r"patch \(0\)"),
        ({"num_frames": 0}, r"num_frames \(0\) must be > 0"),
        ({"signals": "none"}, r"signals \('none'\) must be one of"),
        ({"decoder_fields": "maybe"}, r"decoder_fields \('maybe'\) must be one of"),
        ({"start": 2.0, "end": 1.0}, r"end \(1.0\) must be > start"),
    ):
        with pytest.raises(ValueError, match=message):
            read_clip(path, **options)
    with pytest.raises(VideoError, match="no frame between 5 s and its end"):
        read_clip(path, start=5.0)
    hevc = make_video(tmp_path / "clip.265", "libx265", frames=4)
    with pytest.raises(VideoError, match="no motion of hevc can be read"):
        read_clip(hevc, signals="bitstream", decoder_fields="off")


def test_a_truncated_file_gives_the_frames_it_holds(tmp_path: Path, make_video) -> None:
    source = make_video(tmp_path / "clip.mp4", frames=60, options=CLOSED_GOP, moving="noise")
    for name, how in (("cut.mp4", ["-movflags", "faststart"]), ("cut.mkv", []), ("cut.ts", []), ("cut.avi", [])):
        path = run_ffmpeg(tmp_path / name, "-i", source, "-c", "copy", *how)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 6 // 10])
        clip = read_clip(path, num_frames=8)
        assert 25 <= clip.frames_in_clip <= 45
        assert len(set(clip.frame_ids.tolist())) >= 7  # the last picture may be cut through


DAMAGE: list[tuple[str, str]] = [
    ("libx264", "a.mp4"),
    ("libx264", "a.ts"),
    ("libx264", "a.264"),
    ("libx265", "a.mkv"),
    ("mpeg4", "a.avi"),
    ("mpeg2video", "a.mpg"),
    ("libvpx-vp9", "a.webm"),
    ("libsvtav1", "a.mp4"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "name"), DAMAGE)
def test_damage_gives_a_result_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, make_video, codec: str, name: str
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    content = make_video(folder / name, codec, frames=24, moving="pan").read_bytes()
    path = folder / f"damaged_{name}"

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=40)), min_size=1, max_size=6),
        st.floats(0.2, 1),
    )
    @example([(0.0, b"\xff" * 40)], 1.0)
    def check(damages: list[tuple[float, bytes]], kept: float) -> None:
        damaged = bytearray(content)
        for where, what in damages:
            at = int(where * len(damaged))
            damaged[at : at + len(what)] = what
        path.write_bytes(damaged[: int(kept * len(damaged)) + 1])
        message = ""
        try:
            clip = read_clip(path, num_frames=6, size=56)
        except VideoError as error:
            message = str(error)
        else:
            assert len(clip.frame_ids) == len(clip.motion) == len(clip.residual) == 6
        assert not message or message.startswith(f"{path}: ")
        assert "\n" not in message

    check()


@pytest.mark.parametrize("signals", ["bitstream", "search"])
def test_a_change_of_size_in_mid_stream(tmp_path: Path, make_video, signals: str) -> None:
    path = tmp_path / "both.264"
    first = make_video(tmp_path / "a.264", frames=10, size=(96, 64), moving="pan").read_bytes()
    second = make_video(tmp_path / "b.264", frames=10, size=(64, 96), moving="pan").read_bytes()
    path.write_bytes(first + second)
    clip = read_clip(path, num_frames=20, signals=signals, size=56)
    assert clip.frames_in_clip == 20
    expected = (64, 96) if signals == "bitstream" else (56, 56)
    assert clip.residual.shape[1:] == expected


def test_a_video_whose_pictures_are_all_lost(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=10)
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)
    with pytest.raises(VideoError, match="no picture could be decoded; the file is damaged"):
        read_clip(path, num_frames=4)
