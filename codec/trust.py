"""Whether a file's packet table tells what its decoder shows, tried by decoding a little of it.

Timestamps may be decode times, flags of keyframes may be on every packet, and the first pictures of a cut stream cannot
be decoded at all. Each of these leaves a trace that costs nothing to look for; only where there is one are a few
packets decoded here, by a decoder of their own. What follows from it is left to `packets`.
"""

from __future__ import annotations

import itertools

import av
import numpy as np

from codecsieve.codec.facts import bounded_decoder, open_container, video_stream
from codecsieve.codec.gop import Gop

TELLING_PICTURES = 16
"""So many of a file's first packets are looked at, whole GOPs of them: a codec that reorders would have done so."""
TRIED_PICTURES = 64
"""Of those, where their timestamps are doubtful."""
TRIED_KEYFRAMES = 8


def is_doubtful(order: np.ndarray) -> bool:
    """Whether timestamps of a codec that reorders may be decode times: they ascend from packet to packet.

    order: int64 [n], places in order of presentation, of packets in decode order.
    """
    return len(order) > 2 and bool((np.diff(order) > 0).all())


def order_agrees(path: str, packets: list[av.Packet], order: np.ndarray) -> bool:
    """Whether a decoder shows a file's first pictures in the order that their timestamps tell."""
    shown = shown_offsets(path, packets[:TRIED_PICTURES])
    return bool((np.diff(order[shown]) > 0).all())


def leading_pictures(gop: Gop, ordered: bool) -> int:
    """How many packets behind a GOP's keyframe are shown before it, or may be.

    ordered: whether timestamps tell; else they are those that the packets themselves mark, or that nothing refers to.
    """
    leading = gop.skipped | ((gop.order < gop.order[0]) if ordered else gop.droppable)
    return next((offset for offset in range(1, len(leading)) if not leading[offset]), len(leading)) - 1


def undecodable(path: str, packets: list[av.Packet]) -> frozenset[int]:
    """Numbers of those of a file's first packets whose pictures no decoder shows, for want of what came before."""
    return frozenset(range(len(packets))) - frozenset(shown_offsets(path, packets))


def keyframes_agree(path: str, packets: list[av.Packet]) -> bool:
    """Whether packets that are all marked as keyframes are: each decodes alone to what it decodes to in its turn."""
    tried = packets[:TRIED_KEYFRAMES]
    in_turn = _pictures(path, tried)
    if in_turn is None:
        return True
    # Each by a decoder of its own: not all forget their pictures when they are flushed.
    alone = [picture for packet in tried for picture in _pictures(path, [packet]) or []]
    return len(alone) == len(in_turn) and all(map(np.array_equal, alone, in_turn))


def shown_offsets(path: str, packets: list[av.Packet]) -> list[int]:
    """Numbers of the packets whose pictures a decoder shows that begins with the first of them, as it shows them."""
    with open_container(path) as container:
        decoder = _decoder(container)
        found: list[int | None] = []  # and not the pictures: a GOP of them may not fit the memory
        for number, packet in enumerate(packets):
            times = packet.pts, packet.dts
            packet.pts = packet.dts = number
            found += [frame.pts for frame in _decode(decoder, packet)]
            packet.pts, packet.dts = times
        found += [frame.pts for frame in _decode(decoder, None)]
        return [number for number in found if number is not None]


def _decoder(container: av.container.InputContainer) -> av.VideoCodecContext:
    stream = video_stream(container)
    assert stream is not None, "open_container opens nothing without a video stream"
    return bounded_decoder(stream)


def _pictures(path: str, packets: list[av.Packet]) -> list[np.ndarray] | None:
    """What a new decoder makes of packets; None where its codec has no pictures but keyframes."""
    with open_container(path) as container:
        decoder = _decoder(container)
        if decoder.codec.intra_only:
            return None
        frames = itertools.chain.from_iterable(_decode(decoder, packet) for packet in [*packets, None])
        return [frame.to_ndarray(format="rgb24") for frame in frames]


def _decode(decoder: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return decoder.decode(packet)
    except av.FFmpegError:
        return []
