"""The packet table: which packets a file holds, where its GOPs begin, and in what order its pictures are shown.

A `PacketSource` numbers pictures in two ways: by decode index (the order of packets in the file) and by display
index (the order of presentation). It hands out one GOP at a time, so that a long file is never held whole.
Choosing which pictures are worth decoding is left to `plan`.

Display order is found GOP by GOP: a GOP's pictures are shown after all of the GOP before, leading pictures
included, so sorting each GOP by presentation timestamp orders the file. Where timestamps are missing, repeated
or not in that order (raw streams, AVI, damaged transport streams), or are not what the decoder shows (decode times,
see `trust`), `ordered` is False: a picture's display index is known only when the decoder puts it out, and everything
must be decoded from the start.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import av
import av.packet
import numpy as np

from codecsieve.codec.changes import (
    HEADER_BYTES,
    CarriedHeaders,
    SizeChange,
    has_size_header,
    size_changes,
    size_header,
)
from codecsieve.codec.facts import VideoFacts, open_container, read_facts, video_stream
from codecsieve.codec.gop import Gop, make_gop, starts_gop
from codecsieve.codec.keyframes import has_rule
from codecsieve.codec.trust import (
    TELLING_PICTURES,
    TRIED_KEYFRAMES,
    is_doubtful,
    keyframes_agree,
    leading_pictures,
    order_agrees,
    undecodable,
)
from codecsieve.errors import VideoError

KEEP_BYTES = 64 << 20
"""Scanned packets are kept in memory up to this many bytes; a larger file is read twice."""

MAX_GOP_BYTES = 1 << 30
"""A GOP is held whole; a larger one (hours of a single keyframe) is refused."""
SEEKING_CONTAINERS = frozenset({"matroska"})
"""Scanned containers whose seeking lands on the keyframe that was asked for."""
WORTH_SEEKING = 500
"""Packets that are sooner read over than sought past."""
UNTIMED_CONTAINERS = frozenset({"asf", "avi", "h264", "hevc", "m4v", "mpegvideo", "obu"})
"""Containers that carry no presentation timestamps of their own: what FFmpeg shows there follows decode order."""


class PacketTableError(VideoError):
    """What a file's packets or its decoder show is not what its packet table says: open it without believing that."""


class PacketSource:
    """The packets of one file's video stream, a GOP at a time. Use as a context manager."""

    facts: VideoFacts
    ordered: bool
    """False where display order is known only after decoding."""
    starts: np.ndarray
    """int64 [G + 1]: decode index at which each GOP begins, and the number of packets."""
    shown: np.ndarray
    """int64 [G + 1]: pictures shown before each GOP, and the number of pictures shown."""
    start_time: int
    """Presentation timestamp of the first picture shown."""
    lost: frozenset[int] = frozenset()
    """Decode indices of pictures that are never shown, because they cannot be decoded."""
    changes: list[SizeChange]
    """Where the size changes, of codecs whose decoders lose a picture there."""
    palette: av.packet.PacketSideData | None = None
    """Of a file whose container holds the colours of its pictures' numbers: what its first packet brings along."""
    doubtful = False
    """True where the timestamps may yet be decode times: then the decoder is sent every picture, to tell by."""

    def __init__(self, container: av.container.InputContainer, facts: VideoFacts) -> None:
        self.container = container
        self.facts = facts
        self.changes = []
        self.headers = CarriedHeaders()

    def __enter__(self) -> PacketSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    @property
    def frames(self) -> int:
        """Pictures shown from the first to the last."""
        return int(self.shown[-1])

    @property
    def order(self) -> str:
        """What tells the order of presentation: `timestamps` or `decoder`."""
        return "timestamps" if self.ordered else "decoder"

    @property
    def gops(self) -> int:
        """Number of GOPs."""
        return len(self.starts) - 1

    @property
    def stream(self) -> av.VideoStream:
        """The video stream, whose codec context decodes its packets."""
        stream = video_stream(self.container)
        assert stream is not None, "open_container opens nothing without a video stream"
        return stream

    def gop_of(self, display: int) -> int:
        """The GOP that holds a display index."""
        return int(np.searchsorted(self.shown, display, side="right")) - 1

    def read(self, gop: int) -> Gop:
        """Read one GOP. Raises VideoError where the file no longer gives it."""
        raise NotImplementedError

    def times_shown(self) -> np.ndarray | None:
        """float64 [frames]: seconds at which pictures are shown, ascending, of a source that is not `ordered`; None
        where there are no timestamps.
        """
        return None

    def _find_changes(self, headers: list[tuple[bytes, ...]]) -> None:
        """Take note of where the size changes, by what each GOP states of it. GOPs behind that which state nothing can
        only be decoded from the start.
        """
        if headers:
            headers[0] = headers[0] or size_header(self.facts.codec, bytes(self.stream.codec_context.extradata or b""))
        self.changes = size_changes(headers)
        self.ordered &= not self.changes or all(headers[self.changes[0].after :])

    def leave_out(self, lost: frozenset[int]) -> None:
        """Take pictures, by their decode indices, for such that are never shown."""
        hidden, times = np.zeros(self.gops + 1, np.int64), []
        holding = np.searchsorted(self.starts, sorted(lost), side="right") - 1
        for number in sorted({*range(min(2, self.gops)), *holding.tolist()}):
            gop = self.read(number)
            shown = [offset for offset in np.flatnonzero(gop.display >= 0).tolist() if gop.first + offset not in lost]
            hidden[number + 1] = (gop.display >= 0).sum() - len(shown)
            times += [gop.seconds[offset] for offset in shown]
        self.shown = self.shown - np.cumsum(hidden)
        self.lost = lost
        self.start_time += round(min(times, default=0.0) / float(self.stream.time_base or 1))


