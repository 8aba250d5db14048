"""Passes of models timed in turn, so that a noisy machine is as noisy for each, and the memory that one takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

WARM_UPS = 2


@dataclass(frozen=True)
class Bench:
    """Where passes run, in what type, and how often each is timed."""

    device: torch.device
    dtype: torch.dtype
    repeats: int

    def milliseconds(self, passes: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
        """What each pass took, every time, after the first few."""
        taken: dict[str, list[float]] = {name: [] for name in passes}
        for number in range(self.repeats + WARM_UPS):
            for name, run in passes.items():
                self.wait()
                begun = time.perf_counter()
                run()
                self.wait()
                if number >= WARM_UPS:
                    taken[name].append(1e3 * (time.perf_counter() - begun))
        return taken

    def medians(self, passes: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """The median milliseconds of each pass."""
        return {name: statistics.median(times) for name, times in self.milliseconds(passes).items()}

    def peak_mb(self, run: Callable[[], object]) -> float | None:
        """The most memory of a GPU that a pass takes on top of what is there before it; None on a processor.

        A processor's resident memory is its allocator's affair: the same pass twice differed by a quarter.
        """
        if self.device.type != "cuda":
            return None
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        self.wait()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
