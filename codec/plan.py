"""The packet plan: which frames a clip's slots show, and the fewest packets that must be decoded for them.

Packets only, no pixels. GOPs that hold no sample are never read; within a GOP decoding stops after the last
picture that is needed, and pictures that nothing refers to are dropped unless they are needed themselves. The
cost of a clip then grows with its slots, not with its length.
"""

from __future__ import annotations

import bisect
import math
import numbers
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from codecsieve.codec.fixed_rate import frames_at_rate
from codecsieve.codec.gop import Gop
from codecsieve.codec.off_keyframe import frames_off_keyframes
from codecsieve.codec.source import PacketSource
from codecsieve.codec.spread import Spread
from codecsieve.codec.thrifty import thrifty_frames
from codecsieve.errors import ConfigError, VideoError
from codecsieve.text import quoted


@dataclass(frozen=True)
class FrameSample:
    """Which frame each slot of a clip shows."""

    frame_ids: np.ndarray
    """int64 [T]: display index in the file of each slot's frame; repeats where the clip has fewer than T."""
    frames: int
    """Frames in the clip, from `start` to `end`."""
    first: int = 0
    """Display index in the file of the clip's first frame."""
    spare: int = 0
    """The last so many slots are left over: they repeat the last frame, and nothing of it counts as seen in them."""

    def places(self, frame_ids: np.ndarray, target_frames: int) -> np.ndarray:
        """Where frames are in the clip, in places 0..target_frames-1: round(frame / (N - 1) * (target_frames - 1))."""
        fraction = (frame_ids - self.first) * (target_frames - 1) / max(1, self.frames - 1)
        return np.rint(fraction).astype(np.int64).clip(0, target_frames - 1)


@dataclass(frozen=True)
class GopPlan:
    """What to send to the decoder for one GOP."""

    gop: Gop
    feed: list[tuple[int, av.Packet]]
    """Decode index and packet, in decode order."""
    closes: bool
    """True where the next GOP to decode needs none of its pictures: the decoder is emptied after this one."""


def sample_frames(
    source: PacketSource,
    num_frames: int,
    start: float | None = None,
    end: float | None = None,
    spread: Spread = Spread(),  # noqa: B008  # it is frozen
    pairs: bool = False,
) -> FrameSample:
    """Spread `num_frames` slots over the frames whose time is in [start, end) seconds, see `SPREADS`.

    pairs: whether the picture before each frame will be decoded, too, which tells what a frame costs. Where the source
    is not `ordered` every picture is decoded, and which are keyframes is not asked: a slot that is thrifty or off
    keyframes shows its segment's middle.

    Raises ConfigError for an impossible range, VideoError where the file has no frame in it.
    """
    if num_frames <= 0:
        raise ValueError(f"num_frames ({num_frames}) must be > 0")
    _check_range(start, end)
    first = 0 if start is None else display_index_at(source, start)
    stop = source.frames if end is None or math.isinf(end) else display_index_at(source, end)
    if stop <= first:
        path = source.facts.path
        if source.frames == 0:
            raise VideoError(f"{path}: holds no pictures to show; the file is damaged or cut short")
        until = "its end" if end is None else f"{end:g} s"
        length = f"{source.frames} frames, {source.facts.seconds:.2f} s"
        raise VideoError(f"{path}: no frame between {start or 0.0:g} s and {until} (the file has {length})")
    frames, slots = stop - first, np.arange(num_frames)
    if spread.kind == "fps":
        at_rate = frames_at_rate(source, first, frames, num_frames, spread.fps)
        spare = num_frames - len(at_rate)
        return FrameSample(np.pad(at_rate, (0, spare), mode="edge"), frames, first, spare)
    if spread.kind == "ends":
        ids = np.linspace(0, frames - 1, num_frames, dtype=np.int64)
    elif frames < num_frames:
        ids = slots.clip(max=frames - 1)
    elif spread.kind == "thrifty" and source.ordered:
        return FrameSample(thrifty_frames(source, first, frames, num_frames, pairs), frames, first)
    elif spread.kind == "off-keyframe" and source.ordered:
        return FrameSample(frames_off_keyframes(source, first, frames, num_frames), frames, first)
    elif spread.kind in ("middle", "thrifty", "off-keyframe"):
        ids = (2 * slots + 1) * (frames - 1) // (2 * num_frames)
    else:
        drawn = _seeded(source, spread, first, frames).random_sample(num_frames)
        ids = ((slots + drawn) * (frames - 1) / num_frames).astype(np.int64)
    return FrameSample(first + ids, frames, first)


