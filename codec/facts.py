"""Open one video file and state what it is: its container, its stream, its codec, its size.

Nothing is decoded here beyond what FFmpeg itself reads to identify the stream. The packets are left to
`packets`, the signals to `signals`, and how pictures are turned (known only from a decoded one) to `picture`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import av
from av.stream import Discard, Disposition

from codecsieve.codec.nal import SequenceParameters, find_sequence_parameters
from codecsieve.errors import VideoError

MAX_PIXELS = 8192 * 8192
"""A picture larger than this is refused: with its reference pictures it would not fit a worker's memory."""

REFUSED_CONTAINERS = frozenset({"concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp"})
"""FFmpeg's names of formats that are lists of other files or streams: one file must not stand for another."""

VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3gp", ".asf", ".avi", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts", ".m4v",
    ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".obu", ".ogv", ".ts", ".vob", ".webm",
    ".wmv", ".y4m",
})  # fmt: skip
"""What counts as a video inside a folder; a file that is named itself is taken whatever its suffix."""

ENCRYPTED_TAGS = frozenset({"drmi", "encv"})
"""Sample entries of MP4 whose packets are encrypted, whatever codec is in them."""


@dataclass(frozen=True)
class VideoFacts:
    """What a file's header tells about its first video stream."""

    path: str
    container: str
    """FFmpeg's short name of the container, such as `mov` or `matroska`."""
    codec: str
    """FFmpeg's name of the codec's standard, such as `h264`, `av1`."""
    profile: str
    pixel_format: str
    width: int
    """Luma samples a row, after cropping and before rotation."""
    height: int
    fps: float
    """Average frames a second; 0 where unknown."""
    seconds: float
    """Duration by the header; 0 where unknown."""
    size: int
    """Bytes of the file."""
    sequence: SequenceParameters | None
    """H.264 only: the sequence parameter set, where one was found."""


def open_container(path: str | os.PathLike[str]) -> av.container.InputContainer:
    """Open a local file for demuxing its first video stream only.

    Raises VideoError where the file is missing, empty, not a video, or has no video stream.
    """
    name = os.fspath(path)
    if not os.path.exists(name):
        raise VideoError(f"{name}: no such file; check the path")
    if os.path.isdir(name):
        raise VideoError(f"{name}: is a folder; name a video file")
    if os.path.getsize(name) == 0:
        raise VideoError(f"{name}: the file is empty; copy or download it again")
    try:
        # The prefix keeps a name such as "concat:..." from being taken for a protocol, the whitelist keeps
        # a playlist from reaching the network.
        container = av.open(
            f"file:{os.path.abspath(name)}", options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"{name}: not a readable video ({reason}); is it complete, and a video?") from error
    try:
        kind = container.format.name.split(",")[0]
        if kind in REFUSED_CONTAINERS:
            raise VideoError(f"{name}: is a list of other files ({kind}); name the videos themselves")
        wanted = video_stream(container)
        if wanted is None:
            raise VideoError(f"{name}: has no video stream; leave it out of the manifest")
    except VideoError:
        container.close()
        raise
    for stream in container.streams:
        # An unread audio track would otherwise end a truncated file's video early.
        if stream.index != wanted.index:
            stream.discard = Discard.all
    return container


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream that is no cover picture of an audio file; None where there is none."""
    moving = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(moving, None)


def bounded_decoder(stream: av.VideoStream, **options: str) -> av.VideoCodecContext:
    """A stream's decoder, not yet open: on one thread, and for no picture over MAX_PIXELS, whatever its packets say.

    options: FFmpeg's, besides.
    """
    context = stream.codec_context
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS), **options}
    return context


def read_facts(container: av.container.InputContainer, path: str | os.PathLike[str]) -> VideoFacts:
    """State the facts of an open container's video stream.

    Raises VideoError where the stream has no decoder or its size is out of bounds.
    """
    name = os.fspath(path)
    stream = video_stream(container)
    assert stream is not None, "open_container opens nothing without a video stream"
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{name}: its video codec has no decoder in this FFmpeg; transcode it first")
    if context.codec_tag in ENCRYPTED_TAGS:
        raise VideoError(f"{name}: is encrypted ({context.codec_tag}); decrypt it first")
    if context.width <= 0 or context.height <= 0:
        raise VideoError(f"{name}: its header gives no picture size; the file may be cut short")
    if context.width * context.height > MAX_PIXELS:
        raise VideoError(
            f"{name}: {context.width}x{context.height} is over the limit of {MAX_PIXELS} pixels; scale it down first"
        )
    rate = stream.average_rate or stream.guessed_rate
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = container.duration / av.time_base if container.duration else 0.0
    codec = context.codec.canonical_name
    return VideoFacts(
        path=name,
        container=container.format.name.split(",")[0],
        codec=codec,
        profile=str(stream.profile or ""),
        pixel_format=context.pix_fmt or "",
        width=context.width,
        height=context.height,
        fps=float(rate) if rate else 0.0,
        seconds=seconds,
        size=Path(name).stat().st_size,
        sequence=find_sequence_parameters(context.extradata, None) if codec == "h264" else None,
    )
