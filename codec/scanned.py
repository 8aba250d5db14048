"""Any container without a whole index: every packet is read once to number the pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import av
import numpy as np

from codecsieve.codec.changes import (
    HEADER_BYTES,
    CarriedHeaders,
    has_size_header,
    size_header,
)
from codecsieve.codec.facts import VideoFacts, open_container, video_stream
from codecsieve.codec.gop import Gop, make_gop, starts_gop
from codecsieve.codec.keyframes import has_rule
from codecsieve.codec.source import PacketSource, check_gops
from codecsieve.codec.trust import (
    TRIED_KEYFRAMES,
    keyframes_agree,
)
from codecsieve.errors import VideoError

KEEP_BYTES = 64 << 20
"""Scanned packets are kept in memory up to this many bytes; a larger file is read twice."""
SEEKING_CONTAINERS = frozenset({"matroska"})
"""Scanned containers whose seeking lands on the keyframe that was asked for."""
WORTH_SEEKING = 500
"""Packets that are sooner read over than sought past."""
UNTIMED_CONTAINERS = frozenset({"asf", "avi", "h264", "hevc", "m4v", "mpegvideo", "obu"})
"""Containers that carry no presentation timestamps of their own: what FFmpeg shows there follows decode order."""


class ScannedSource(PacketSource):
    """Any other container: every packet is read once to number the pictures."""

    def __init__(self, container: av.container.InputContainer, facts: VideoFacts) -> None:
        super().__init__(container, facts)
        self.kept: list[av.Packet] | None = []
        held, pts, keyframe, discard, sizes, positions = 0, [], [], [], [], []
        first: list[av.Packet] = []
        headers: list[tuple[bytes, ...]] = []
        for packet in read_packets(container):
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
        if marked and not keyframes_agree(facts, first):
            keyframe = [False] * len(keyframe)
        self._number(pts, np.array(keyframe, bool), np.array(discard, bool))
        self._find_changes(headers)
        check_gops(facts, np.add.reduceat(sizes, self.starts[:-1]), kept=min(held, KEEP_BYTES))
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
                self.reader, self.read_to = read_packets(self.second), 0
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
        self.reader = read_packets(self.second)
        for packet in self.reader:
            if packet.pos is None or wanted is None or packet.pos > wanted:
                return False
            if packet.pos == wanted:
                self.reader, self.read_to = itertools.chain([packet], self.reader), first
                return True
        return False


def read_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Every non-empty packet up to the end or to the first that cannot be read: a cut file gives what it has."""
    stream, headers = video_stream(container), CarriedHeaders()
    while True:
        try:
            for packet in headers.carry(container.demux(stream)):
                if packet.size:
                    yield packet
            return
        except av.FFmpegError:  # of whatever kind: ENOMEM is said of a packet whose size makes no sense
            return
        except IndexError:
            # PyAV does not know a stream that begins in mid-file (MPEG-TS): go on behind its packet.
            continue
