"""How long the parts of a run take, in seconds of a processor's core: what else the machine does is left out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console


@dataclass
class Clock:
    """Seconds that parts took, of this process and of those that it waited for; told as they end, after a prefix."""

    prefix: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Take the time of what is done inside."""
        began, wall = sum(os.times()[:4]), time.monotonic()
        yield
        self.seconds[name] = round(sum(os.times()[:4]) - began, 1)
        Console().print(f"{self.prefix}{name}: {self.seconds[name]} s of a core, {time.monotonic() - wall:.1f} s")
