"""A process's children, as psutil tells of them."""

from __future__ import annotations

import psutil


def children_with(command: str, of: int | None = None, recursive: bool = False) -> list[psutil.Process]:
    """The children, of this process or another, in whose command line `command` stands; none that have ended."""
    return [one for one in psutil.Process(of).children(recursive) if command in command_line(one)]


def command_line(process: psutil.Process) -> str:
    """Its command line; "" where it has ended, though perhaps nobody has waited for it yet."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
