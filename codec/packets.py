"""Open a file as a source of packets, and find out how far its packet table can be believed.

How its packets are found and numbered is left to `source`, `indexed` and `scanned`; what is tried to tell the truth, to
`trust` and `changes`.
"""

from __future__ import annotations

import av
import av.packet
import numpy as np

from codecsieve.codec.facts import open_container, read_facts
from codecsieve.codec.gop import Gop, starts_gop
from codecsieve.codec.indexed import IndexedSource, NotIndexedError
from codecsieve.codec.scanned import ScannedSource, read_packets
from codecsieve.codec.source import PacketSource
from codecsieve.codec.trust import (
    TELLING_PICTURES,
    is_doubtful,
    leading_pictures,
    order_agrees,
    undecodable,
)
from codecsieve.machine import MAX_MEMORY


def open_source(path: str, believe: bool = True, max_memory: int = MAX_MEMORY) -> PacketSource:
    """Open a file and number its pictures, from the container's own index where it has a whole one.

    Args:
        path: a local file.
        believe: take display order from timestamps, where there is no reason to doubt them; False: from the decoder.
        max_memory: bytes that a clip of it may take, see `memory`.

    Raises:
        VideoError: nothing in the file can be decoded, or not within that memory.
    """
    source = _number_packets(path, believe, max_memory)
    facts = source.facts
    try:
        first = source.read(0)
        if source.ordered and source.stream.codec_context.has_b_frames:
            packets, order = _telling_packets(source)
            source.doubtful = is_doubtful(order)
            if source.doubtful and not order_agrees(facts, packets, order):
                source.close()
                source = _number_packets(path, False, max_memory)
                first = source.read(0)
        doubtful = _doubtful_packets(source, first)
        lost = undecodable(facts, doubtful) if doubtful else frozenset()
        lost |= _lost_at_changes(source)
        if lost:
            source.leave_out(lost)
        if facts.pixel_format == "pal8":
            source.palette = _first_palette(path)
        return source
    except BaseException:
        source.close()
        raise


def _first_palette(path: str) -> av.packet.PacketSideData | None:
    """What comes with the first packet that is read of a file, and never again once it was sought in."""
    with open_container(path) as container:
        first = next(read_packets(container))
        return first.get_sidedata("palette") if first.has_sidedata("palette") else None


def _telling_packets(source: PacketSource) -> tuple[list[av.Packet], np.ndarray]:
    """Packets of the first GOPs, and their places in order of presentation."""
    packets: list[av.Packet] = []
    order = []
    for number in range(source.gops):
        gop = source.read(number)
        packets += gop.packets
        order.append(gop.first + gop.order)
        if len(packets) >= TELLING_PICTURES:
            break
    return packets, np.concatenate(order)


def _doubtful_packets(source: PacketSource, first: Gop) -> list[av.Packet]:
    """Packets from a file's first on whose pictures may want for what came before: leading pictures of the first
    keyframe, and all that is before it.
    """
    whole: list[av.Packet] = []
    if not starts_gop(source.facts, source.stream, first.packets[0]):
        whole = first.packets
        if source.gops == 1:
            return whole
        first = source.read(1)
    leading = leading_pictures(first, source.ordered)
    return [*whole, *first.packets[: leading + 1]] if whole or leading else []


def _lost_at_changes(source: PacketSource) -> frozenset[int]:
    """Decode indices of the pictures that a decoder has not shown yet when the size changes, and never will."""
    lost: list[int] = []
    for before, after in source.changes:
        packets = [packet for number in range(before, after) for packet in source.read(number).packets]
        following = source.read(after).packets[0]
        missing = undecodable(source.facts, [*packets, following]) - undecodable(source.facts, packets)
        lost += [int(source.starts[before]) + offset for offset in missing if offset < len(packets)]
    return frozenset(lost)


def _number_packets(path: str, believe: bool, max_memory: int) -> PacketSource:
    container = open_container(path)
    try:
        facts = read_facts(container, path, max_memory)
        if believe:
            try:
                return IndexedSource(container, facts)
            except NotIndexedError:
                container.close()
                container = open_container(path)
        source = ScannedSource(container, facts)
        source.ordered &= believe
        return source
    except BaseException:
        container.close()
        raise