def open_source(path: str, believe: bool = True) -> PacketSource:
    """Open a file and number its pictures, from the container's own index where it has a whole one.

    Args:
        path: a local file.
        believe: take display order from timestamps, where there is no reason to doubt them; False: from the decoder.

    Raises:
        VideoError: nothing in the file can be decoded.
    """
    source = _number_packets(path, believe)
    try:
        first = source.read(0)
        if source.ordered and source.stream.codec_context.has_b_frames:
            packets, order = _telling_packets(source)
            source.doubtful = is_doubtful(order)
            if source.doubtful and not order_agrees(path, packets, order):
                source.close()
                source = _number_packets(path, believe=False)
                first = source.read(0)
        doubtful = _doubtful_packets(source, first)
        lost = undecodable(path, doubtful) if doubtful else frozenset()
        lost |= _lost_at_changes(path, source)
        if lost:
            source.leave_out(lost)
        if source.facts.pixel_format == "pal8":
            source.palette = _first_palette(path)
        return source
    except BaseException:
        source.close()
        raise


def _first_palette(path: str) -> av.packet.PacketSideData | None:
    """What comes with the first packet that is read of a file, and never again once it was sought in."""
    with open_container(path) as container:
        first = next(_read_packets(container))
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


def _lost_at_changes(path: str, source: PacketSource) -> frozenset[int]:
    """Decode indices of the pictures that a decoder has not shown yet when the size changes, and never will."""
    lost: list[int] = []
    for before, after in source.changes:
        packets = [packet for number in range(before, after) for packet in source.read(number).packets]
        missing = undecodable(path, [*packets, source.read(after).packets[0]]) - undecodable(path, packets)
        lost += [int(source.starts[before]) + offset for offset in missing if offset < len(packets)]
    return frozenset(lost)


def _number_packets(path: str, believe: bool) -> PacketSource:
    container = open_container(path)
    try:
        facts = read_facts(container, path)
        if believe:
            try:
                return IndexedSource(container, facts)
            except _NotIndexedError:
                container.close()
                container = open_container(path)
        source = ScannedSource(container, facts)
        source.ordered &= believe
        return source
    except BaseException:
        container.close()
        raise


class _NotIndexedError(Exception):
    """The container has no index of all packets, or one that its packets contradict."""


