"""Where a raw stream ends, in a file that goes on behind it.

A raw stream has no sizes: FFmpeg gathers a picture's bytes until the next one begins, and all that is left of a file
where none does: a copy that broke off may leave gigabytes of zeros. It does so as soon as the file is opened, so this
is found out before.
"""

from __future__ import annotations

import re
from typing import IO

import av

from codecsieve.codec.containers import PICTURES, beginning_of

LONGEST_PICTURE = 128 << 20
"""Bytes without the beginning of a picture that end a stream: more than all samples of an 8K picture in 4:2:0."""
_BLOCK = 1 << 20
"""Also as many bytes as FFmpeg looks at to tell what a file is."""
_FIRST = 64 << 10
"""Bytes of a block that are looked at before the rest: in a sound stream they are enough."""

_START_CODE, _JPEG, _NOT_ZERO = rb"\x00\x00\x01", rb"\xff\xd8", rb"[^\x00]"
RAW_STREAMS = {
    **dict.fromkeys(["avs2", "avs3", "cavsvideo", "h264", "hevc", "m4v", "mpegvideo", "vc1", "vvc"], _START_CODE),
    **dict.fromkeys([f"{name}_pipe" for name in PICTURES.split()], _NOT_ZERO),
    **dict.fromkeys(["mjpeg", "ingenient", "jpeg_pipe"], _JPEG),
    "mjpeg_2000": rb"\xff\x4f\xff\x51",
    "dnxhd": rb"\x00\x00\x02\x80",
    "h263": rb"\x00\x00[\x80-\x83]",
    "dirac": rb"BBCD",
    **dict.fromkeys(("gif", "h261", "ipu"), _NOT_ZERO),
}
"""FFmpeg's names of raw streams -> what every picture of one begins with, or, without such a mark, has somewhere."""


def end_of_stream(path: str, size: int) -> int | None:
    """The byte at which a raw stream is to end, since no picture begins in LONGEST_PICTURE bytes behind it; None where
    it goes to the end of its file, of so many bytes, and for what is no raw stream.

    Reads a sixteenth of a sound stream, and nothing of a file that is shorter than LONGEST_PICTURE.
    """
    if size <= LONGEST_PICTURE:
        return None
    mark = RAW_STREAMS.get(_format_by_beginning(path))
    if mark is None:
        return None
    begins, latest = re.compile(mark), 0
    with open(path, "rb") as file:
        for at in range(0, size, _BLOCK):
            if any(begins.search(_read(file, at, length)) for length in (_FIRST, _BLOCK)):
                latest = at + _BLOCK
            elif at + _BLOCK - latest >= LONGEST_PICTURE:
                return latest
    return None


def _format_by_beginning(path: str) -> str:
    """What FFmpeg takes a file for, damaged beginning or not, but shown no more than that of it; "" where for nothing.

    MP4 whose index is at its end is nothing so far.
    """
    url, options = beginning_of(path, _BLOCK)
    try:
        with av.open(url, options=options, metadata_errors="replace") as container:
            return container.format.name
    except (av.FFmpegError, OSError, ValueError):
        return ""


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
