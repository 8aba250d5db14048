"""Decoding by plan gives, for every kind of file, exactly the pixels of a plain decode from start to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codec_cases import (
    CLOSED_GOP,
    HEVC_OPEN_GOP,
    OPEN_GOP,
    decode_all,
    decode_wanted,
    run_ffmpeg,
)

from codecsieve.codec import scanned
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.packets import open_source

VP9 = {"g": "12", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8", "deadline": "realtime"}
AV1 = {"g": "12", "preset": "12"}
MPEG = {"g": "10", "bf": "2"}
KINDS = [
    *[(suffix, "libx264", OPEN_GOP) for suffix in ("mp4", "mkv", "ts", "avi", "264", "mov", "flv")],
    *[(suffix, "libx264", CLOSED_GOP) for suffix in ("mp4", "asf")],
    *[(suffix, "libx265", HEVC_OPEN_GOP) for suffix in ("mp4", "mkv", "ts", "265")],
    *[(suffix, "libvpx-vp9", VP9) for suffix in ("webm", "mp4")],
    *[(suffix, "libsvtav1", AV1) for suffix in ("mkv", "mp4", "obu")],
    *[(suffix, "mpeg4", MPEG) for suffix in ("avi", "mp4", "mkv")],
    *[(suffix, codec, MPEG) for codec in ("mpeg1video", "mpeg2video") for suffix in ("mpg", "ts", "avi", "mp4")],
    ("m2v", "mpeg2video", MPEG),
    ("mkv", "ffv1", {}),
]
FRAMES = 48
SUBSETS = [
    *[[index] for index in range(0, FRAMES, 3)],
    *[[0, 24, 35], [2, 22, 45], [10, 11, 12, 13], [1, 46], [9, 20, 30], [21, 33, 45], [21, 32, 44], [33, 47]],
    list(range(FRAMES)),
]
"""Alone, with GOPs between them that are passed over, across the borders of GOPs, and all."""


def assert_same_pixels(path: Path, subsets: list[list[int]]) -> None:
    whole = decode_all(path)
    for wanted in subsets:
        pictures = decode_wanted(path, wanted)
        assert sorted(pictures) == wanted
        for index, luma in pictures.items():
            np.testing.assert_array_equal(luma, whole[index], err_msg=f"frame {index} of {wanted}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "codec", "options"), KINDS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_planned_frames_are_those_of_a_full_decode(
    tmp_path: Path, make_video, suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = make_video(tmp_path / f"clip.{suffix}", codec, frames=FRAMES, options=options, moving="pan")
    assert_same_pixels(path, SUBSETS)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(
    "how",
    [
        ["-movflags", "frag_keyframe+empty_moov"],
        ["-movflags", "frag_every_frame+empty_moov+default_base_moof"],
        ["-movflags", "faststart"],
        ["-movflags", "negative_cts_offsets"],
        ["-output_ts_offset", "7.5"],
    ],
    ids=["a fragment a GOP", "a fragment a picture", "index first", "negative offsets", "late start"],
)
def test_layouts_of_mp4(tmp_path: Path, make_video, codec: str, how: list[str]) -> None:
    options = OPEN_GOP if codec == "libx264" else HEVC_OPEN_GOP
    source = make_video(tmp_path / "source.mp4", codec, frames=FRAMES, options=options, moving="pan")
    assert_same_pixels(run_ffmpeg(tmp_path / "clip.mp4", "-i", source, "-c", "copy", *how), SUBSETS)


@pytest.mark.parametrize("options", [OPEN_GOP, CLOSED_GOP], ids=["open", "closed"])
def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path: Path, make_video, options: dict[str, str]) -> None:
    source = make_video(tmp_path / "source.mp4", frames=FRAMES, options=options, moving="pan")
    path = run_ffmpeg(tmp_path / "cut.mp4", "-ss", "0.7", "-i", source, "-c", "copy")
    with open_source(str(path)) as opened:
        hidden = [gop for gop in map(opened.read, range(opened.gops)) if (gop.display < 0).any()]
        shown = opened.frames
    assert hidden
    assert shown == FRAMES - 18  # 0.7 s are 17.5 frames
    np.testing.assert_array_equal(decode_wanted(path, [0])[0], decode_all(source)[18])
    assert_same_pixels(path, [[0], [5], [0, 20], list(range(shown))])


def test_variable_frame_rate(tmp_path: Path, make_video) -> None:
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (20, 48, 64), np.uint8))
    times = np.cumsum(random.integers(5, 400, 20)).tolist()
    path = make_video(tmp_path / "clip.mp4", pictures=pictures, options={"g": "5", "bf": "2"}, times=times)
    assert_same_pixels(path, [[0], [19], [3, 17], list(range(20))])


def test_a_cut_between_gops_of_a_long_file_does_not_empty_the_decoder_early(tmp_path: Path, make_video) -> None:
    # B-pictures leave the decoder only later: passing over GOPs, which seeks, must not lose them.
    path = make_video(tmp_path / "long.mp4", frames=120, options=CLOSED_GOP, moving="pan")
    wanted = [5, 40, 75, 119]
    assert sorted(decode_wanted(path, wanted)) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("worth_seeking", [0, 500])
def test_a_file_too_large_to_keep_is_read_twice(
    tmp_path: Path, make_video, monkeypatch: pytest.MonkeyPatch, worth_seeking: int
) -> None:
    path = make_video(tmp_path / "clip.mkv", frames=FRAMES, options=OPEN_GOP, moving="pan")
    monkeypatch.setattr(scanned, "KEEP_BYTES", 1000)
    monkeypatch.setattr(scanned, "WORTH_SEEKING", worth_seeking)
    with open_source(str(path)) as source:
        assert source.kept is None
    assert_same_pixels(path, SUBSETS)


def test_pictures_know_what_they_are(tmp_path: Path, make_video) -> None:
    path = make_video(
        tmp_path / "clip.mp4", frames=13, options={"bf": "2", "g": "12", "x264-params": "b-adapt=0:b-pyramid=none"}
    )
    with open_source(str(path)) as source:
        pictures = list(decode_pictures(source, np.arange(13), motion=True))
    assert [picture.display_index for picture in pictures] == list(range(13))
    assert pictures[0].intra
    assert pictures[0].motion_records() is None
    b_pictures = [picture for picture in pictures if picture.bidirectional]
    assert b_pictures
    assert not any(picture.reference for picture in b_pictures)
    assert all(picture.reference for picture in pictures if not picture.bidirectional)
    records = b_pictures[0].motion_records()
    assert records is not None
    assert set(records[0].tolist()) <= {-1, 1}


def test_decoding_is_the_same_every_time(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=24, options=OPEN_GOP, moving="pan")

    def motion() -> list[bytes]:
        with open_source(str(path)) as source:
            pictures = decode_pictures(source, np.arange(24), motion=True)
            return [b"".join(field.tobytes() for field in picture.motion_records() or ()) for picture in pictures]

    assert motion() == motion()