class IndexedSource(PacketSource):
    """MP4 and MOV: the sample table lists every packet, so GOPs without a sample are never read.

    Only the GOPs that are asked for are demuxed: the cost does not grow with the file.
    """

    ordered = True

    def __init__(self, container: av.container.InputContainer, facts: VideoFacts) -> None:
        super().__init__(container, facts)
        entries = self.stream.index_entries
        if facts.container != "mov" or not 0 < self.stream.frames == len(entries):
            raise _NotIndexedError
        table = np.array([(e.timestamp, e.pos, e.size, e.is_keyframe, e.is_discard) for e in entries], dtype=np.int64)
        cut = np.flatnonzero(table[:, 1] + table[:, 2] > facts.size)  # a truncated file lists more than it holds
        table = table[: cut[0]] if cut.size else table
        flags = table[:, 3]
        if not len(table) or not flags[0] or (len(table) > 1 and flags.all() and not has_rule(facts.codec)):
            raise _NotIndexedError
        self.timestamps, self.positions = table[:, 0], table[:, 1]
        self.starts = np.append(np.flatnonzero(table[:, 3]), len(table))
        _check_gops(facts, np.add.reduceat(table[:, 2], self.starts[:-1]))
        shown = np.append(0, np.cumsum(table[:, 4] == 0))
        self.shown = shown[self.starts]
        if has_size_header(facts.codec):
            self._find_changes(self._size_headers())
            if not self.ordered:
                raise _NotIndexedError
        self.demuxer: Iterator[av.Packet] = iter(())
        self.next_index = -1
        try:
            packets = self._read_timed(0)
        except VideoError as error:
            raise _NotIndexedError from error
        following = next(self.demuxer, None)
        if following is not None:
            self.demuxer = itertools.chain([following], self.demuxer)
            if self.gops > 1 and not starts_gop(facts, self.stream, following):
                raise _NotIndexedError
        # What an edit list hides before the first picture shown does not count as time.
        shown_times = [int(packet.pts or 0) for packet in packets if not packet.is_discard]
        self.start_time = min(shown_times, default=int(packets[-1].pts or 0))
        self.cached = 0, self._number(0, packets)

    def read(self, gop: int) -> Gop:
        if self.cached[0] != gop:
            packets = self._read_timed(gop)
            if gop and not starts_gop(self.facts, self.stream, packets[0]):
                raise PacketTableError(
                    f"{self.facts.path}: its list of keyframes names packets that are none; remux it"
                )
            self.cached = gop, self._number(gop, packets)
        return self.cached[1]

    def leave_out(self, lost: frozenset[int]) -> None:
        super().leave_out(lost)
        self.cached = 0, self._number(0, self._read_timed(0))

    def _size_headers(self) -> list[tuple[bytes, ...]]:
        """Those of the GOPs, read past the demuxer: a few bytes of each."""
        headers = []
        with open(self.facts.path, "rb") as file:
            for at in self.positions[self.starts[:-1]].tolist():
                file.seek(at)
                headers.append(size_header(self.facts.codec, file.read(HEADER_BYTES)))
        return headers

    def _number(self, gop: int, packets: list[av.Packet]) -> Gop:
        first, shown = int(self.starts[gop]), int(self.shown[gop])
        return make_gop(self.facts, self.stream, first, shown, packets, self.start_time, self.lost)

    def _read_timed(self, gop: int) -> list[av.Packet]:
        try:
            packets = list(self._packets(int(self.starts[gop]), int(self.starts[gop + 1])))
        except av.FFmpegError as error:
            raise VideoError(f"{self.facts.path}: cannot be read on ({error.strerror}); is it damaged?") from error
        if any(packet.pts is None for packet in packets):
            raise VideoError(f"{self.facts.path}: packets without timestamps; remux it (ffmpeg -c copy)")
        return packets

    def _packets(self, first: int, last: int) -> Iterator[av.Packet]:
        if self.next_index != first:
            self.container.seek(int(self.timestamps[first]), stream=self.stream)
            self.demuxer = self.headers.carry(self.container.demux(self.stream))
        index = first
        for packet in self.demuxer:
            if packet.size == 0:
                continue
            if packet.pos == self.positions[index]:
                yield packet
                index += 1
            elif index > first or packet.pos is None:
                break
            if index == last:
                self.next_index = last
                return
        raise VideoError(f"{self.facts.path}: packets do not follow the file's index; remux it (ffmpeg -c copy)")


