"""Whether numba has kept a kernel's compiled form on disk, from this or another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def is_compiled(kernel: Any) -> bool:
    """Of a function made by `njit(cache=True)`; those that it calls were compiled before it."""
    folder = Path(kernel.stats.cache_path or ".")
    module = kernel.py_func.__module__.rpartition(".")[2]
    return any(folder.glob(f"{module}.{kernel.py_func.__qualname__}-*.nbi"))
