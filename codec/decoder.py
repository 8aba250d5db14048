"""A stream's decoder, within bounds, and what comes of a packet that it cannot decode.

Which packets it is sent, and what its pictures are numbered, is left to `decode`, and for trials to `trust`.
"""

from __future__ import annotations

import av

from codecsieve.codec.facts import VideoFacts
from codecsieve.errors import VideoError

MOST_PIXELS = 2**31 - 1
"""The most that FFmpeg can be told to allow."""


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
    try:
        return decoder.decode(packet)
    except av.error.MemoryError:
        raise
    except av.FFmpegError:
        return None
