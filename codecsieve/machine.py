"""What of this machine the process may use, and one clip."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MAX_MEMORY = 4 * 10**9
"""Bytes that one clip may take in memory, where nobody says."""


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def held_memory() -> int:
    """Bytes of memory that this process has and can write to, touched or not; 0 where that is not told."""
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))


def limit_memory(more: int) -> None:
    """Keep this process to so many bytes of memory besides those that it has: whatever asks for more is refused it,
    and raises MemoryError. On Linux; elsewhere nothing is limited.

    What counts is memory that can be written to, touched or not (RLIMIT_DATA): address space that is only reserved, as
    compilers of kernels and CUDA do, does not.
    """
    if sys.platform != "linux":
        return
    import resource

    has = held_memory()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = has + more if hard == resource.RLIM_INFINITY else min(has + more, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
