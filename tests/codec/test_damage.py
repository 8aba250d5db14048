"""Damaged packets cost their pictures, and not the clip, whatever the codec and the damage."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from codec_cases import CLOSED_GOP, HEVC_OPEN_GOP, OPEN_GOP
from forked import Process

from codecsieve.errors import VideoError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.transcode.config import TranscodeOptions
from codecsieve.pipelines.transcode.plan import TranscodeJob
from codecsieve.pipelines.transcode.run import transcode_one

MakeVideo = Callable[..., Path]
FRAMES = 24
EVERY = SieveConfig(num_frames=FRAMES, k_keep=64)
MPEG = {"g": "8", "bf": "2"}
CODECS = {
    "libx264 closed": ("mp4", "libx264", CLOSED_GOP, "yuv420p"),
    "libx264 open": ("mkv", "libx264", OPEN_GOP, "yuv420p"),
    "libx264 of ten bits": ("mp4", "libx264", CLOSED_GOP, "yuv444p10le"),
    "libx264 in a raw stream": ("264", "libx264", CLOSED_GOP, "yuv420p"),
    "libx265": ("mp4", "libx265", HEVC_OPEN_GOP, "yuv420p"),
    "libvpx-vp9": ("webm", "libvpx-vp9", {"g": "8", "cpu-used": "8", "deadline": "realtime"}, "yuv420p"),
    "libvpx": ("webm", "libvpx", {"g": "8", "cpu-used": "8", "deadline": "realtime"}, "yuv420p"),
    "libsvtav1": ("mkv", "libsvtav1", {"g": "8", "preset": "12"}, "yuv420p"),
    "mpeg2video": ("ts", "mpeg2video", MPEG, "yuv422p"),
    "mpeg1video": ("mpg", "mpeg1video", MPEG, "yuv420p"),
    "mpeg4": ("mp4", "mpeg4", MPEG, "yuv420p"),
    "mpeg4 in AVI": ("avi", "mpeg4", MPEG, "yuv420p"),
    "mjpeg": ("avi", "mjpeg", {}, "yuvj420p"),
    "ffv1": ("mkv", "ffv1", {}, "yuv420p"),
    "prores": ("mov", "prores_ks", {}, "yuv422p10le"),
    "huffyuv": ("avi", "huffyuv", {}, "yuv422p"),
    "png": ("mov", "png", {}, "rgb24"),
    "qtrle": ("mov", "qtrle", {}, "rgb24"),
    "gif": ("gif", "gif", {"g": "8"}, "rgb8"),
    "flv": ("flv", "flv", {"g": "8"}, "yuv420p"),
    "wmv2": ("asf", "wmv2", {"g": "8"}, "yuv420p"),
    "h263": ("avi", "h263", {"g": "8"}, "yuv420p"),
    "theora": ("ogv", "libtheora", {"g": "8"}, "yuv420p"),
    "dnxhd": ("mov", "dnxhd", {"profile": "dnxhr_hq"}, "yuv422p"),
}


def encode(folder: Path, make_video: MakeVideo, name: str) -> Path:
    suffix, codec, options, pixel_format = CODECS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    size = (176, 144) if codec == "h263" else (320, 192)
    path = folder / f"whole.{suffix}"
    return make_video(path, codec, FRAMES, size, options=options, moving="pan", pixel_format=pixel_format)


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Where each packet that stands in a file in one piece begins, and its bytes."""
    content = path.read_bytes()
    with av.open(str(path)) as container:
        found = [(p.pos, p.size, bytes(p)) for p in container.demux(video=0) if p.size and p.pos is not None]
    places = [(content.find(data, at, at + size + 64), size) for at, size, data in found]
    return [place for place in places if place[0] >= 0]


def damage(content: bytearray, packets: list[tuple[int, int]], draw: random.Random) -> None:
    """Flip bits of packets, overwrite their heads, tails or all, or exchange one with another."""
    for at, size in packets:
        end = at + size
        match draw.choice(["flip", "head", "tail", "all", "ones", "exchange"]):
            case "flip":
                for _ in range(draw.choice([1, 4, 32])):
                    content[draw.randrange(at, end)] ^= 1 << draw.randrange(8)
            case "head":
                count = min(size, draw.randrange(1, 24))
                content[at : at + count] = draw.randbytes(count)
            case "tail":
                kept = draw.randrange(size)
                content[at + kept : end] = bytes(size - kept)
            case "all":
                content[at:end] = draw.randbytes(size)
            case "ones":
                begins = draw.randrange(at, end)
                count = min(end - begins, draw.randrange(1, 64))
                content[begins : begins + count] = b"\xff" * count
            case "exchange":
                other, length = draw.choice(packets)
                count = min(size, length)
                here, there = content[at : at + count], content[other : other + count]
                content[at : at + count], content[other : other + count] = there, here


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CODECS.keys() - {"gif"}))  # where a GIF's next picture begins, this one tells
def test_one_damaged_packet_leaves_the_other_pictures(tmp_path: Path, make_video: MakeVideo, name: str) -> None:
    """Of VP9, whose decoder says "Resource temporarily unavailable" of such a packet, as of any other."""
    path = encode(tmp_path, make_video, name)
    whole, content, packets = sieve_clip(path, EVERY), path.read_bytes(), packets_of(path)
    if not packets:
        pytest.skip("its packets do not stand in the file in one piece")
    draw = random.Random(name)
    damaged = path.with_stem("damaged")
    for _ in range(4):
        spoilt = bytearray(content)
        at, size = draw.choice(packets[1:])  # the first may be all that there is to begin with
        spoilt[at : at + size] = draw.randbytes(size) if draw.random() < 0.5 else bytes(size)
        damaged.write_bytes(spoilt)
        clip = sieve_clip(damaged, EVERY)
        assert clip.frames >= whole.frames - 12
        assert clip.distinct_frames >= 8
        assert clip.filled == (clip.frame_ids != whole.frame_ids).sum() or clip.frames != whole.frames


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CODECS))
def test_damage_of_any_kind_gives_pictures_or_one_line(tmp_path: Path, make_video: MakeVideo, name: str) -> None:
    path = encode(tmp_path, make_video, name)
    content, packets = path.read_bytes(), packets_of(path)
    draw = random.Random(f"{name}, again")
    paths = []
    for number in range(12):
        spoilt = bytearray(content)
        damage(spoilt, draw.sample(packets, min(len(packets), draw.choice([1, 2, 6, len(packets)]))), draw)
        paths.append(path.with_stem(f"damaged-{number}"))
        paths[-1].write_bytes(spoilt)
    # A process of its own: a decoder that crashes or hangs is told as such.
    process = Process(target=sieve_all, args=(paths,))
    process.start()
    process.join(120)
    process.kill()
    assert process.exitcode == 0


