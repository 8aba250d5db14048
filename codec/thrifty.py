"""Slots that cost few decoded pictures: in each equal segment of a clip the frame that needs the fewest more.

What a frame needs are the pictures of its GOP up to it in decode order, but those that nothing refers to; so keyframes
are cheap, and free is what other slots need anyway. Where signals come of a picture and the one before, both are
needed. Packets tell all of it. Of frames that cost the same the nearest to its segment's middle is shown. What is sent
to the decoder in the end is `plan`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecsieve.codec.source import PacketSource

_NEVER = 1 << 40


@dataclass(frozen=True)
class _Costs:
    """Of the pictures of a GOP that are shown, in order of presentation.

    display: int64 [n], ascending. end: int64 [n], the place in decode order before which all pictures must be decoded
    that others refer to. single: int64 [n], pictures besides, which nothing refers to. before: int64 [m + 1], how many
    of the first pictures in decode order others refer to. leading: bool [n], shown before the keyframe: such a picture
    may need the GOP before.
    """

    display: np.ndarray
    end: np.ndarray
    single: np.ndarray
    before: np.ndarray
    leading: np.ndarray

    def more(self, reach: int) -> np.ndarray:
        """Pictures that each needs beyond those before the place `reach`, which are decoded anyway: int64 [n]."""
        return np.maximum(self.before[self.end] - self.before[reach], 0) + self.single

    def with_before(self, reach: int, first: int) -> np.ndarray:
        """The same of each and the picture shown before it, `first` of the first, whose one is of another GOP."""
        end = np.maximum(self.end, np.roll(self.end, 1))
        more = np.maximum(self.before[end] - self.before[reach], 0) + self.single + np.roll(self.single, 1)
        more[0] = min(int(self.more(reach)[0]) + first, _NEVER)
        return more


@dataclass(frozen=True)
class _Clip:
    """A clip's pictures as they are looked at. pairs: whether the picture before each is needed, too; reach: of each
    GOP, the place in decode order before which pictures are decoded for slots that have their frame.
    """

    source: PacketSource
    pairs: bool
    costs: dict[int, _Costs]
    reach: dict[int, int]

    def look_at(self, gop: int) -> None:
        """Read a GOP, once."""
        if gop not in self.costs:
            self.costs[gop] = _costs_of(self.source, gop)
            self.reach[gop] = 0

    def more(self, gop: int) -> np.ndarray:
        """What each picture of a GOP needs that is not decoded anyway: int64 [n]."""
        costs, reach = self.costs[gop], self.reach[gop]
        if not self.pairs:
            return np.where(costs.leading, _NEVER, costs.more(reach))
        first = 0 if gop == 0 else _NEVER
        if gop - 1 in self.costs:
            first = int(self.costs[gop - 1].more(self.reach[gop - 1])[-1])
        leading = costs.leading | np.concatenate([[False], costs.leading[:-1]])
        return np.where(leading, _NEVER, costs.with_before(reach, first))

    def needed(self, frames: np.ndarray) -> np.ndarray:
        """Frames, and those before them where they are needed, too: display indices, ascending."""
        return np.unique(np.concatenate([frames, (frames - 1).clip(min=0)])) if self.pairs else np.unique(frames)

    def decode(self, frame: int) -> None:
        """What is decoded for a frame is there for others."""
        for display in self.needed(np.array([frame])).tolist():
            gop = self.source.gop_of(display)
            if gop in self.costs:
                at = np.searchsorted(self.costs[gop].display, display)
                self.reach[gop] = max(self.reach[gop], int(self.costs[gop].end[at]))

    def pictures(self, frames: np.ndarray) -> int:
        """Pictures that are decoded for frames; of a leading one all of the GOP before, besides."""
        needed, total = self.needed(frames), 0
        for gop in sorted({self.source.gop_of(display) for display in needed.tolist()}):
            self.look_at(gop)
            costs = self.costs[gop]
            at = np.flatnonzero(np.isin(costs.display, needed))
            total += int(costs.before[costs.end[at].max()]) + int(costs.single[at].sum())
            if costs.leading[at].any():
                total += int(self.source.starts[gop] - self.source.starts[max(gop - 1, 0)])
        return total


def thrifty_frames(source: PacketSource, first: int, frames: int, slots: int, pairs: bool) -> np.ndarray:
    """Display indices in the file, int64 [slots], one of each of so many equal segments of the frames from `first` on.

    The source is `ordered`, and frames >= slots. pairs: the picture before each is decoded, too; frames at the ends
    of two segments, which may share one, are not looked for. The segments' middles are returned where nothing costs
    less. Of a segment that spans several GOPs only the one in its middle and the next are read.
    """
    bounds = first + np.arange(slots + 1) * frames // slots
    middles = (bounds[:-1] + bounds[1:] - 1) // 2
    clip = _Clip(source, pairs, {}, {})
    segments = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), middles.tolist(), strict=True))
    gops = [_gops_of(source, *segment) for segment in segments]
    for gop in sorted(set().union(*gops)):
        clip.look_at(gop)
    # First those that have no choice of the GOP: then it is known into which others may go for nothing.
    for slot in sorted(range(slots), key=lambda slot: len(gops[slot]) > 1):
        clip.decode(_cheapest(clip, gops[slot], *segments[slot]))
    chosen = np.array([_cheapest(clip, gops[slot], *segments[slot]) for slot in range(slots)], np.int64)
    return chosen if clip.pictures(chosen) < clip.pictures(middles) else middles


def _gops_of(source: PacketSource, start: int, stop: int, middle: int) -> range:
    """The GOPs that a segment's frame is looked for in."""
    low, high = source.gop_of(start), source.gop_of(stop - 1)
    if high - low > 1:
        low = source.gop_of(middle)
        high = min(high, low + 1)
    return range(low, high + 1)


def _cheapest(clip: _Clip, gops: range, start: int, stop: int, middle: int) -> int:
    """The frame of a segment that needs the fewest more; of several the nearest to its middle, of these the earlier."""
    display = np.concatenate([clip.costs[gop].display for gop in gops])
    more = np.concatenate([clip.more(gop) for gop in gops])
    inside = np.flatnonzero((display >= start) & (display < stop))
    best = np.lexsort((display[inside], np.abs(display[inside] - middle), more[inside]))[0]
    return int(display[inside[best]])


def _costs_of(source: PacketSource, index: int) -> _Costs:
    gop = source.read(index)
    shown = np.flatnonzero(gop.display >= 0)
    shown = shown[np.argsort(gop.display[shown], kind="stable")]
    single = gop.droppable[shown] & (not source.doubtful)
    before = np.concatenate([[0], np.cumsum(~(gop.droppable | gop.skipped))])
    return _Costs(gop.display[shown], shown + ~single, single.astype(np.int64), before, gop.order[shown] < gop.order[0])
