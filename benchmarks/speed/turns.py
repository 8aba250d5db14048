"""Passes of models timed in turn, so that a noisy machine is as noisy for each, and the memory that one takes."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
        """The most memory that a pass takes on top of what is there before it; None where nothing tells."""
        if self.device.type == "cuda":
            before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            run()
            self.wait()
            return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20
        if not Path("/proc/self/clear_refs").exists():
            return None
        ctypes.CDLL(None).malloc_trim(0)  # what earlier passes freed counts as resident until it is given back
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        before = _resident_mb("VmRSS")
        run()
        return _resident_mb("VmHWM") - before

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _resident_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(f"/proc/self/status: no {field}")