class ScannedSource(PacketSource):
    """Any other container: every packet is read once to number the pictures."""

    def __init__(self, container: av.container.InputContainer, facts: VideoFacts) -> None:
        super().__init__(container, facts)
        self.kept: list[av.Packet] | None = []
        held, pts, keyframe, discard, sizes, positions = 0, [], [], [], [], []
        first: list[av.Packet] = []
        headers: list[tuple[bytes, ...]] = []
        for packet in _read_packets(container):
            held += packet.size
            pts.append(packet.pts)
            keyframe.append(packet.is_keyframe and starts_gop(facts, self.stream, packet))
            discard.append(packet.is_discard)
            sizes.append(packet.size)
            positions.append(packet.pos)
            if len(first) < TRIED_KEYFRAMES:
                first.append(packet)
            if has_size_header(facts.codec) and (keyframe[-1] or len(keyframe) == 1):
                headers.append(size_header(facts.codec, bytes(memoryview(packet)[:HEADER_BYTES])))
            if self.kept is not None:
                self.kept.append(packet)
                if held > KEEP_BYTES:
                    self.kept = None
        if not pts:
            raise VideoError(f"{facts.path}: holds no video packets; the file may be cut short")
        # Where every packet of a codec is marked whose packets do not tell, a decoder must.
        marked = all(keyframe) and len(keyframe) > 1 and not has_rule(facts.codec)
        if marked and not keyframes_agree(facts.path, first):
            keyframe = [False] * len(keyframe)
        self._number(pts, np.array(keyframe, bool), np.array(discard, bool))
        self._find_changes(headers)
        _check_gops(facts, np.add.reduceat(sizes, self.starts[:-1]))
        self.positions = positions
        self.second = container
        self.reader: Iterator[av.Packet] = iter(())
        self.read_to = -1

    def close(self) -> None:
        super().close()
        self.second.close()

    def _number(self, pts: list[int | None], keyframe: np.ndarray, discard: np.ndarray) -> None:
        keyframe[0] = True
        self.starts = np.append(np.flatnonzero(keyframe), len(pts))
        times = self.times = np.array([0 if value is None else value for value in pts], np.int64)
        self.timed = self.facts.container not in UNTIMED_CONTAINERS and None not in pts
        self.discarded = discard
        low = np.array([times[a:b].min() for a, b in zip(self.starts, self.starts[1:], strict=False)])
        high = np.array([times[a:b].max() for a, b in zip(self.starts, self.starts[1:], strict=False)])
        self.ordered = self.timed and len(np.unique(times)) == len(times) and bool((high[:-1] < low[1:]).all())
        self.shown = np.append(0, np.cumsum(~discard))[self.starts]
        self.start_time = int(times[~discard].min() if not discard.all() else times.min())

    def times_shown(self) -> np.ndarray | None:
        if not self.timed:
            return None
        shown = ~self.discarded
        shown[list(self.lost)] = False
        return (np.sort(self.times[shown]) - self.start_time) * float(self.stream.time_base or 0)

    def read(self, gop: int) -> Gop:
        first, last = int(self.starts[gop]), int(self.starts[gop + 1])
        packets = self.kept[first:last] if self.kept is not None else self._reread(first, last)
        shown = int(self.shown[gop])
        return make_gop(self.facts, self.stream, first, shown, packets, self.start_time, self.lost)

    def _reread(self, first: int, last: int) -> list[av.Packet]:
        far = self.ordered and self.facts.container in SEEKING_CONTAINERS and first - self.read_to > WORTH_SEEKING
        if not 0 <= self.read_to <= first or far:
            # A container of its own: opening the first one anew would take the decoder's pictures with it.
            if self.second is self.container:
                self.second = open_container(self.facts.path)
            if not (far and self._seek(first)):
                self.second.close()
                self.second = open_container(self.facts.path)
                self.reader, self.read_to = _read_packets(self.second), 0
        for _ in range(first - self.read_to):
            next(self.reader)
        self.read_to = last
        return [next(self.reader) for _ in range(last - first)]

    def _seek(self, first: int) -> bool:
        """Bring the second container to a keyframe; False where it does not get there."""
        try:
            self.second.seek(int(self.times[first]), stream=video_stream(self.second))
        except av.FFmpegError:
            return False
        wanted = self.positions[first]
        self.reader = _read_packets(self.second)
        for packet in self.reader:
            if packet.pos is None or wanted is None or packet.pos > wanted:
                return False
            if packet.pos == wanted:
                self.reader, self.read_to = itertools.chain([packet], self.reader), first
                return True
        return False


def _check_gops(facts: VideoFacts, sizes: np.ndarray) -> None:
    if sizes.max() > MAX_GOP_BYTES:
        raise VideoError(
            f"{facts.path}: has a GOP of {sizes.max() >> 20} MB, over the limit of {MAX_GOP_BYTES >> 20} MB; "
            "transcode it with more keyframes"
        )


def _read_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Every non-empty packet up to the end or to the first that cannot be read: a cut file gives what it has."""
    stream, headers = video_stream(container), CarriedHeaders()
    while True:
        try:
            for packet in headers.carry(container.demux(stream)):
                if packet.size:
                    yield packet
            return
        except av.FFmpegError:
            return
        except IndexError:
            # PyAV does not know a stream that begins in mid-file (MPEG-TS): go on behind its packet.
            continue
