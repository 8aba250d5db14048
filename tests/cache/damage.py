"""What can happen to a file: ways to damage one, each a function of its path and a source of random numbers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Damage = Callable[[Path, random.Random], None]

ODD_VALUES: tuple[Any, ...] = (None, True, 0, -1, 2**70, 1e300, "", "text", [], [[]], {}, {"a": []})


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def lengthen(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.randrange(1, 2000)))


def zero(path: Path, draw: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def swap(path: Path, draw: random.Random) -> None:
    """Its content and that of another file of the cache change places."""
    cache = next(parent for parent in path.parents if (parent / "zarr.json").exists() and (parent / "index").exists())
    others = sorted(file for file in cache.rglob("*") if file.is_file() and file != path and file.stat().st_size)
    other = draw.choice(others)
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("of somebody's")


def fifo(path: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def socket_(path: Path, draw: random.Random) -> None:
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def link_nowhere(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def link_to_itself(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to_a_copy(path: Path, draw: random.Random) -> None:
    copy = path.parent.parent / f"copy-{draw.randrange(1 << 30)}"
    shutil.move(path, copy)
    path.symlink_to(copy)


def nested(path: Path, draw: random.Random) -> None:
    path.write_text("[" * 100_000)


def odd_field(path: Path, draw: random.Random) -> None:
    """A JSON file, with one of its fields removed or of another value."""
    document = json.loads(path.read_bytes())
    places = list(_places(document))
    holder, key = draw.choice(places)
    if draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(ODD_VALUES)
    path.write_text(json.dumps(document))


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(pairs):
        yield document, key
        if isinstance(value, dict | list):
            yield from _places(value)


DAMAGES: tuple[Damage, ...] = (
    flip, cut, empty, lengthen, zero, swap, remove, folder, fifo, socket_, link_nowhere, link_to_itself, link_to_a_copy,
    nested,
)  # fmt: skip
"""Of any file."""


class HungError(AssertionError):
    """Something took longer than it may, and waited where an alarm still ends it."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise HungError where what is done inside takes longer."""

    def ring(*_: object) -> None:
        raise HungError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
