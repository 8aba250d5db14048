"""A raw stream ends where its last picture does, whatever its file has behind it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codecsieve.codec import raw
from codecsieve.codec.containers import SELF_CONTAINED
from codecsieve.codec.raw import RAW_STREAMS, end_of_stream
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip

MakeVideo = Callable[..., Path]
SMALL = SieveConfig(num_frames=8, k_keep=64)
STREAMS = {"264": "libx264", "265": "libx265", "m2v": "mpeg2video", "mjpeg": "mjpeg", "gif": "gif"}
FORMATS = {"mjpeg": "yuvj420p", "gif": "rgb8"}


def grow(path: Path, size: int) -> None:
    """Let a file have so many bytes more, which take no room on the disk and read as zeros."""
    os.truncate(path, path.stat().st_size + size)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", sorted(STREAMS))
def test_what_is_before_a_tail_of_zeros_is_all_there(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(raw, "LONGEST_PICTURE", 4 << 20)
    path = make_video(
        tmp_path / f"clip.{suffix}", STREAMS[suffix], frames=12, pixel_format=FORMATS.get(suffix, "yuv420p")
    )
    whole = sieve_clip(path, SMALL)
    grow(path, 64 << 20)
    end = end_of_stream(str(path), path.stat().st_size)
    assert end is not None
    assert end <= 1 << 20
    clip = sieve_clip(path, SMALL)
    assert (clip.frames, clip.patches.tobytes()) == (whole.frames, whole.patches.tobytes())


@pytest.mark.parametrize("suffix", ["264", "265", "m2v"])
def test_a_stream_whose_beginning_is_damaged_is_one_yet(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(raw, "LONGEST_PICTURE", 4 << 20)
    path = make_video(tmp_path / f"clip.{suffix}", STREAMS[suffix], frames=12, options={"g": "4"})
    content = path.read_bytes()
    path.write_bytes(random.Random(0).randbytes(64).replace(b"\0", b"\1") + content[8:])
    grow(path, 64 << 20)
    assert end_of_stream(str(path), path.stat().st_size) == 1 << 20


def test_a_file_of_sizes_without_its_beginning_may_be_taken_for_a_raw_stream(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "LONGEST_PICTURE", 4 << 20)
    path = make_video(tmp_path / "clip.mov", "jpeg2000", frames=12)
    path.write_bytes(path.read_bytes()[100:])
    grow(path, 64 << 20)
    assert end_of_stream(str(path), path.stat().st_size) == 1 << 20


def test_every_raw_stream_is_a_format_that_is_read() -> None:
    assert RAW_STREAMS.keys() <= SELF_CONTAINED


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak of memory from /proc")
def test_a_tail_of_gigabytes_takes_no_gigabytes_of_memory(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "clip.264", frames=12)
    grow(path, 3 << 30)
    program = (
        "from codecsieve.pipelines.sieve.clip import sieve_clip\n"
        f"assert sieve_clip({str(path)!r}).frames == 12\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert int(ended.stdout) < 500 * 1024, ended.stderr


def test_damage_that_is_no_longer_than_a_picture_may_be_ends_nothing(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "LONGEST_PICTURE", 8 << 20)
    path = make_video(tmp_path / "clip.264", frames=12)
    stream = path.read_bytes()
    path.write_bytes(stream + bytes(6 << 20) + stream + bytes(6 << 20) + stream)
    assert end_of_stream(str(path), path.stat().st_size) is None
    path.write_bytes(stream + bytes(10 << 20) + stream)
    assert end_of_stream(str(path), path.stat().st_size) == 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mpg"])
def test_streams_with_sizes_are_left_to_their_containers(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(raw, "LONGEST_PICTURE", 4 << 20)
    path = make_video(tmp_path / f"clip.{suffix}", "mpeg2video" if suffix == "mpg" else "mpeg4", frames=12)
    with path.open("ab") as file:
        file.write(random.Random(0).randbytes(12 << 20).replace(b"\0\0\1", b"\0\0\2"))
    if suffix != "mpg":  # its packets begin as pictures do
        assert end_of_stream(str(path), path.stat().st_size) is None
    assert sieve_clip(path, SMALL).frames >= 11
