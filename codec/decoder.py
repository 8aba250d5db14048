"""A stream's decoder, within bounds, and what comes of a packet that it cannot decode.

Which packets it is sent, and what its pictures are numbered, is left to `decode`, and for trials to `trust`.
"""

from __future__ import annotations

import av

from codecsieve.codec.facts import VideoFacts
from codecsieve.codec.keyframes import begins_gop
from codecsieve.errors import VideoError

MOST_PIXELS = 2**31 - 1
"""The most that FFmpeg can be told to allow."""
MOST_HELD_BACK = 64
"""Pictures that are decoded before another which is shown first: more than any decoder holds back."""
_STUCK_DECODERS = frozenset({"libdav1d"})
"""FFmpeg's names of decoders that, on one thread, refuse every packet behind a damaged one until they are flushed."""


def bounded_decoder(stream: av.VideoStream, facts: VideoFacts, **options: str) -> av.VideoCodecContext:
    """Open a stream's decoder: on one thread, and for no picture that would not fit the memory, whatever packets say.

    options: FFmpeg's, besides. Raises VideoError where it cannot be opened.
    """
    context = stream.codec_context
    context.thread_count = 1
    context.options = {"max_pixels": str(min(facts.most_pixels, MOST_PIXELS)), **options}
    try:
        context.open(strict=False)
    except av.error.MemoryError:
        raise
    except av.FFmpegError as error:
        raise VideoError(f"{facts.path}: its decoder does not open ({error.strerror}); transcode the file") from error
    return context


def decode_packet(decoder: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame] | None:
    """The pictures that a decoder shows once it has a packet, or, of None, those that it still held back.

    None where the packet is damaged: whatever error the decoder gives of it (VP9 says EAGAIN, TSCC an unknown one), it
    goes on with the next.

    Raises av.error.MemoryError where there is not enough memory, which is no fault of the packet's.
    """
    pictures = _decoded(decoder, packet)
    if pictures is None and packet is not None and _may_be_stuck(decoder, packet):
        # What begins a GOP needs nothing of what is forgotten.
        decoder.flush_buffers()
        return _decoded(decoder, packet)
    return pictures


def _decoded(decoder: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame] | None:
    try:
        return decoder.decode(packet)
    except av.error.MemoryError:
        raise
    except av.FFmpegError:
        return None


def _may_be_stuck(decoder: av.VideoCodecContext, packet: av.Packet) -> bool:
    """Whether a packet that was refused may be sound, and the decoder not have got over one before it."""
    if decoder.codec.name not in _STUCK_DECODERS:
        return False
    return packet.is_keyframe and begins_gop(decoder.codec.canonical_name, memoryview(packet), 0) is not False
