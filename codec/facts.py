"""Open one video file and state what it is: its container, its stream, its codec, its size.

Nothing is decoded here beyond what FFmpeg itself reads to identify the stream. The packets are left to
`packets`, the signals to `signals`, and how pictures are turned (known only from a decoded one) to `picture`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import av
from av.stream import Discard, Disposition

from codecsieve.codec.containers import (
    FORMATS_ONLY,
    INPUT_OPTIONS,
    beginning_of,
    format_of,
    list_kind,
    names_a_sequence,
    url_of,
)
from codecsieve.codec.memory import clip_bytes, largest_picture
from codecsieve.codec.nal import SequenceParameters, find_sequence_parameters
from codecsieve.codec.parameter_sets import first_sequence, read_hevc_sequence
from codecsieve.codec.raw import end_of_stream
from codecsieve.codec.video_file import open_bytes, size_of
from codecsieve.errors import ConfigError, VideoError
from codecsieve.files import kind_of_file
from codecsieve.machine import MAX_MEMORY
from codecsieve.objects import is_object_url
from codecsieve.options import in_units

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
    references: int | None
    """Pictures that others may refer to at once, by the headers of H.264 and HEVC; None where they do not say."""
    max_memory: int
    """Bytes that a clip of it may take in memory, see `memory`."""

    @property
    def most_pixels(self) -> int:
        """Of a picture: any larger one would take more than that, whatever its sides."""
        return largest_picture(self.codec, self.pixel_format, self.references, self.max_memory)


def open_container(path: str | os.PathLike[str]) -> av.container.InputContainer:
    """Open a file, or an object at a URL, for demuxing its first video stream only. No other is, whatever it says.

    Raises VideoError where it is no file, missing, empty, not a video, a list of other files, or has no video stream.
    """
    name = os.fspath(path)
    source: str | IO[bytes]
    if is_object_url(name):
        _size_of_file(name)
        source, options = open_bytes(name), FORMATS_ONLY
    else:
        source, options = input_of(name)
    try:
        container = av.open(source, "r", format=format_of(name), options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _refusal(name, error) from error
    wanted = video_stream(container)
    if wanted is None:
        container.close()
        raise VideoError(f"{name}: has no video stream; leave it out of the manifest")
    for stream in container.streams:
        # An unread audio track would otherwise end a truncated file's video early.
        if stream.index != wanted.index:
            stream.discard = Discard.all
    return container


def input_of(path: str | os.PathLike[str]) -> tuple[str, dict[str, str]]:
    """A file as FFmpeg is to be given it, whichever program it is in: its URL, and options.

    Raises VideoError where it is no file with content.
    """
    name = os.fspath(path)
    size = _size_of_file(name)
    try:
        end = end_of_stream(name, size)
    except OSError as error:
        raise VideoError(f"{name}: cannot be read ({error.strerror}); check who may read it, and its disk") from error
    return (url_of(name), INPUT_OPTIONS) if end is None else beginning_of(name, end)


def _size_of_file(name: str) -> int:
    """Bytes of a file. Raises VideoError for a path that is no file with content: a FIFO, say, must not be opened."""
    try:
        kind, size = ("file" if is_object_url(name) else kind_of_file(name)), size_of(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoError(f"{name}: no such file; check the path") from error
    except OSError as error:
        raise VideoError(f"{name}: cannot be reached ({error.strerror}); check the path and who may read it") from error
    except ConfigError as error:  # obstore is not installed, or makes nothing of the URL
        raise VideoError(f"{name}: {error}") from error
    except ValueError as error:
        what = "a NUL character" if "\0" in name else "characters"  # half of a surrogate pair, say
        raise VideoError(f"{name}: holds {what} which no file's name can; check the path") from error
    if kind != "file":
        raise VideoError(f"{name}: is a {kind}; name a video file")
    if size == 0:
        raise VideoError(f"{name}: the file is empty; copy or download it again")
    return size


def _refusal(name: str, error: Exception) -> VideoError:
    """Why a file could not be opened as a video."""
    with contextlib.suppress(OSError):
        kind = list_kind(name)
        if kind is None and names_a_sequence(name) and Path(name).suffix.lower() not in VIDEO_SUFFIXES:
            kind = "image2"
        if kind is not None:
            return VideoError(f"{name}: is a list of other files ({kind}); name the videos themselves")
    reason = getattr(error, "strerror", None) or str(error)
    if getattr(error, "errno", None) == errno.EINVAL:  # what FFmpeg says of a format that it may not open
        reason = "its format is none that is read here, or its header is damaged"
    return VideoError(f"{name}: not a readable video ({reason}); is it complete, and a video?")


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video stream that is no cover picture of an audio file; None where there is none."""
    moving = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(moving, None)


def read_facts(
    container: av.container.InputContainer,
    path: str | os.PathLike[str],
    max_memory: int = MAX_MEMORY,
    size: int | None = None,
) -> VideoFacts:
    """State the facts of an open container's video stream.

    max_memory: bytes that a clip of it may take; size: of the file, where `path` does not lead to one.

    Raises VideoError where the stream has no decoder, no size, or pictures that would take more memory than that.
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
    rate = stream.average_rate or stream.guessed_rate
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = container.duration / av.time_base if container.duration else 0.0
    codec = context.codec.canonical_name
    sequence = find_sequence_parameters(context.extradata, None) if codec == "h264" else None
    facts = VideoFacts(
        path=name,
        container=_short_name(container),
        codec=codec,
        profile=str(stream.profile or ""),
        pixel_format=context.pix_fmt or "",
        width=context.width,
        height=context.height,
        fps=float(rate) if rate else 0.0,
        seconds=seconds,
        size=size_of(name) if size is None else size,
        sequence=sequence,
        references=sequence.reference_frames if sequence else _references(codec, context.extradata),
        max_memory=max_memory,
    )
    check_memory(facts, facts.pixel_format, facts.width, facts.height)
    return facts


def _short_name(container: av.container.InputContainer) -> str:
    return container.format.name.split(",")[0]


def _references(codec: str, extradata: bytes | None) -> int | None:
    """Pictures that a decoder of HEVC may have to hold, as far as its headers tell."""
    try:
        sequence = first_sequence(codec, extradata) if codec == "hevc" else None
        return read_hevc_sequence(sequence).pictures if sequence else None
    except IndexError:  # cut short
        return None


def check_memory(
    facts: VideoFacts, pixel_format: str, width: int, height: int, packets: int = 0, held: int = 0
) -> None:
    """Raise VideoError where pictures of a size, with so many bytes of packets, take more memory than a clip may.

    The size is the stream's own, or one that it changes to on its way. held: bytes of what is kept of them besides.
    """
    pictures = clip_bytes(facts.codec, pixel_format, width, height, facts.references) + held
    if pictures + packets <= facts.max_memory:
        return
    limit = f"over the {in_units(facts.max_memory)} that --max-memory allows"
    if pictures > facts.max_memory:
        raise VideoError(
            f"{facts.path}: {width}x{height} {pixel_format} may take {in_units(pictures)} of memory, {limit}; "
            "raise that, or scale it down first"
        )
    raise VideoError(
        f"{facts.path}: may take {in_units(pictures + packets)} of memory, {in_units(packets)} of it packets between "
        f"keyframes, {limit}; raise that, or transcode it with more keyframes"
    )
