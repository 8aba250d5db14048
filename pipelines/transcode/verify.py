"""Whether an output is what it should be: both videos are decoded from end to end, and their pictures counted.

How an output is made is left to `run`.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType

from codecsieve.codec.decoder import bounded_decoder, decode_packet
from codecsieve.codec.facts import open_container, read_facts, video_stream
from codecsieve.errors import VideoError


@dataclass(frozen=True)
class Budget:
    """Until when a job may run, and the event that ends it earlier."""

    seconds: float
    stop: threading.Event
    start: float = field(default_factory=time.monotonic)

    def check(self, path: Path) -> None:
        """Raise VideoError where there is no more time."""
        if self.stop.is_set():
            raise VideoError(f"{path}: stopped before it was done; run again to finish")
        if time.monotonic() - self.start > self.seconds:
            raise VideoError(f"{path}: not done after {self.seconds:g} s; raise the timeout or use a faster preset")


@dataclass(frozen=True)
class Expected:
    """What a source gave when it was decoded: frames, and packets that did not decode."""

    frames: int
    damaged: int


@dataclass(frozen=True)
class Decoded:
    """pictures: in the order shown, K a keyframe, else I, P or B. damaged: packets that did not decode.

    time_base: seconds, the unit of the stream's timestamps.
    """

    pictures: str
    damaged: int
    time_base: Fraction


def decode_video(path: Path, budget: Budget) -> Decoded:
    """Decode a file's first video stream from end to end, on one thread; keep only its kinds of pictures."""
    kinds: list[str] = []
    damaged = 0
    try:
        with open_container(path) as container:
            stream = video_stream(container)
            assert stream is not None, "open_container opens nothing without a video stream"
            decoder = bounded_decoder(stream, read_facts(container, path))
            time_base = stream.time_base or Fraction(1, 90000)
            for packet in container.demux(stream):
                budget.check(path)
                frames = decode_packet(decoder, packet if packet.size else None)
                if frames is None:
                    damaged += 1
                    continue
                kinds += ["K" if f.key_frame else PictureType(f.pict_type).name for f in frames]
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: FFmpeg cannot read it ({error.strerror}); check that it is a video") from error
    return Decoded("".join(kinds), damaged, time_base)


def verify(path: Path, source: Path, expected: Expected, gop: int, budget: Budget) -> int:
    """The frame count of an output that is what it should be; VideoError where it is not.

    A sound source must come out frame for frame. In a damaged one PyAV's FFmpeg and the program that encoded
    may differ over what a damaged packet still gives, so each of those may cost or add one frame.
    """
    decoded = decode_video(path, budget)
    count = len(decoded.pictures)
    if decoded.damaged:
        raise VideoError(f"{source}: its output does not decode whole; run again, and check the disk if it recurs")
    if not count or abs(count - expected.frames) > expected.damaged:
        raise VideoError(f"{source}: it has {expected.frames} frames but its output {count}; remux it and try again")
    due = ("K" + "P" * (gop - 1)) * (count // gop + 1)
    for index, (is_, should) in enumerate(zip(decoded.pictures, due, strict=False)):
        if is_ != should:
            raise VideoError(f"{source}: picture {index} of its output is {is_}, not {should}; try another ffmpeg")
    return count
