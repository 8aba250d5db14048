"""A stream's windows against `sieve` of the same frames, and sources that end, stall, break or change."""

from __future__ import annotations

import contextlib
import io
import os
import re
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import codecsieve as cs
from codecsieve.codec import live
from codecsieve.errors import ConfigError
from codecsieve.pipelines.sieve.crops import Crop, cut_patches
from codecsieve.pipelines.stream import windows

MakeVideo = Callable[..., Path]
SMALL: dict[str, Any] = {"input_size": 56, "k_keep": 40}
OTHERWISE = {"order", "pictures_decoded"}
"""What a stream cannot have as a file does: it takes pictures in the decoder's order, and decodes all of them."""
ENCODES: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264, B-pyramid": ("libx264", ".mkv", {"g": "12", "bf": "3", "x264-params": "b-pyramid=2"}),
    "h264, open GOPs, MP4": ("libx264", ".mp4", {"g": "10", "bf": "2", "x264-params": "open-gop=1"}),
    "h264, no B, TS": ("libx264", ".ts", {"g": "12", "bf": "0", "refs": "3"}),
    "h264, raw": ("libx264", ".264", {"g": "12", "bf": "2"}),
    "hevc": ("libx265", ".mkv", {"x265-params": "keyint=10:bframes=3:log-level=error"}),
    "mpeg4": ("mpeg4", ".avi", {"g": "10", "bf": "2"}),
    "mpeg2": ("mpeg2video", ".ts", {"g": "10", "bf": "2"}),
    "vp9": ("libvpx-vp9", ".webm", {"g": "20", "deadline": "realtime", "cpu-used": "8"}),
}


