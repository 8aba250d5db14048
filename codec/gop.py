"""One GOP of packets: the order in which its pictures are shown, and which of them nothing refers to.

Which packets make a GOP is found by `packets`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import av
import numpy as np

from codecsieve.codec.nal import (
    h264_is_droppable,
    h264_starts_intra,
    hevc_layer,
    mpeg2_is_droppable,
    mpeg4_is_droppable,
    nal_length_size,
)
from codecsieve.codec.probe import VideoFacts

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
    shown (edit lists)."""
    droppable: np.ndarray
    """bool [n]: no other picture refers to it."""
    seconds: np.ndarray
    """float64 [n]: presentation time from the start of the file."""

    @cached_property
    def leading(self) -> bool:
        """True where some picture is shown before the keyframe: it may refer to the GOP before (open GOP)."""
        shown = self.display[self.display >= 0]
        return bool(shown.size and self.display[0] > shown.min())


def make_gop(
    facts: VideoFacts, stream: av.VideoStream, first: int, shown: int, packets: list[av.Packet], start: int
) -> Gop:
    """Number the pictures of a GOP.

    Args:
        facts: of the file.
        stream: the packets' stream.
        first: decode index of the first packet.
        shown: pictures shown before this GOP.
        packets: all of them, in decode order.
        start: presentation timestamp of the file's first frame.
    """
    pts = np.array([start if packet.pts is None else packet.pts for packet in packets], np.int64)
    hidden = np.array([packet.is_discard for packet in packets], bool)
    display = np.full(len(packets), -1, np.int64)
    order = np.argsort(pts, kind="stable")
    order = order[~hidden[order]]
    display[order] = shown + np.arange(len(order))
    base = float(stream.time_base or 0)
    return Gop(first, packets, display, _droppable(facts, stream, packets), (pts - start) * base)


def starts_gop(facts: VideoFacts, stream: av.VideoStream, packet: av.Packet) -> bool:
    """Whether decoding can begin at a packet that its container calls a keyframe."""
    if facts.codec in REDRAWN_CODECS:
        return False
    if facts.codec == "h264":
        size = nal_length_size(facts.codec, stream.codec_context.extradata)
        return h264_starts_intra(memoryview(packet), size)
    return True


def _droppable(facts: VideoFacts, stream: av.VideoStream, packets: list[av.Packet]) -> np.ndarray:
    """Bool [n]: packets whose picture no other refers to, as far as the packet itself tells."""
    views = [memoryview(packet) for packet in packets]
    if facts.codec == "h264":
        size = nal_length_size(facts.codec, stream.codec_context.extradata)
        return np.array([h264_is_droppable(view, size) for view in views], bool)
    if facts.codec == "hevc":
        size = nal_length_size(facts.codec, stream.codec_context.extradata)
        layers, unreferenced = zip(*(hevc_layer(view, size) for view in views), strict=True)
        return np.array(unreferenced, bool) & (np.array(layers) == max(layers))
    if facts.codec in ("mpeg2video", "mpeg1video"):
        return np.array([mpeg2_is_droppable(view) for view in views], bool)
    if facts.codec == "mpeg4":
        return np.array([mpeg4_is_droppable(view) for view in views], bool)
    return np.zeros(len(packets), bool)
