"""How many pictures a second NVDEC decodes, by session and side by side, of the packets that clips need.

The packets are read and made ready beforehand: nothing is left but the decoder, and nothing is done with its pictures.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.common import show
from benchmarks.gpu.scenes import Scale
from codecsieve.codec import nvdec
from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.decode import PictureNumbers
from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_packets import ElementaryStream
from codecsieve.codec.nvdec_support import check_supported, first_layout
from codecsieve.codec.plan import plan_gops
from codecsieve.codec.search import with_previous

PATIENCE_S = 120.0
"""For which threads may take to get ready."""


@dataclass
class Tally:
    """What one thread has done so far."""

    pictures: int = 0
    clips: int = 0


class Worker(Protocol):
    """What a thread does over and over, and how much of it is done."""

    tally: Tally

    def clip(self) -> None:
        """Do one clip."""


class CountingSession(NvdecSession):
    """A session that counts the pictures that it puts out."""

    def __init__(self, device: torch.device, stream: int, tally: Tally) -> None:
        super().__init__(device.index or 0, stream, device)
        self.tally = tally

    def _decode(self, data: bytes | memoryview | None, stamp: int, keyframe: bool = False) -> list[Any]:
        frames = super()._decode(data, stamp, keyframe)
        self.tally.pictures += len(frames)
        return frames


@dataclass(frozen=True)
class PlannedClip:
    """What a decoder is sent of a clip. calls: packet, timestamp, keyframe; without a packet the decoder is emptied."""

    calls: list[tuple[bytes | None, int, bool]]
    setup: nvdec._Setup

    @property
    def packets(self) -> int:
        return sum(data is not None for data, _, _ in self.calls)


class _NotingSession(NvdecSession):
    """A session that sends nothing: it notes down what it would send."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device.index or 0, 0, device)
        self.calls: list[tuple[bytes | None, int, bool]] = []

    def _decode(self, data: bytes | memoryview | None, stamp: int, keyframe: bool = False) -> list[Any]:
        self.calls.append((None if data is None else bytes(data), stamp, keyframe))
        return []


def planned_clip(path: Path, scale: Scale) -> PlannedClip:
    """What `sieve_clip_on_gpu` sends of a clip. Raises NvdecError where the GPU cannot decode it."""
    with ClipDecoder(path, scale.config.num_frames, "search") as clip:
        source = clip.source
        needed = with_previous(np.unique(clip.sample.frame_ids))
        layout, interlaced = first_layout(source, needed)
        check_supported(source, layout, interlaced, scale.device.index or 0)
        stream = ElementaryStream(source.facts.codec, source.stream.codec_context.extradata)
        session = _NotingSession(scale.device)
        sent = nvdec._Sent(stream.codec, source.ordered)
        for _ in session._frames(plan_gops(source, needed), PictureNumbers(source, needed), stream, sent):
            pass
        kind = stream.codec, layout.bit_depth, False
        return PlannedClip(session.calls, nvdec._Setup(kind, layout.width, layout.height, stream.headers))


class DecodeOnly:
    """Sends the packets of one clip to NVDEC, over and over."""

    def __init__(self, clip: PlannedClip, session: CountingSession) -> None:
        self.planned, self.session, self.tally = clip, session, session.tally

    def clip(self) -> None:
        """Decode the clip once."""
        self.session._prepare(self.planned.setup)
        for call in self.planned.calls:
            self.session._decode(*call)
        self.tally.clips += 1


@contextlib.contextmanager
def decode_only(clip: PlannedClip, device: torch.device) -> Iterator[Worker]:
    """A decoder for this thread alone, on a stream of its own."""
    torch.cuda.set_device(device)
    stream = torch.cuda.Stream(device)
    with CountingSession(device, stream.cuda_stream, Tally()) as session:
        yield DecodeOnly(clip, session)
        stream.synchronize()


@dataclass(frozen=True)
class Rates:
    """Of all threads together."""

    pictures_per_s: float
    clips_per_s: float


def measure_rates(make: Callable[[], AbstractContextManager[Worker]], threads: int, window_s: float) -> Rates:
    """What threads do in a stretch of time in which all of them are at work; each has done one clip before it.

    make: the worker of a thread, made and used in it.

    Raises what a thread raised.
    """
    ready, stop = threading.Barrier(threads + 1), threading.Event()
    tallies: list[Tally] = []

    def work() -> None:
        try:
            with make() as worker:
                worker.clip()
                tallies.append(worker.tally)
                ready.wait(PATIENCE_S)
                while not stop.is_set():
                    worker.clip()
        except BaseException:
            ready.abort()
            raise

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work) for _ in range(threads)]
        try:
            ready.wait(PATIENCE_S)
            begun, before = time.perf_counter(), _sums(tallies)
            time.sleep(window_s)
            taken, after = time.perf_counter() - begun, _sums(tallies)
        except threading.BrokenBarrierError:
            taken, before, after = 1.0, (0, 0), (0, 0)
        finally:
            stop.set()
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))  # the others' is a consequence
    if errors:
        raise errors[0]
    return Rates((after[0] - before[0]) / taken, (after[1] - before[1]) / taken)


def _sums(tallies: Sequence[Tally]) -> tuple[int, int]:
    return sum(tally.pictures for tally in tallies), sum(tally.clips for tally in tallies)


def decode(scale: Scale, videos: dict[str, Path]) -> dict[str, Any]:
    """The section: pictures a second of each video, by the number of sessions."""
    rows = [_decode_row(scale, name, path) for name, path in videos.items()]
    columns = ["video", *map(str, scale.sessions)]
    table = [[row["video"], *(row["pictures_per_s"] or dict.fromkeys(columns[1:])).values()] for row in rows]
    show("NVDEC, pictures a second by sessions", columns, table)
    return {"window_s": scale.window_s, "videos": rows}


def _decode_row(scale: Scale, name: str, path: Path) -> dict[str, Any]:
    try:
        clip = planned_clip(path, scale)
        rates = {
            str(sessions): measure_rates(lambda: decode_only(clip, scale.device), sessions, scale.window_s)
            for sessions in scale.sessions
        }
    except Exception as error:  # the other videos are measured all the same
        traceback.print_exc()
        return {"video": name, "pictures_per_s": None, "reason": f"{type(error).__name__}: {error}"}
    return {
        "video": name,
        "codec": clip.setup.kind[0],
        "bit_depth": clip.setup.kind[1],
        "width_px": clip.setup.width,
        "height_px": clip.setup.height,
        "packets_a_clip": clip.packets,
        "pictures_per_s": {sessions: rate.pictures_per_s for sessions, rate in rates.items()},
        "clips_per_s": {sessions: rate.clips_per_s for sessions, rate in rates.items()},
    }