def sieve_all(paths: list[Path]) -> None:
    for path in paths:
        try:
            clip = sieve_clip(path, SieveConfig(num_frames=8, k_keep=64))
            assert clip.patches.shape == (64, 3, 14, 14)
        except VideoError as error:
            line = str(error)
            assert line.startswith(f"{path}: "), line
            assert ";" in line, line
            assert "\n" not in line, line


def test_all_packets_damaged_is_one_line(tmp_path: Path, make_video: MakeVideo) -> None:
    path = encode(tmp_path, make_video, "libvpx-vp9")
    spoilt = bytearray(path.read_bytes())
    for at, size in packets_of(path):
        spoilt[at : at + size] = bytes(size)
    path.write_bytes(spoilt)
    with pytest.raises(VideoError, match=r"whole.webm: .*; "):
        sieve_clip(path, EVERY)


def test_a_decoder_that_is_stuck_at_a_damaged_picture_goes_on_at_the_next_keyframe(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    """Of a file without timestamps, which is decoded in one go."""
    options = {"g": "8", "preset": "12"}
    path = make_video(tmp_path / "clip.obu", "libsvtav1", FRAMES, (320, 192), options=options, moving="pan")
    content = path.read_bytes()
    with av.open(str(path)) as container:
        keyframes = [content.index(bytes(p)) + p.size for p in container.demux(video=0) if p.size and p.is_keyframe]
    for number, end in enumerate(keyframes):
        damaged = path.with_stem(f"damaged-{number}")
        damaged.write_bytes(content[: end - 400] + b"\xff" * 400 + content[end:])
        assert sieve_clip(damaged, EVERY).distinct_frames >= FRAMES - 8


@pytest.mark.parametrize("suffix", ["m2v", "ts"])
def test_a_field_whose_second_is_missing_is_shown(tmp_path: Path, make_video: MakeVideo, suffix: str) -> None:
    path = make_video(tmp_path / f"clip.{suffix}", "mpeg2video", frames=1, options={"flags": "+ildct"})
    content = bytearray(path.read_bytes())
    at = content.index(b"\0\0\1\xb5\x8f") + 6  # in the picture's coding extension (ISO/IEC 13818-2 6.2.3.1)
    content[at] = content[at] & ~3 | 1  # picture_structure: no frame but a top field
    path.write_bytes(content)
    clip = sieve_clip(path, EVERY)
    assert (clip.frames, clip.signals) == (1, "bitstream")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["libvpx-vp9", "mpeg4"])
def test_transcoding_makes_do_with_what_decodes(tmp_path: Path, make_video: MakeVideo, name: str) -> None:
    path = encode(tmp_path, make_video, name)
    spoilt = bytearray(path.read_bytes())
    at, size = packets_of(path)[12]
    spoilt[at : at + size] = bytes(size)
    path.write_bytes(spoilt)
    result = transcode_one(TranscodeJob(path, tmp_path / "out.mp4"), TranscodeOptions(preset="ultrafast"))
    assert (result.status, result.error) == ("done", None)
    assert result.frames >= FRAMES - 12


def test_a_packet_whose_size_makes_no_sense_ends_the_file(tmp_path: Path, make_video: MakeVideo) -> None:
    """FFmpeg says that there is no memory for it."""
    path = make_video(tmp_path / "clip.ivf", "libvpx-vp9", FRAMES, moving="pan", options={"g": "8"})
    content = bytearray(path.read_bytes())
    at, _ = packets_of(path)[12]
    header = content.rindex((12).to_bytes(8, "little"), 0, at) - 4  # size, then the timestamp
    content[header : header + 4] = b"\xf0\xff\xff\xff"
    path.write_bytes(content)
    assert sieve_clip(path, EVERY).frames == 12
