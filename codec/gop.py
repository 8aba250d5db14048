"""One GOP of packets: the order in which its pictures are shown, and which of them nothing refers to.

`starts_gop` tells of one packet whether a GOP can begin there; `packets` asks it, and finds which packets make a GOP.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import av
import numpy as np

from codecsieve.codec.facts import VideoFacts
from codecsieve.codec.keyframes import begins_gop
from codecsieve.codec.nal import (
    h264_is_droppable,
    hevc_picture,
    mpeg2_is_droppable,
    mpeg4_is_droppable,
    nal_length_size,
)
from codecsieve.errors import VideoError

REDRAWN_CODECS = frozenset({"apng", "gif"})
"""Codecs whose every picture is drawn over the one before, whatever its packet is marked as."""


@dataclass(frozen=True)
class Gop:
    """One GOP in decode order, packets and all."""

    first: int
    """Decode index of its first packet."""
    packets: list[av.Packet]
    """[n] packets, decode order."""
    display: np.ndarray
    """int64 [n]: display index in the file (only if the source is `ordered`); -1 for a picture that is never
    shown (edit lists, leading pictures of a cut stream)."""
    order: np.ndarray
    """int64 [n]: 0..n-1 in order of presentation, those that are never shown included."""
    droppable: np.ndarray
    """bool [n]: no other picture refers to it."""
    skipped: np.ndarray
    """bool [n]: decoders leave it out where they have not decoded the GOP before (HEVC's RASL pictures)."""
    seconds: np.ndarray
    """float64 [n]: presentation time from the start of the file."""

    @cached_property
    def leading(self) -> bool:
        """True where some picture is shown before the keyframe: it may refer to the GOP before (open GOP)."""
        return bool((self.order[self.display >= 0] < self.order[0]).any())


def make_gop(
    facts: VideoFacts,
    stream: av.VideoStream,
    first: int,
    shown: int,
    packets: list[av.Packet],
    start: int,
    lost: frozenset[int] = frozenset(),
) -> Gop:
    """Number the pictures of a GOP.

    Args:
        facts: of the file.
        stream: the packets' stream.
        first: decode index of the first packet.
        shown: pictures shown before this GOP.
        packets: all of them, in decode order.
        start: presentation timestamp of the file's first frame.
        lost: decode indices of pictures that cannot be decoded, and so are never shown.

    Raises VideoError where packets are encrypted: their pictures would be garbage.
    """
    refuse_encrypted(facts, packets)
    pts = np.array([start if packet.pts is None else packet.pts for packet in packets], np.int64)
    hidden = np.array([packet.is_discard or first + n in lost for n, packet in enumerate(packets)], bool)
    display = np.full(len(packets), -1, np.int64)
    presented = np.argsort(pts, kind="stable")
    order = np.empty(len(packets), np.int64)
    order[presented] = np.arange(len(packets))
    shown_ones = presented[~hidden[presented]]
    display[shown_ones] = shown + np.arange(len(shown_ones))
    base = float(stream.time_base or 0)
    droppable, skipped = unneeded_pictures(facts, stream, packets)
    return Gop(first, packets, display, order, droppable, skipped, (pts - start) * base)


def starts_gop(facts: VideoFacts, stream: av.VideoStream, packet: av.Packet) -> bool:
    """Whether decoding can begin at a packet that its container calls a keyframe, as far as the packet tells."""
    if facts.codec in REDRAWN_CODECS:
        return False
    size = nal_length_size(facts.codec, stream.codec_context.extradata) if facts.codec in ("h264", "hevc") else 0
    return begins_gop(facts.codec, memoryview(packet), size) is not False


def refuse_encrypted(facts: VideoFacts, packets: list[av.Packet]) -> None:
    """Raise VideoError where packets are encrypted: their pictures would be garbage."""
    if any(packet.has_sidedata("encryption_info") for packet in packets):
        raise VideoError(f"{facts.path}: is encrypted; decrypt it first")


def unneeded_pictures(
    facts: VideoFacts, stream: av.VideoStream, packets: list[av.Packet]
) -> tuple[np.ndarray, np.ndarray]:
    """`Gop.droppable` and `Gop.skipped`, as far as the packets themselves tell."""
    views = [memoryview(packet) for packet in packets]
    size = nal_length_size(facts.codec, stream.codec_context.extradata) if facts.codec in ("h264", "hevc") else 0
    droppable = skipped = np.zeros(len(packets), bool)
    if facts.codec == "h264":
        droppable = np.array([h264_is_droppable(view, size) for view in views], bool)
    elif facts.codec == "hevc":
        pictures = [hevc_picture(view, size) for view in views]
        highest = max(picture.layer for picture in pictures)
        droppable = np.array([picture.unreferenced and picture.layer == highest for picture in pictures], bool)
        skipped = np.array([picture.skipped for picture in pictures], bool)
    elif facts.codec in ("mpeg2video", "mpeg1video"):
        droppable = np.array([mpeg2_is_droppable(view) for view in views], bool)
    elif facts.codec == "mpeg4":
        droppable = np.array([mpeg4_is_droppable(view) for view in views], bool)
    return droppable, skipped
