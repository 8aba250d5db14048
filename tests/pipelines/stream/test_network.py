"""Streams off the network as cameras send them: RTSP, and MPEG-TS in datagrams; losses, and silence."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from rtsp_server import camera, rtp_packets

import codecsieve as cs

pytestmark = pytest.mark.slow
MakeVideo = Callable[..., Path]
SMALL: dict[str, Any] = {"window": 8, "stride": 8, "input_size": 56, "k_keep": 40}


@pytest.fixture(scope="module")
def clip(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 pictures at 25/s, a keyframe every 12."""
    path = tmp_path_factory.mktemp("clip") / "clip.ts"
    return make_video(path, frames=100, size=(128, 96), options={"g": "12", "bf": "0"})


def taken(address: str, **options: Any) -> tuple[list[cs.StreamWindow], str]:
    """The windows that come, and the line that it ends with, or ""."""
    windows: list[cs.StreamWindow] = []
    try:
        windows.extend(one for one in cs.stream(address, **SMALL, **options))
    except cs.VideoError as error:
        return windows, str(error)
    return windows, ""


def test_a_camera_gives_what_its_file_does(clip: Path) -> None:
    with camera(clip) as address:
        windows, line = taken(address)
    truth = list(cs.stream(clip, **SMALL))
    assert line == ""
    assert len(windows) == len(truth) == 12
    for one, other in zip(windows, truth, strict=True):
        for name in ("frame_ids", "indices", "scores", "patches"):
            np.testing.assert_array_equal(getattr(one.selection, name), getattr(other.selection, name), name)
        np.testing.assert_allclose(np.diff(one.times)[1:], 0.04, atol=1e-4)  # FFmpeg does not time RTSP's first
        assert one.notes == ()


def test_so_many_a_second_of_a_camera(clip: Path) -> None:
    """Counted from the first picture that has a time, which is the second."""
    with camera(clip) as address:
        windows, _ = taken(address, fps=5)
    assert windows[0].selection.frame_ids.tolist() == [0, 6, 11, 16, 21, 26, 31, 36]


def test_packets_that_are_lost_are_noted_and_the_stream_goes_on(clip: Path) -> None:
    inside = [number for number, packet in enumerate(rtp_packets(clip)) if len(packet) > 1000]
    with camera(clip, lost=frozenset(inside[1::4])) as address:
        windows, line = taken(address)
    assert line == ""
    assert 10 <= len(windows) <= 12
    assert any("damaged" in note for window in windows for note in window.notes)


def test_a_camera_that_stops_is_said_behind_what_came(clip: Path) -> None:
    with camera(clip, hold=20) as address:
        windows, line = taken(address, patience=1)
    assert len(windows) == 12
    assert line.startswith("rtsp://127.0.0.1:")
    assert "/camera: nothing came for 1 s" in line
    assert "secret" not in line


def test_a_camera_that_never_answers_is_said(clip: Path) -> None:
    began = time.monotonic()
    with camera(clip, mute=True) as address, pytest.raises(cs.VideoError, match="/camera: nothing came for 1 s"):
        cs.stream(address, patience=1)
    assert time.monotonic() - began < 10


def test_where_nobody_listens_it_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(cs.VideoError, match=r"not a readable video \(Connection refused\); check the address"):
        cs.stream(f"rtsp://127.0.0.1:{port}/camera")


@contextmanager
def datagrams(data: bytes, lost: int = 0) -> Iterator[str]:
    """The address to listen at, to which data is sent once, seven packets of MPEG-TS a datagram, each `lost`-th not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ended = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, contextlib.suppress(ConnectionRefusedError):
            sender.connect(("127.0.0.1", port))
            _wait_for_listener(sender, ended)
            for number, at in enumerate(range(0, len(data), 1316)):
                if not lost or number % lost != lost - 1:
                    sender.send(data[at : at + 1316])
                time.sleep(0.002)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield f"udp://127.0.0.1:{port}"
    finally:
        ended.set()
        thread.join()


def _wait_for_listener(sender: socket.socket, ended: threading.Event) -> None:
    """Send packets that every reader passes over, until one is not refused."""
    while not ended.wait(0.02):
        try:
            sender.send(b"\x47\x1f\xff\x10" + bytes(184))
            time.sleep(0.05)  # for the refusal to come back
            sender.send(b"\x47\x1f\xff\x10" + bytes(184))
        except ConnectionRefusedError:
            continue
        return


@pytest.mark.parametrize("lost", [0, 9])
def test_datagrams_give_windows_until_they_stop(lost: int, clip: Path) -> None:
    with datagrams(clip.read_bytes(), lost) as address:
        windows, line = taken(address, patience=3)
    assert f"{address}: nothing came for 3 s; has its sender stopped?" in line
    assert len(windows) >= (8 if lost else 11)  # the last picture's end is not known before the next one begins
    notes = [note for window in windows for note in window.notes]
    assert any("damaged" in note for note in notes) == bool(lost)


def test_a_video_that_stops_while_its_sound_goes_on_is_silent(clip: Path, tmp_path: Path) -> None:
    """A minute of sound, a little at a time, behind four seconds of video."""
    path = tmp_path / "sound.ts"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("mp2", rate=48_000, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
        for number in range(1500):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), "s16", "mono")
            frame.rate, frame.pts = 48_000, number * 1152
            target.mux(sound.encode(frame))
        target.mux(sound.encode())

    class Paced:
        def __init__(self) -> None:
            self._file = path.open("rb")

        def read(self, size: int) -> bytes:
            if self._file.tell() > clip.stat().st_size:
                time.sleep(0.05)
            return self._file.read(min(size, 2000))

    windows: list[cs.StreamWindow] = []
    with pytest.raises(cs.VideoError, match="stream: nothing came for 1 s"):
        windows.extend(one for one in cs.stream(Paced(), patience=1, **SMALL))
    assert len(windows) >= 11
