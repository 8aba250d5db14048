"""Whether a file's packet table tells what its decoder shows, tried by decoding a little of it.

Timestamps may be decode times, flags of keyframes may be on every packet, and the first pictures of a cut stream cannot
be decoded at all. Each of these leaves a trace that costs nothing to look for; only where there is one are a few
packets decoded here, by a decoder of their own. What follows from it is left to `packets`.
"""

from __future__ import annotations

import hashlib
import itertools

import av
import numpy as np

from codecsieve.codec.decoder import bounded_decoder, decode_packet
from codecsieve.codec.facts import VideoFacts, open_container, video_stream
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


def order_agrees(facts: VideoFacts, packets: list[av.Packet], order: np.ndarray) -> bool:
    """Whether a decoder shows a file's first pictures in the order that their timestamps tell."""
    shown = shown_offsets(facts, packets[:TRIED_PICTURES])
    return bool((np.diff(order[shown]) > 0).all())


def leading_pictures(gop: Gop, ordered: bool) -> int:
    """How many packets behind a GOP's keyframe are shown before it, or may be.

    ordered: whether timestamps tell; else they are those that the packets themselves mark, or that nothing refers to.
    """
    leading = gop.skipped | ((gop.order < gop.order[0]) if ordered else gop.droppable)
    return next((offset for offset in range(1, len(leading)) if not leading[offset]), len(leading)) - 1


def undecodable(facts: VideoFacts, packets: list[av.Packet]) -> frozenset[int]:
    """Numbers of those of a file's first packets whose pictures no decoder shows, for want of what came before."""
    return frozenset(range(len(packets))) - frozenset(shown_offsets(facts, packets))


def keyframes_agree(facts: VideoFacts, packets: list[av.Packet]) -> bool:
    """Whether packets that are all marked as keyframes are: each decodes alone to what it decodes to in its turn."""
    tried = packets[:TRIED_KEYFRAMES]
    in_turn = _digests(facts, tried)
    # Each by a decoder of its own: not all forget their pictures when they are flushed.
    return in_turn is None or in_turn == [digest for packet in tried for digest in _digests(facts, [packet]) or []]


def shown_offsets(facts: VideoFacts, packets: list[av.Packet]) -> list[int]:
    """Numbers of the packets whose pictures a decoder shows that begins with the first of them, as it shows them."""
    with open_container(facts.path) as container:
        decoder = _decoder(container, facts)
        found: list[int | None] = []  # and not the pictures: a GOP of them may not fit the memory
        for number, packet in enumerate(packets):
            times = packet.pts, packet.dts
            packet.pts = packet.dts = number
            found += [frame.pts for frame in decode_packet(decoder, packet) or ()]
            packet.pts, packet.dts = times
        found += [frame.pts for frame in decode_packet(decoder, None) or ()]
        return [number for number in found if number is not None]


def _decoder(container: av.container.InputContainer, facts: VideoFacts) -> av.VideoCodecContext:
    stream = video_stream(container)
    assert stream is not None, "open_container opens nothing without a video stream"
    return bounded_decoder(stream, facts)


def _digests(facts: VideoFacts, packets: list[av.Packet]) -> list[bytes] | None:
    """Of the pictures that a new decoder makes of packets; None where its codec has none but keyframes."""
    with open_container(facts.path) as container:
        decoder = _decoder(container, facts)
        if decoder.codec.intra_only:
            return None
        frames = itertools.chain.from_iterable(decode_packet(decoder, packet) or () for packet in [*packets, None])
        return [hashlib.blake2b(frame.to_ndarray(format="rgb24").tobytes()).digest() for frame in frames]
