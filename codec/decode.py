"""Decode what a plan asks for, one clip on one thread, and put the pictures out in order of presentation.

One thread a clip: FFmpeg's motion export is a data race under frame threading, and clips side by side fill a
machine better. Each packet carries its decode index as its timestamp, so that a decoded frame tells which packet
it came from whatever the container's timestamps are worth.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator

import av
import numpy as np

from codecsieve.codec.decoder import bounded_decoder, decode_packet
from codecsieve.codec.layouts import Layouts
from codecsieve.codec.picture import Picture, fit_format
from codecsieve.codec.plan import GopPlan, plan_gops
from codecsieve.codec.source import PacketSource, PacketTableError
from codecsieve.errors import VideoError

LATE_MOTION = frozenset({"mpeg4", "mpeg2video", "mpeg1video"})
"""Codecs whose FFmpeg decoders give a reference picture with its motion once the next one comes, but without it
when they are emptied."""
Watch = Callable[[av.VideoCodecContext, int, int, Layouts], None]
"""Called when a decoder has just decoded a packet: with the decoder, the packet's decode index, its display index, and
the layouts of the pass."""
REPEATED = -1
"""Decode index of a packet that is sent again only to bring out the picture before it."""


class PictureNumbers:
    """Which picture of the file each one that a decoder puts out is, whatever decoder it is."""

    def __init__(self, source: PacketSource, wanted: np.ndarray) -> None:
        self.ordered = source.ordered
        self.last = int(wanted[-1]) if len(wanted) else -1
        self.shown = 0
        self.latest = -1
        self.sent: dict[int, tuple[int, bool]] = {}
        self.palette = source.palette

    def packets(self, plan: GopPlan) -> Iterator[av.Packet]:
        """The packets of a plan in decode order, each with its decode index for a timestamp."""
        for index, packet in plan.feed:
            offset = index - plan.gop.first
            self.sent[index] = int(plan.gop.display[offset]), bool(plan.gop.droppable[offset])
            packet.pts = packet.dts = index
            if self.palette is not None and not packet.has_sidedata("palette"):
                packet.set_sidedata(self.palette)
            self.palette = None  # the decoder keeps it
            yield packet

    def number(self, index: int) -> tuple[int, bool]:
        """Display index of the next picture in order of presentation, by its decode index; and whether others
        refer to it.
        """
        display, droppable = self.sent.pop(index, (-1, False))
        if not self.ordered:
            display, self.shown = self.shown, self.shown + 1
        return display, not droppable

    def ends(self, display: int, reference: bool) -> bool:
        """True where a picture shows that the wanted ones are out, of a source that is to be decoded to its end."""
        return not self.ordered and display > self.last and reference


def decode_pictures(
    source: PacketSource, wanted: np.ndarray, motion: bool, watch: Watch | None = None
) -> Iterator[Picture]:
    """Decode the wanted pictures and the reference pictures they need.

    Args:
        source: the open file. Its decoder is used up: open the file again for another pass.
        wanted: int64 [n], ascending display indices.
        motion: also export the motion vectors.
        watch: called after each packet; what it looks at in the decoder is there until it returns.

    Yields:
        Pictures in order of presentation, wanted or not; droppable ones only where they are wanted. A damaged
        picture that the decoder gives up on is left out.

    Raises:
        PacketTableError: the decoder's order is not that of the source's timestamps.
        VideoError: FFmpeg cannot go on.
    """
    decoder = open_decoder(source, motion)
    layouts = Layouts(source)
    numbers = PictureNumbers(source, wanted)
    repeat_last = motion and source.facts.codec in LATE_MOTION
    try:
        for index, frame in _decode(decoder, plan_gops(source, wanted), numbers, layouts, repeat_last, watch):
            display, reference = numbers.number(index)
            if 0 <= display <= numbers.latest:
                raise PacketTableError(f"{source.facts.path}: its timestamps are not in its decoder's order; remux it")
            numbers.latest = max(numbers.latest, display)
            layout = layouts.of(frame, index)
            yield Picture(fit_format(frame, layout), layout, index, display, reference)
            if numbers.ends(display, reference):
                return
    except av.error.MemoryError:
        raise
    except av.FFmpegError as error:
        raise VideoError(f"{source.facts.path}: decoder failed ({error.strerror}); transcode the file") from error


def open_decoder(source: PacketSource, motion: bool) -> av.VideoCodecContext:
    """FFmpeg's decoder of a source's packets, set up for one thread; `motion`: it exports motion vectors."""
    options = {}
    if motion:
        options["flags2"] = "+export_mvs"
    if source.facts.codec == "h264":
        # Prediction reads beyond the shown picture, up to the coded one.
        options["apply_cropping"] = "0"
    return bounded_decoder(source.stream, source.facts, **options)


def _decode(
    decoder: av.VideoCodecContext,
    plans: Iterator[GopPlan],
    numbers: PictureNumbers,
    layouts: Layouts,
    repeat_last: bool,
    watch: Watch | None,
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames with their decode index."""
    for plan in plans:
        for packet in numbers.packets(plan):
            layouts.sent(packet)
            shown = decode_packet(decoder, packet) or ()
            if watch is not None:
                index = int(packet.pts or 0)
                watch(decoder, index, numbers.sent[index][0], layouts)
            yield from numbered(shown)
        if plan.closes:
            # Here and not before the next GOP is sent: reading that may seek, which empties the decoder unseen.
            last = _last_reference(plan) if repeat_last else None
            yield from empty_decoder(decoder, last, numbers.sent)
            decoder.flush_buffers()


def _last_reference(plan: GopPlan) -> tuple[int, av.Packet]:
    """The last packet of a plan that others may refer to, and its decode index."""
    references = (feed for feed in reversed(plan.feed) if not plan.gop.droppable[feed[0] - plan.gop.first])
    return next(references, plan.feed[-1])


def empty_decoder(
    decoder: av.VideoCodecContext, last: tuple[int, av.Packet] | None, sent: Container[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The pictures that a decoder still holds back, with their decode indices.

    last: of LATE_MOTION, the last packet that others may refer to, and its decode index: it is sent once more, and its
    second picture is left out, unless it is the only one. sent: decode indices of pictures that were not shown yet.
    """
    if last is None:
        yield from _send(decoder, None)
        return
    own, packet = last
    packet.pts = packet.dts = REPEATED
    for index, frame in itertools.chain(_send(decoder, packet), _send(decoder, None)):
        if index != REPEATED:
            yield index, frame
        elif own in sent:  # of a field without its second the repetition is that, and the picture has its time
            yield own, frame


def _send(decoder: av.VideoCodecContext, packet: av.Packet | None) -> Iterator[tuple[int, av.VideoFrame]]:
    yield from numbered(decode_packet(decoder, packet) or ())


def numbered(frames: Iterable[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames with their decode index, which was the timestamp of their packet."""
    return ((frame.pts, frame) for frame in frames if frame.pts is not None)
