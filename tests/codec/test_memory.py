"""What a clip may take in memory is told from its header, and what would take too much is refused undecoded."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.memory import HELD_BYTES, clip_bytes, largest_picture
from codecsieve.codec.packets import open_source
from codecsieve.codec.parameter_sets import first_sequence, read_hevc_sequence
from codecsieve.errors import VideoError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip

MakeVideo = Callable[..., Path]
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "ffv1", "a codec of tomorrow")
SMALL = SieveConfig(num_frames=8, k_keep=64)
FASTEST = {"preset": "ultrafast"}
MB = 10**6


def flat(count: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Pictures that are quickly made and quickly encoded, none like the one before."""
    width, height = size
    pictures = np.full((count, height, width), 128, np.uint8)
    for number, picture in enumerate(pictures):
        picture[height // 4 : height // 4 + 64, 32 * number : 32 * number + 64] = 250
    return list(pictures)


@pytest.mark.parametrize("codec", CODECS)
def test_more_samples_take_more_memory(codec: str) -> None:
    sizes = [(64, 48), (640, 360), (1920, 1080), (3840, 2160), (8192, 8192), (16384, 16384)]
    for pixel_format in ("gray", "yuv420p", "yuv444p12le", "rgb24", "nv12", ""):
        needed = [clip_bytes(codec, pixel_format, *size) for size in sizes]
        assert all(after > before - HELD_BYTES for before, after in itertools.pairwise(needed))  # not of large ones
        assert needed[-1] > 3 * needed[-2]
    formats = ("gray", "yuv420p", "yuv422p", "yuv444p", "yuv444p10le")
    needed = [clip_bytes(codec, pixel_format, 8192, 8192) for pixel_format in formats]
    assert needed == sorted(set(needed))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("limit", [200 * MB, 10**9, 4 * 10**9, 10**12])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p12le", "rgb24"])
def test_a_decoder_is_let_make_every_picture_that_fits_and_none_of_twice_the_size(
    codec: str, limit: int, pixel_format: str
) -> None:
    most = largest_picture(codec, pixel_format, None, limit)
    random = np.random.default_rng(0)
    for width, height in 2 ** random.uniform(3, 15, (500, 2)):
        sides = int(width), int(height)
        if clip_bytes(codec, pixel_format, *sides) <= limit:
            assert sides[0] * sides[1] <= most
    side = int((2 * most) ** 0.5) + 1
    assert clip_bytes(codec, pixel_format, side, side) > limit


def test_hevc_says_how_many_pictures_its_decoder_holds(tmp_path: Path, make_video: MakeVideo) -> None:
    held = {}
    for refs in (1, 4):
        options = {"x265-params": f"log-level=error:bframes=0:ref={refs}:temporal-layers=0"}
        path = make_video(tmp_path / f"{refs}.mp4", "libx265", frames=12, options=options)
        with open_source(str(path)) as source:
            held[refs] = source.facts.references
            extradata = source.stream.codec_context.extradata
        sequence = first_sequence("hevc", extradata)
        assert sequence is not None
        assert read_hevc_sequence(sequence).pictures == held[refs]
    assert held[1] < held[4] <= 6


@pytest.mark.slow
def test_a_picture_too_large_is_refused_with_both_numbers_and_nothing_decoded(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    path = make_video(tmp_path / "large.mp4", pictures=flat(3, (4096, 2304)), pixel_format="yuv444p", options=FASTEST)
    with pytest.raises(VideoError) as caught:
        sieve_clip(path, SMALL, max_memory=300 * MB)
    with open_source(str(path)) as source:
        needed = clip_bytes("h264", "yuv444p", 4096, 2304, source.facts.references)
    assert str(caught.value) == (
        f"{path}: 4096x2304 yuv444p may take {needed / MB:.3g} MB of memory, over the 300 MB that --max-memory allows; "
        "raise that, or scale it down first"
    )
    for enough in (needed + MB, 10**15):
        assert sieve_clip(path, SMALL, max_memory=enough).frames == 3


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_packets_between_keyframes_count(tmp_path: Path, make_video: MakeVideo, suffix: str) -> None:
    """They are held whole, a GOP and the next."""
    path = make_video(tmp_path / f"long.{suffix}", frames=30, moving="noise", size=(320, 256))
    packets = path.stat().st_size
    room = clip_bytes("h264", "yuv420p", 320, 256, 3)
    message = r"MB of it packets between keyframes, over the .* that --max-memory allows; .* more keyframes$"
    with pytest.raises(VideoError, match=message):
        open_source(str(path), max_memory=room + packets)
    open_source(str(path), max_memory=room + 4 * packets).close()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["264", "ts"])
def test_a_size_that_the_stream_changes_to_is_bounded_too(tmp_path: Path, make_video: MakeVideo, suffix: str) -> None:
    small = make_video(tmp_path / f"small.{suffix}", frames=12, size=(320, 256))
    large = make_video(tmp_path / f"large.{suffix}", pictures=flat(6, (4096, 2304)), options=FASTEST)
    path = tmp_path / f"both.{suffix}"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    limit = 250 * MB
    with open_source(str(path), max_memory=limit) as source:
        widths = {p.frame.width for p in decode_pictures(source, np.arange(source.frames), motion=False)}
    assert widths == {320}, "the decoder refuses what it has no room for, before it makes any"
    with open_source(str(path)) as source:
        widths = {p.frame.width for p in decode_pictures(source, np.arange(source.frames), motion=False)}
    assert widths == {320, 4096}


@pytest.mark.slow
def test_samples_that_the_stream_changes_to_are_bounded_too(tmp_path: Path, make_video: MakeVideo) -> None:
    """As many pixels, and twice the bytes: the decoder has no option for that."""
    parts = [
        make_video(tmp_path / f"{name}.264", pictures=flat(6, (3072, 1728)), pixel_format=name, options=FASTEST)
        for name in ("yuv420p", "yuv444p10le")
    ]
    path = tmp_path / "both.264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    limit = clip_bytes("h264", "yuv420p", 3072, 1728, 16) - 10 * MB
    with pytest.raises(VideoError, match=r"3072x1728 yuv444p10le may take .* of memory, over the .* allows"):
        sieve_clip(path, SMALL, max_memory=limit)


MEASURED = {
    "h264 of ten bits, 4:4:4": ("mp4", "libx264", "yuv444p10le", {"preset": "ultrafast", "bf": "3", "refs": "3"}),
    "vp9": ("webm", "libvpx-vp9", "yuv444p", {"deadline": "realtime", "cpu-used": "8"}),
    "mpeg4": ("mp4", "mpeg4", "yuv420p", {"bf": "2"}),
    "mjpeg": ("avi", "mjpeg", "yuvj444p", {}),
    "png": ("mov", "png", "rgb24", {"compression_level": "1"}),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resets a process's peak of memory by /proc")
@pytest.mark.parametrize("name", sorted(MEASURED))
def test_the_estimate_is_no_less_than_what_a_process_takes(tmp_path: Path, make_video: MakeVideo, name: str) -> None:
    suffix, codec, pixel_format, options = MEASURED[name]
    size = (2560, 1440)
    path = make_video(
        tmp_path / f"clip.{suffix}", codec, pictures=flat(20, size), options=options, pixel_format=pixel_format
    )
    program = f"""
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.codec.packets import open_source
from codecsieve.codec.memory import clip_bytes
def field(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))
before = field("VmRSS")
sieve_clip({str(path)!r})
with open_source({str(path)!r}) as source:
    facts = source.facts
print(field("VmHWM") - before, clip_bytes(facts.codec, facts.pixel_format, facts.width, facts.height, facts.references))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    taken, told = map(int, ended.stdout.split())
    assert 0.9 * taken < told < 4 * taken
