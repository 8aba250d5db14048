"""A clock of the seconds in which this process ran: those for which it was stopped do not count.

A run that is stopped from the terminal and gone on with an hour later must not find that all its jobs have had their
time. What a time is up for is left to who reads the clock.
"""

from __future__ import annotations

import threading
import time

_LATE_TICKS = 2


class AwakeClock:
    """Counts from 0, by a thread that wakes every `tick` seconds; what a wake is late beyond 2 ticks is left out.

    tick: seconds. `stop` ends the thread.
    """

    def __init__(self, tick: float) -> None:
        self.tick = tick
        self._stopped = threading.Event()
        self._last = 0.0, time.monotonic()  # what the clock said, and when
        threading.Thread(target=self._run, name="awake-clock", daemon=True).start()

    @property
    def now(self) -> float:
        """Seconds since the clock was made, without those for which this process was stopped."""
        seconds, seen = self._last
        return seconds + min(time.monotonic() - seen, _LATE_TICKS * self.tick)

    @property
    def blink(self) -> float:
        """Seconds of this clock within which every thread of a process that goes on has had its turn."""
        return (_LATE_TICKS + 1) * self.tick

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self.tick):
            self._last = self.now, time.monotonic()
