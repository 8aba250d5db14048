"""Which kinds of signals there are, and which a file gives.

How each is made is left to `bitstream` and `search`.
"""

from __future__ import annotations

from typing import Protocol

from codecsieve.codec.fields import FIELD_CODECS
from codecsieve.errors import VideoError

SIGNALS = ("auto", "bitstream", "search", "difference", "bits")
"""How motion and residual may be had; see `choose_signals`."""

MOTION_CODECS = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video"})
"""Codecs whose motion vectors FFmpeg exports."""


class Coded(Protocol):
    """What counts of a file's facts (`facts.VideoFacts`)."""

    @property
    def path(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def pixel_format(self) -> str: ...


def choose_signals(facts: Coded, asked: str, fields: bool = False) -> str:
    """The signals to use for a file: `bitstream`, `search` or `difference`.

    `auto` takes the bitstream's own motion where the decoder's can be read (`fields`: HEVC, H.264) or FFmpeg exports it
    for this codec (H.264 up to 12 bits a sample, MPEG-4 part 2, MPEG-1/2), else block search.
    `difference` is no motion, and what changed since the frame before: a plain method to compare the others with.
    `bits` is what the encoder spent, which only the decoder's fields tell.

    Raises ValueError for an unknown choice, VideoError where `bitstream` or `bits` is asked of a codec that has none.
    """
    if asked not in SIGNALS:
        raise ValueError(f"signals ({asked!r}) must be one of {', '.join(SIGNALS)}")
    if asked in ("search", "difference"):
        return asked
    if fields and facts.codec in FIELD_CODECS:
        return "bits" if asked == "bits" else "bitstream"
    if asked == "bits":
        raise VideoError(
            f"{facts.path}: what was spent on blocks of {facts.codec} cannot be read; use --signals auto, or "
            "transcode the file to H.264"
        )
    if facts.codec in MOTION_CODECS and "14" not in facts.pixel_format:
        return "bitstream"
    if asked == "bitstream":
        raise VideoError(
            f"{facts.path}: no motion of {facts.codec} can be read; use --signals auto or search, or transcode the "
            "file to H.264"
        )
    return "search"