@pytest.fixture(scope="module")
def clips(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """48 pictures at 25/s of each of ENCODES."""
    folder = tmp_path_factory.mktemp("clips")
    return {
        name: make_video(folder / f"{number}{suffix}", codec, 48, (128, 96), options)
        for number, (name, (codec, suffix, options)) in enumerate(ENCODES.items())
    }


@pytest.fixture(scope="module")
def clip(clips: dict[str, Path]) -> Path:
    return clips["h264, B-pyramid"]


def assert_same(kept: cs.SievedClip, expected: cs.SievedClip, but: set[str] = OTHERWISE) -> None:
    """All that is known of two selections is equal, bit for bit."""
    for name in set(vars(expected)) - but:
        np.testing.assert_array_equal(getattr(kept, name), getattr(expected, name), name)


def sieved(path: Path, frames: np.ndarray, rate: int = 25, **options: Any) -> cs.SievedClip:
    """`cs.sieve` of a file's frames from the first of some to the last."""
    start = (frames[0] - 0.5) / rate if frames[0] else None
    return cs.sieve(path, start=start, end=(frames[-1] + 0.5) / rate, num_frames=len(frames), **options)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_is_what_the_sieve_gives_of_its_frames(clips: dict[str, Path], data: st.DataObject) -> None:
    path = clips[data.draw(st.sampled_from(sorted(ENCODES)))]
    window = data.draw(st.integers(1, 12), "window")
    stride = data.draw(st.integers(1, window), "stride")
    every = data.draw(st.integers(1, 4), "every")
    options: dict[str, Any] = {
        "input_size": 56,
        "k_keep": data.draw(st.integers(1, 16 * window), "k_keep"),
        "signals": data.draw(st.sampled_from(["auto", "search", "difference"]), "signals"),
        "decoder_fields": data.draw(st.sampled_from(["auto", "off"]), "fields"),
        "mv_compensate": data.draw(st.sampled_from(["median", "similarity"]), "camera"),
        "scale": data.draw(st.sampled_from(["slot", "none", "clip"]), "scale"),
        "policy": data.draw(st.sampled_from(["saliency", "random"]), "policy"),
        "anchors": data.draw(st.integers(0, 1), "anchors"),
        "target_frames": data.draw(st.sampled_from([None, 64]), "target_frames"),
        "suppress": data.draw(st.sampled_from(["none", "time"]), "suppress"),
    }
    with cs.stream(path, window=window, stride=stride, every=every, **options) as stream:
        got = list(stream)
    taken = -(-48 // every)
    assert stream.frames == taken
    assert len(got) == max(0, (taken - window) // stride + 1)
    for number, one in enumerate(got):
        frames = (np.arange(window) + number * stride) * every
        assert one.selection.frame_ids.tolist() == frames.tolist()
        assert_same(one.selection, sieved(path, frames, **options))


def test_a_window_that_begins_with_a_gop_is_the_file_cut_there(clip: Path, tmp_path: Path) -> None:
    """Of a file that holds nothing but the window's packets, selection and patches are the same."""
    cut = tmp_path / "cut.mkv"
    with av.open(str(clip)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[12:24]:
            packet.stream = stream
            target.mux(packet)
    window = list(cs.stream(clip, window=12, stride=12, **SMALL))[1]
    assert_same(window.selection, cs.sieve(cut, num_frames=12, **SMALL), OTHERWISE | {"frame_ids"})


def test_each_picture_is_decoded_and_each_patch_cut_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[int] = []

    def counting(crop: Crop, corners: np.ndarray) -> np.ndarray:
        cut.append(len(corners))
        return cut_patches(crop, corners)

    monkeypatch.setattr(windows, "cut_patches", counting)
    with cs.stream(clip, window=8, stride=1, **SMALL) as stream:
        kept = {place for window in stream for place in kept_places(window)}
    assert stream.pictures_decoded == 48
    assert sum(cut) == len(kept)


def kept_places(window: cs.StreamWindow) -> list[tuple[int, int]]:
    """Frame and place of each patch that a window keeps."""
    kept = window.selection
    return [(int(kept.frame_ids[index // 16]), index % 16) for index in kept.indices.tolist()]


def test_only_pictures_that_are_taken_get_signals_where_none_is_held_back(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from codecsieve.codec import decoder_signals

    made: list[int] = []
    make = decoder_signals.make_signals
    monkeypatch.setattr(decoder_signals, "make_signals", lambda *given: made.append(1) or make(*given))
    taken = list(cs.stream(clips["h264, no B, TS"], window=4, stride=4, every=4, **SMALL))
    assert len(taken) == 3
    assert len(made) <= 12


def test_times_are_the_sources_own(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=6, times=[0, 40, 100, 140, 300, 340])
    (window,) = cs.stream(path, window=6, **SMALL)
    assert window.start == 0
    np.testing.assert_allclose(window.times, [0, 0.04, 0.1, 0.14, 0.3, 0.34])


def test_a_raw_stream_of_which_nothing_tells_the_time_has_none(clips: dict[str, Path]) -> None:
    window = next(cs.stream(clips["h264, raw"], window=4, stride=4, **SMALL))
    assert window.start is None
    assert np.isnan(window.times).all()


def test_without_pixels_there_are_no_patches(clip: Path) -> None:
    window = next(cs.stream(clip, window=4, stride=4, pixels=False, **SMALL))
    assert window.selection.patches.shape == (0, 3, 14, 14)
    assert len(window.selection.indices) == 40


# --- sources


@contextmanager
def piped(data: bytes, close: threading.Event, chunk: int = 700) -> Iterator[int]:
    """The reading end of a pipe that gets data piece by piece, and ends once `close` is set."""
    reading, writing = os.pipe()

    def write() -> None:
        try:
            for at in range(0, len(data), chunk):
                os.write(writing, data[at : at + chunk])
            close.wait(20)
        except BrokenPipeError:
            pass
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield reading
    finally:
        close.set()
        os.close(reading)
        writer.join()


class Pipe:
    """What reads a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int) -> bytes:
        return os.read(self._descriptor, size)


def test_a_pipe_gives_what_the_file_does(clip: Path) -> None:
    ended = threading.Event()
    ended.set()
    with piped(clip.read_bytes(), ended) as reading:
        got = list(cs.stream(Pipe(reading), window=8, stride=8, **SMALL))
    expected = list(cs.stream(clip, window=8, stride=8, **SMALL))
    assert len(got) == len(expected) == 6
    for one, other in zip(got, expected, strict=True):
        assert_same(one.selection, other.selection, set())


def test_windows_come_while_the_sender_is_still_sending(clips: dict[str, Path]) -> None:
    """Without B-pictures, and in a container that says how long a packet is, none of what came is held back."""
    open_end = threading.Event()
    path = clips["h264, B-pyramid"]
    with piped(path.read_bytes(), open_end) as reading, cs.stream(Pipe(reading), window=8, stride=8, **SMALL) as stream:
        got = [next(stream) for _ in range(4)]
        assert not open_end.is_set()
    assert [window.number for window in got] == [0, 1, 2, 3]


def test_a_fifo_that_falls_silent_is_said_behind_what_came(clip: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    done = threading.Event()

    def write() -> None:
        with fifo.open("wb", buffering=0) as file:
            file.write(clip.read_bytes())
            done.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    got = []
    with pytest.raises(cs.VideoError, match=r"fifo: nothing came for 0\.5 s"):
        got += iter_into(got, cs.stream(fifo, window=8, stride=8, patience=0.5, **SMALL))
    done.set()
    writer.join()
    assert len(got) == 6


def iter_into(got: list[cs.StreamWindow], stream: cs.Stream) -> list[cs.StreamWindow]:
    """Windows into a list, so that those before an error are kept."""
    for window in stream:
        got.append(window)
    return []


def test_a_fifo_without_a_sender_is_not_waited_for_longer_than_that(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    began = time.monotonic()
    with pytest.raises(cs.VideoError, match="nothing came"):
        cs.stream(tmp_path / "fifo", patience=0.3)
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_growing_file_is_followed_and_its_silence_is_said(clip: Path, tmp_path: Path) -> None:
    data, path = clip.read_bytes(), tmp_path / "growing.mkv"
    path.write_bytes(data[:3000])

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            for at in range(3000, len(data), 2000):
                file.write(data[at : at + 2000])
                time.sleep(0.01)

    writer = threading.Thread(target=grow)
    writer.start()
    got: list[cs.StreamWindow] = []
    with pytest.raises(cs.VideoError, match=r"growing\.mkv: nothing came for 0\.7 s"):
        iter_into(got, cs.stream(path, window=8, stride=8, follow=True, patience=0.7, **SMALL))
    writer.join()
    expected = list(cs.stream(clip, window=8, stride=8, **SMALL))
    assert [one.selection.indices.tolist() for one in got] == [one.selection.indices.tolist() for one in expected]


def test_a_growing_file_that_becomes_shorter_is_said(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "growing.mkv"
    path.write_bytes(clip.read_bytes())
    with cs.stream(path, window=8, stride=8, follow=True, patience=5, **SMALL) as stream:
        next(stream)
        path.write_bytes(b"")
        with pytest.raises(cs.VideoError, match="has become shorter"):
            list(stream)


def test_a_source_of_ones_own_that_breaks_is_said_behind_what_came(clip: Path) -> None:
    class Breaking:
        def __init__(self) -> None:
            self.file = clip.open("rb")

        def read(self, size: int) -> bytes:
            data = self.file.read(min(size, 4096))
            if not data:
                raise OSError(104, "Connection reset by peer")
            return data

    got: list[cs.StreamWindow] = []
    with pytest.raises(cs.VideoError, match=r"stream: cannot be read on \(Connection reset by peer\)"):
        iter_into(got, cs.stream(Breaking(), window=8, stride=8, **SMALL))
    assert len(got) == 6


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (RuntimeError("the lens is covered"), "cannot be read on (RuntimeError: the lens is covered)"),
        (TimeoutError(), "cannot be read on (TimeoutError)"),
        (None, "its read gave NoneType, not bytes"),
        ("text", "its read gave str, not bytes"),
    ],
)
def test_whatever_a_source_of_ones_own_does_in_place_of_an_end_is_said_behind_what_came(
    clip: Path, end: Any, says: str
) -> None:
    with clip.open("rb") as file:

        class Odd:
            def read(self, size: int) -> Any:
                data = bytearray(file.read(size))  # as sockets' recv_into fills one
                if not data and isinstance(end, Exception):
                    raise end
                return data or end

        got: list[cs.StreamWindow] = []
        with pytest.raises(cs.VideoError, match=re.escape(says)):
            iter_into(got, cs.stream(Odd(), window=8, stride=8, **SMALL))
    assert len(got) == 6


@pytest.mark.parametrize("source", [5, None, b"clip.mp4"])
def test_what_is_no_source_is_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match="must be a path, an address, or have read"):
        cs.stream(source)
    with pytest.raises(ConfigError, match="follow is for files that grow, not for what reads"):
        cs.stream(io.BytesIO(), follow=True)


@pytest.mark.slow
def test_of_an_mp4_whose_index_comes_last_a_pipe_is_told(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=24, size=(320, 240), moving="noise")
    with path.open("rb") as file:

        class Pipe:
            def read(self, size: int) -> bytes:
                return file.read(size)

        got: list[cs.StreamWindow] = []
        with pytest.raises(cs.VideoError, match=r"not a readable video .*; of an MP4 whose index comes last, name the"):
            iter_into(got, cs.stream(Pipe(), window=8, **SMALL))
    assert got == []


@contextmanager
def answering(data: bytes, hold: float = 0.0) -> Iterator[str]:
    """The address of an HTTP server that answers once, and then says nothing for a while before it ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                length = len(data) + (1000 if hold else 0)
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + data)
                time.sleep(hold)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://somebody:secret@127.0.0.1:{server.getsockname()[1]}/live.mkv?token=secret"
        thread.join()


def test_an_address_gives_what_the_file_does(clip: Path) -> None:
    with answering(clip.read_bytes()) as address:
        got = list(cs.stream(address, window=8, stride=8, **SMALL))
    expected = list(cs.stream(clip, window=8, stride=8, **SMALL))
    for one, other in zip(got, expected, strict=True):
        assert_same(one.selection, other.selection, set())


@pytest.mark.slow
def test_an_address_that_falls_silent_is_said_without_its_secrets(clip: Path) -> None:
    got: list[cs.StreamWindow] = []
    with (
        answering(clip.read_bytes(), hold=2.0) as address,
        pytest.raises(cs.VideoError, match=r"live\.mkv: nothing came for 1 s") as told,
    ):
        iter_into(got, cs.stream(address, window=8, stride=8, patience=1.0, **SMALL))
    assert "secret" not in str(told.value)
    assert len(got) == 6


def test_a_playlist_at_an_address_leads_nowhere(tmp_path: Path, clip: Path) -> None:
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    with answering(text.encode()) as address, pytest.raises(cs.VideoError, match="not a readable video"):
        list(cs.stream(address, window=8, stride=8, **SMALL))


@pytest.mark.parametrize("address", ["file:///etc/passwd", "concat:a|b", "hls+http://h/x", "gopher://h/x"])
def test_other_schemes_are_no_addresses(address: str) -> None:
    with pytest.raises(cs.VideoError, match="no such file"):
        cs.stream(address)


def test_a_file_that_is_cut_short_gives_what_it_has(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    got: list[cs.StreamWindow] = []
    with contextlib.suppress(cs.VideoError):  # some containers end in mid-packet without a word
        iter_into(got, cs.stream(path, window=8, stride=8, **SMALL))
    whole = list(cs.stream(clip, window=8, stride=8, **SMALL))
    assert 0 < len(got) < len(whole)
    for one, other in zip(got, whole[: len(got)], strict=True):
        assert one.notes or (one.selection.patches == other.selection.patches).all()


# --- what is said


def test_damage_is_said_of_the_windows_that_have_it(clips: dict[str, Path], tmp_path: Path) -> None:
    """A packet of the transport stream is lost: its picture is wrong, and all that are predicted of it."""
    data = clips["h264, no B, TS"].read_bytes()
    inner = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x01\x00"]  # begins no picture
    lost = inner[len(inner) // 3]
    (tmp_path / "lossy.ts").write_bytes(data[:lost] + data[lost + 188 :])
    got = list(cs.stream(tmp_path / "lossy.ts", window=6, stride=6, **SMALL))
    whole = list(cs.stream(clips["h264, no B, TS"], window=6, stride=6, **SMALL))
    pairs = [(one.selection.slot_scores, other.selection.slot_scores) for one, other in zip(got, whole, strict=True)]
    wrong = [not np.array_equal(*scores) for scores in pairs]
    said = [bool(window.notes) for window in got]
    assert any(wrong)
    assert not any(bad and not told for bad, told in zip(wrong, said, strict=True))
    assert sum(said) <= 3, "it ends with the next keyframe"


def test_a_change_of_size_is_said_and_scored_as_the_sieve_does(make_video: MakeVideo, tmp_path: Path) -> None:
    parts = [make_video(tmp_path / f"{w}.264", size=(w, h), frames=8) for w, h in ((128, 96), (96, 64))]
    path = tmp_path / "both.264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    (window,) = cs.stream(path, window=16, **SMALL)
    assert window.notes == ("size changes from 128x96 to 96x64 at frame 8",)
    assert_same(window.selection, cs.sieve(path, num_frames=16, **SMALL))


def test_a_clock_that_goes_back_is_said(make_video: MakeVideo, tmp_path: Path) -> None:
    part = make_video(tmp_path / "a.ts", frames=12, options={"bf": "0"}).read_bytes()
    (tmp_path / "twice.ts").write_bytes(part + part)
    got = list(cs.stream(tmp_path / "twice.ts", window=8, stride=8, **SMALL))
    assert any("time goes back at frame 12" in window.notes for window in got)


def test_a_stream_shorter_than_a_window_has_none(clip: Path) -> None:
    with cs.stream(clip, window=64, **SMALL) as stream:
        assert list(stream) == []
    assert (stream.frames, stream.windows, stream.covered) == (48, 0, 0)


def test_closing_lets_the_source_go(clip: Path) -> None:
    stream = cs.stream(clip, window=8, stride=8, **SMALL)
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []


def test_pictures_whose_signals_do_not_come_are_not_held_without_end(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waiting(*given: Any) -> Iterator[Any]:
        return iter([picture for picture in given[4](False, None) if picture is None])

    monkeypatch.setattr(live, "slot_signals", waiting)
    monkeypatch.setattr(live, "MOST_HELD_BACK", 20)
    with pytest.raises(cs.VideoError, match="in no order that can be followed"):
        list(cs.stream(clip, window=8, stride=8, **SMALL))


# --- options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 0}, r"window \(0\) must be in 1\.\.1024"),
        ({"window": 8, "stride": 9}, r"stride \(9\) must be <= window \(8\)"),
        ({"num_frames": 8}, r"num_frames \('8'\) is not for streams"),
        ({"spread": "middle"}, r"spread \('middle'\) is not for streams"),
        ({"window": 4, "stride": 4}, r"k_keep \(2048\) must be <= 1024"),
        ({"patience": 0}, r"patience \(0\) must be > 0"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_opened(options: dict[str, Any], says: str) -> None:
    with pytest.raises(cs.ConfigError, match=says):
        cs.stream("nowhere.mp4", **options)


def test_an_option_that_there_is_not_is_named() -> None:
    with pytest.raises(TypeError, match="did you mean k_keep"):
        cs.stream("nowhere.mp4", k_kep=3)  # type: ignore[call-arg]
