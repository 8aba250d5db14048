"""MP4 and MOV: the container's own index lists every packet.

Files without a whole index, or with one that their packets contradict, are left to `scanned`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import av
import numpy as np

from codecsieve.codec.changes import (
    HEADER_BYTES,
    has_size_header,
    size_header,
)
from codecsieve.codec.facts import VideoFacts
from codecsieve.codec.gop import Gop, make_gop, starts_gop
from codecsieve.codec.keyframes import has_rule
from codecsieve.codec.source import PacketSource, PacketTableError, check_gops
from codecsieve.codec.video_file import open_bytes
from codecsieve.errors import VideoError


class NotIndexedError(Exception):
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
            raise NotIndexedError
        table = np.array([(e.timestamp, e.pos, e.size, e.is_keyframe, e.is_discard) for e in entries], dtype=np.int64)
        cut = np.flatnonzero(table[:, 1] + table[:, 2] > facts.size)  # a truncated file lists more than it holds
        table = table[: cut[0]] if cut.size else table
        flags = table[:, 3]
        if not len(table) or not flags[0] or (len(table) > 1 and flags.all() and not has_rule(facts.codec)):
            raise NotIndexedError
        self.timestamps, self.positions = table[:, 0], table[:, 1]
        self.starts = np.append(np.flatnonzero(flags), len(table))
        check_gops(facts, np.add.reduceat(table[:, 2], self.starts[:-1]))
        shown = np.append(0, np.cumsum(table[:, 4] == 0))
        self.shown = shown[self.starts]
        if has_size_header(facts.codec):
            self._find_changes(self._size_headers())
            if not self.ordered:
                raise NotIndexedError
        self.demuxer: Iterator[av.Packet] = iter(())
        self.next_index = -1
        try:
            packets = self._read_timed(0)
            following = next(self.demuxer, None)
        except (VideoError, av.FFmpegError) as error:
            raise NotIndexedError from error
        if following is not None:
            self.demuxer = itertools.chain([following], self.demuxer)
            if self.gops > 1 and not starts_gop(facts, self.stream, following):
                raise NotIndexedError
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
        with open_bytes(self.facts.path) as file:
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