def _check_range(start: float | None, end: float | None) -> None:
    for name, value in (("start", start), ("end", end)):
        if value is not None and not isinstance(value, numbers.Real):
            raise ConfigError(f"{name} ({quoted(value)}) must be a number, of seconds")
    if start is not None and not (math.isfinite(start) and start >= 0):
        raise ConfigError(f"start ({start}) must be a time >= 0 in seconds")
    if end is not None and not end > (start or 0.0):
        raise ConfigError(f"end ({end}) must be > start ({start or 0.0}), both in seconds")


def _seeded(source: PacketSource, spread: Spread, first: int, frames: int) -> np.random.RandomState:
    """What a clip is, not where it lies or which others there are, says what is drawn; the same in every numpy."""
    size = source.facts.size
    return np.random.RandomState([spread.seed, size & 0xFFFFFFFF, size >> 32, first, frames])


def display_index_at(source: PacketSource, seconds: float) -> int:
    """How many frames of the file are shown before a time, in seconds from its first frame."""
    if not source.ordered:
        times = source.times_shown()
        if times is not None:
            return int(np.searchsorted(times, seconds - 1e-6))
        if not source.facts.fps > 0:
            raise VideoError(f"{source.facts.path}: has no timestamps and no frame rate; remux it to use start and end")
        return min(math.ceil(seconds * source.facts.fps - 1e-6), source.frames)
    gop = bisect.bisect_left(range(source.gops), seconds, key=lambda g: float(source.read(g).seconds.min())) - 1
    if gop < 0:
        return 0
    content = source.read(gop)
    return int(source.shown[gop]) + int(((content.seconds < seconds) & (content.display >= 0)).sum())


def plan_gops(source: PacketSource, wanted: np.ndarray) -> Iterator[GopPlan]:
    """The GOPs to decode, in order, for an ascending array of wanted display indices.

    Where the source is not `ordered` nothing can be left out: every packet is sent.
    """
    if not source.ordered:
        for index in range(source.gops):
            gop = source.read(index)
            yield GopPlan(gop, list(enumerate(gop.packets, gop.first)), closes=index == source.gops - 1)
        return
    by_gop: dict[int, set[int]] = {}
    for display in wanted.tolist():
        by_gop.setdefault(source.gop_of(display), set()).add(display)
    # Each GOP is read once, but for the rare one whose GOP before must be read back. While the decoder holds
    # pictures that are still needed, reading only goes on from where it was: to seek would empty the decoder.
    following: Gop | None = None
    for index in sorted(by_gop):
        gop = following or source.read(index)
        goes_on = index > 0 and _needs_gop_before(gop, by_gop[index])
        if goes_on and index - 1 not in by_gop:
            before = source.read(index - 1)
            yield GopPlan(before, _feed(before, set(), True, False, source.doubtful), closes=False)
            gop = source.read(index)
        following = source.read(index + 1) if index + 1 in by_gop else None
        whole = following is not None and _needs_gop_before(following, by_gop[index + 1])
        yield GopPlan(gop, _feed(gop, by_gop[index], whole, goes_on, source.doubtful), closes=not whole)


def _needs_gop_before(gop: Gop, wanted: set[int]) -> bool:
    """True where a leading picture is wanted: it may refer to pictures of the GOP before."""
    return gop.leading and not wanted.isdisjoint(gop.display[gop.order < gop.order[0]].tolist())


def _feed(gop: Gop, wanted: set[int], whole: bool, goes_on: bool, doubtful: bool) -> list[tuple[int, av.Packet]]:
    """The packets to send. whole: up to the last that others refer to; goes_on: the GOP before has been decoded;
    doubtful: leave none out that can be decoded.
    """
    needed = np.isin(gop.display, list(wanted)) if wanted else np.zeros(len(gop.packets), bool)
    last = len(gop.packets) if whole else int(np.flatnonzero(needed)[-1]) + 1
    keep = needed | ~gop.droppable | doubtful
    if not goes_on:
        keep &= ~gop.skipped
    return [(gop.first + offset, gop.packets[offset]) for offset in np.flatnonzero(keep[:last]).tolist()]
