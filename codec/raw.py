"""Where a raw stream ends, in a file that goes on behind it.

A raw stream has no sizes: FFmpeg gathers a picture's bytes until the next one begins, and all that is left of a file
where none does: a copy that broke off may leave gigabytes of zeros. It does so as soon as the file is opened, so this
is found out before.
"""

from __future__ import annotations

import re
from typing import IO

LONGEST_PICTURE = 128 << 20
"""Bytes without the beginning of a picture that end a stream: more than all samples of an 8K picture in 4:2:0."""
_BLOCK = 1 << 20
_FIRST = 64 << 10
"""Bytes of a block that are looked at before the rest: in a sound stream they are enough."""

_NOT_ZERO = rb"[^\x00]"
RAW_STREAMS = (
    (rb"\x00+\x00\x01", rb"\x00\x00\x01"),  # H.264, HEVC, VVC, MPEG-1, -2 and -4, VC-1, AVS
    (rb"\xff\xd8\xff", rb"\xff\xd8"),  # JPEG
    (rb"\x00\x00\x02\x80", rb"\x00\x00\x02\x80"),  # DNxHD
    (rb"\x00\x00[\x80-\x83]", rb"\x00\x00[\x80-\x83]"),  # H.263
    (rb"BBCD", rb"BBCD"),  # Dirac
    (rb"GIF8|\x89PNG|BM|II\*\x00|MM\x00\*|RIFF....WEBP", _NOT_ZERO),
)
"""How a raw stream begins -> what every picture of it begins with, or, of those without such a mark, has somewhere."""
_BOX = re.compile(rb"....(ftyp|moov|mdat|free|skip|wide|pnot)", re.DOTALL)
"""How MP4 begins, whose first bytes may be taken for a raw stream's."""


def end_of_stream(path: str, size: int) -> int | None:
    """The byte at which a raw stream is to end, since no picture begins in LONGEST_PICTURE bytes behind it; None where
    it goes to the end of its file, of so many bytes, and for what is no raw stream.

    Reads a sixteenth of a sound stream, and nothing of a file that is shorter than LONGEST_PICTURE.
    """
    if size <= LONGEST_PICTURE:
        return None
    with open(path, "rb") as file:
        head = file.read(_FIRST)
        mark = next((mark for begins, mark in RAW_STREAMS if re.match(begins, head, re.DOTALL)), None)
        if mark is None or _BOX.match(head):
            return None
        begins, latest = re.compile(mark), 0
        for at in range(0, size, _BLOCK):
            if any(begins.search(_read(file, at, length)) for length in (_FIRST, _BLOCK)):
                latest = at + _BLOCK
            elif at + _BLOCK - latest >= LONGEST_PICTURE:
                return latest
    return None


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
