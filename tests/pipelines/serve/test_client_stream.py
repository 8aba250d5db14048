"""The client's streams against a real service: the windows of `cs.stream`, once each, whatever the network does."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Running, running

import codecsieve as cs
from codecsieve.client import RemoteWindow
from codecsieve.pipelines.serve.keys import Keys

pytestmark = pytest.mark.slow
SMALL: dict[str, Any] = {"window": 8, "stride": 4, "input_size": 56, "k_keep": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """With videos/clip.mkv of 48 pictures, and videos/notes.txt, which is none."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "videos").mkdir()
    make_video(folder / "videos" / "clip.mkv", frames=48, options={"bf": "0"})
    (folder / "videos" / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[tuple[Running, str]]:
    """A service of that folder, and a key that may sieve."""
    secret = Keys(folder / "data").add("me", ["sieve"])
    Keys(folder / "data").add("reader", ["read"])
    with running(folder, "--patience", "4") as service:
        yield service, secret


@pytest.fixture(scope="module")
def client(service: tuple[Running, str]) -> Iterator[cs.Client]:
    with cs.Client(service[0].url, key=service[1], retries=3, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def truth(folder: Path) -> list[cs.StreamWindow]:
    windows = list(cs.stream(folder / "videos" / "clip.mkv", **SMALL))
    assert len(windows) == 11
    return windows


def assert_same(found: list[RemoteWindow], truth: list[cs.StreamWindow]) -> None:
    assert [window.number for window in found] == [window.number for window in truth]
    for one, other in zip(found, truth, strict=True):
        np.testing.assert_array_equal(one.times, other.times)
        for name in ("patches", "positions", "scores", "frame_ids"):
            np.testing.assert_array_equal(getattr(one.selection, name), getattr(other.selection, name), name)
        assert (one.notes, one.selection.facts["signals"]) == (other.notes, other.selection.signals)


class Slowly:
    """Reads as a camera gives: little at a time. taken: bytes so far."""

    def __init__(self, data: bytes, part: int, times: int = 1) -> None:
        self._data, self._part, self._times, self.taken = data, part, times, 0

    def read(self, size: int) -> bytes:
        at = self.taken % len(self._data)
        data = self._data[at : at + min(size, self._part)] if self.taken < self._times * len(self._data) else b""
        self.taken += len(data)
        return data


def test_a_file_a_pipe_what_reads_and_a_file_of_the_services(
    client: cs.Client, folder: Path, truth: list[cs.StreamWindow], tmp_path: Path
) -> None:
    video = folder / "videos" / "clip.mkv"
    with client.stream(video, **SMALL) as stream:
        assert_same(list(stream), truth)
        assert stream.frames == 48
    assert_same(list(client.stream(path="videos/clip.mkv", **SMALL)), truth)
    assert_same(list(client.stream(Slowly(video.read_bytes(), 3000), **SMALL)), truth)
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(video.read_bytes()))
    stream = client.stream(tmp_path / "fifo", **SMALL)
    writer.start()
    assert_same(list(stream), truth)
    writer.join()


def test_windows_come_while_the_video_is_still_made(client: cs.Client, folder: Path) -> None:
    """With the sender still there, and nothing said of an end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, client.stream(source, **SMALL) as stream:
        os.write(writing, (folder / "videos" / "clip.mkv").read_bytes())
        assert [next(stream).number for _ in range(8)] == list(range(8))
        os.close(writing)
        assert [window.number for window in stream] == [8, 9, 10]


def test_so_many_frames_a_second(client: cs.Client, folder: Path) -> None:
    video = folder / "videos" / "clip.mkv"
    assert_same(list(client.stream(video, fps=5, **SMALL)), list(cs.stream(video, fps=5, **SMALL)))


def test_without_pixels_there_are_positions(client: cs.Client, folder: Path) -> None:
    window = next(client.stream(folder / "videos" / "clip.mkv", pixels=False, **SMALL))
    assert window.selection.patches is None
    assert window.selection.positions.shape == (40, 3)
    assert repr(window).startswith("RemoteWindow 0: frames 0 to 7\nSievedTokens: codec: h264")


def test_what_cannot_be_is_the_services_own_line(
    client: cs.Client, service: tuple[Running, str], folder: Path, tmp_path: Path
) -> None:
    video, url = folder / "videos" / "clip.mkv", service[0].url
    reader = Keys(folder / "data").add("reads", ["read"])
    for ask, status, line in (
        (lambda: client.stream(video, k_kep=3), 422, "k_kep: Extra inputs"),
        (lambda: client.stream(video, fps=5, every=2), 422, "both say which frames are taken"),
        (lambda: client.stream(video, window=0), 422, r"window \(0\) must be in"),
        (lambda: client.stream(path="videos/none.mkv"), 404, "nothing there"),
        (lambda: client.stream(path="videos/notes.txt"), 422, "videos/notes.txt: not a readable video"),
        (lambda: client.stream(folder / "videos" / "notes.txt"), 422, r"^/.*/notes\.txt: not a readable video"),
        (lambda: cs.Client(url).stream(video), 401, "Authorization must be"),
        (lambda: cs.Client(url, key=reader).stream(video), 403, "sieve"),
        (lambda: cs.Client(url, key=service[1], most_bytes=9_000).stream(video, **SMALL), 0, "over the 9000 bytes"),
        (lambda: cs.Client(url.replace("127.0.0.1", "127.0.0.2"), retries=0).stream(video), 0, "no answer"),
    ):
        with pytest.raises(cs.ServiceError, match=line) as caught:
            next(ask())
        assert caught.value.status == status
        assert "\n" not in str(caught.value)
    for arguments, kind, line in (
        ({"video": tmp_path / "none.mkv"}, cs.VideoError, "none.mkv: no such file"),
        ({"video": tmp_path}, cs.VideoError, "folder"),
        ({}, cs.ConfigError, "must be one of: video"),
        ({"video": video, "path": "videos/clip.mkv"}, cs.ConfigError, "must be one of: video"),
    ):
        with pytest.raises(kind, match=line):
            next(client.stream(**arguments))


def test_a_source_that_breaks_says_why(client: cs.Client) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise RuntimeError("the lens is covered")

    with pytest.raises(cs.VideoError, match=re.escape("stream: cannot be read on (RuntimeError: the lens is covered)")):
        next(client.stream(Broken(), **SMALL))


def test_a_sender_that_falls_silent_is_told_so(client: cs.Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(cs.ServiceError, match=r"/fifo: nothing came for 4 s; has its sender stopped\?"):
        next(client.stream(tmp_path / "fifo", **SMALL))


def test_nothing_is_sent_faster_than_windows_are_taken(
    client: cs.Client, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    """An endless source is read a few windows ahead, and no further however long nobody asks."""
    data = make_video(tmp_path / "clip.ts", frames=64, options={"bf": "0"}, size=(320, 240)).read_bytes()
    filling = (b"\x47\x1f\xff\x10" + bytes(184)) * 4000  # packets that every reader passes over
    endless = Slowly(data + filling, 1 << 16, times=10**6)
    with client.stream(endless, window=8, stride=8, k_keep=2048) as stream:
        next(stream)
        time.sleep(3)
        after = endless.taken
        time.sleep(2)
        assert endless.taken == after
        assert after < 40 * 10**6  # what systems hold for connections, most of it
        assert any(endless.taken > after for _ in itertools.islice(stream, 400))


class Relay:
    """Between a client and a service: cuts the first `cuts` connections once so many bytes have come back."""

    def __init__(self, url: str, after: int, cuts: int) -> None:
        self._target = (url.split("/")[2].split(":")[0], int(url.rsplit(":", 1)[1]))
        self._after, self._cuts, self.connections = after, cuts, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self.connections += 1
                far = socket.create_connection(self._target)
                most = self._after if self.connections <= self._cuts else None
                for one, other, left in ((near, far, None), (far, near, most)):
                    threading.Thread(target=self._pass, args=(one, other, left), daemon=True).start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket, left: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(4096):
                other.sendall(data)
                if left is not None and (left := left - len(data)) <= 0:
                    break
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_is_lost_costs_no_window_and_gives_none_twice(
    service: tuple[Running, str], folder: Path, truth: list[cs.StreamWindow]
) -> None:
    video = folder / "videos" / "clip.mkv"
    with contextlib.closing(Relay(service[0].url, after=150_000, cuts=2)) as relay:
        client = cs.Client(relay.url, key=service[1], retries=3, timeout=30)
        assert_same(list(client.stream(video, **SMALL)), truth)
        assert relay.connections == 3


def test_of_what_can_be_read_once_a_lost_connection_is_an_error(
    service: tuple[Running, str], folder: Path, truth: list[cs.StreamWindow]
) -> None:
    data, found = (folder / "videos" / "clip.mkv").read_bytes(), []
    with contextlib.closing(Relay(service[0].url, after=150_000, cuts=9)) as relay:
        stream = cs.Client(relay.url, key=service[1], retries=3, timeout=30).stream(Slowly(data, 3000), **SMALL)
        with pytest.raises(cs.ServiceError, match=r"the stream was cut off \(the connection broke\)"):
            found.extend(stream)
        assert relay.connections == 1
    assert_same(found, truth[: len(found)])
    assert 1 <= len(found) < 11
