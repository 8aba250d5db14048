"""Which pictures of a source that has no end yet are taken: one in so many, or so many a second.

That is told as they are shown, when nothing is known of those that are still to come. None is taken twice.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from codecsieve.errors import VideoError

_MOST_UNTIMED = 16
"""Pictures that may follow each other without a time."""
_MOST_ROUNDED = Fraction(1, 1000)
"""Seconds by which clocks round times, at most: Matroska's and FLV's. Coarser ones tick with the pictures."""


class Thinning(Protocol):
    """Which pictures are taken."""

    def takes(self, display: int, seconds: Fraction | None) -> bool:
        """Whether a picture is taken; asked of each, once, in the order in which they are shown.

        display: how many were shown before it; seconds: its presentation time. Raises VideoError where that cannot be
        told.
        """

    def may_take(self, display: int, seconds: Fraction | None) -> bool:
        """Whether a picture that is shown next, or of unknown time later, may be taken; changes nothing."""


class OneIn:
    """One in so many, from the first on."""

    def __init__(self, every: int) -> None:
        self._every = every

    def takes(self, display: int, seconds: Fraction | None) -> bool:
        """See `Thinning`."""
        return display % self._every == 0

    def may_take(self, display: int, seconds: Fraction | None) -> bool:
        """See `Thinning`."""
        return display % self._every == 0


class PerSecond:
    """The first picture at or after each k / fps seconds from the first picture's time.

    A tick of the clock early is in time, since clocks round. A picture that is the first after several marks is taken
    once; of fewer pictures than fps all are. Where the clock goes back, it is counted from there. Of pictures without a
    time (RTSP's first has none) only a source's first is taken; what is counted then begins with the first time.
    """

    def __init__(self, fps: float, tick: Fraction, name: str) -> None:
        """tick: seconds of the source's clock; name: the source's, for messages."""
        self._fps, self._name = Fraction(fps).limit_denominator(10**6), name
        self._slack = min(tick, _MOST_ROUNDED)
        self._first: Fraction | None = None
        self._last = Fraction(0)
        self._number = -1  # of the last mark k that was passed
        self._untimed = 0  # pictures since the last that had a time

    def takes(self, display: int, seconds: Fraction | None) -> bool:
        """See `Thinning`."""
        if seconds is None:
            self._untimed += 1
            if self._untimed > _MOST_UNTIMED:
                name = self._name
                raise VideoError(f"{name}: its pictures have no times that fps could go by; say every, one in so many")
            passed = 0
        else:
            passed = self._timed(seconds)
        taken, self._number = passed > self._number, max(passed, self._number)
        return taken

    def may_take(self, display: int, seconds: Fraction | None) -> bool:
        """See `Thinning`."""
        return seconds is None or seconds < self._last or self._passed(seconds) > self._number

    def _timed(self, seconds: Fraction) -> int:
        """The last mark that is passed by a picture's time, from which marks are counted where they must be."""
        if self._first is None:
            self._first = seconds
        elif seconds < self._last:
            self._first, self._number = seconds, -1
        self._last, self._untimed = seconds, 0
        return self._passed(seconds)

    def _passed(self, seconds: Fraction) -> int:
        since = Fraction(0) if self._first is None else seconds - self._first
        return int((since + self._slack) * self._fps) if self._number >= 0 else 0
