"""Where a stream's headers change on its way: what every reader must carry along, and what decoders lose by it.

A container with several headers (a second `stsd` entry) gives the new ones with one packet only; who passes over that
packet would decode all that follows by the old ones. Decoders of the MPEG-1, 2 and 4 families throw away the picture
that they hold back when the size changes: it is never shown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import av
from av.packet import PacketSideData

SIZE_HEADERS = {
    "mpeg1video": re.compile(rb"\x00\x00\x01\xb3(...)", re.DOTALL),
    "mpeg2video": re.compile(rb"\x00\x00\x01(?:\xb3|\xb5(?=[\x10-\x1f]))(...)", re.DOTALL),
    "mpeg4": re.compile(rb"\x00\x00\x01[\x20-\x2f](.+?)(?=\x00\x00\x01|\Z)", re.DOTALL),
}
"""The parts of a packet that state size and chroma format, by FFmpeg's name of the codec: sequence header, sequence
extension (ISO/IEC 13818-2 6.2.2), video object layer (ISO/IEC 14496-2 6.2.3)."""
HEADER_BYTES = 256
"""A keyframe's headers stand in so many first bytes: 64 bytes of each matrix of MPEG-2 are among them."""


class CarriedHeaders:
    """The headers in force where a reader of a container is."""

    def __init__(self) -> None:
        self._latest: PacketSideData | None = None

    def carry(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """Packets as they are read; once headers have changed, every keyframe has those that it is decoded by."""
        for packet in packets:
            if packet.has_sidedata("new_extradata"):
                self._latest = PacketSideData.from_packet(packet, "new_extradata")
            elif self._latest is not None and packet.is_keyframe:
                self._latest.to_packet(packet)
            yield packet


def has_size_header(codec: str) -> bool:
    """Whether a decoder of the codec (FFmpeg's name) loses a picture where the size changes."""
    return codec in SIZE_HEADERS


def size_header(codec: str, data: bytes) -> tuple[bytes, ...]:
    """What a keyframe's first HEADER_BYTES state of its size; empty where they say nothing."""
    return tuple(SIZE_HEADERS[codec].findall(data))


class SizeChange(NamedTuple):
    """Two GOPs that state different sizes, with none between them that states any."""

    before: int
    after: int


def size_changes(headers: list[tuple[bytes, ...]]) -> list[SizeChange]:
    """Where the size changes, by the `size_header` of each GOP."""
    stating = [number for number, header in enumerate(headers) if header]
    pairs = itertools.pairwise(stating)
    return [SizeChange(before, after) for before, after in pairs if headers[before] != headers[after]]
