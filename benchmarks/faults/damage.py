"""Damage to a file: to its bytes, or to what stands in its place. What is damaged, and why, is left to others.

Every kind is a function of a random generator, so that a seed repeats it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np

Random = np.random.Generator
Harm = Callable[[bytes, Random], bytes]


def flip(data: bytes, random: Random) -> bytes:
    """One to eight bits, anywhere."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 9)) if data else 0):
        changed[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def cut(data: bytes, random: Random) -> bytes:
    """The end is missing, as after a copy that was broken off; sometimes all but a few bytes, or all."""
    keep = (
        int(random.integers(len(data) + 1)) if random.random() < 0.8 else int(random.integers(min(len(data), 16) + 1))
    )
    return data[:keep]


def behead(data: bytes, random: Random) -> bytes:
    """The beginning is missing."""
    return data[int(random.integers(1, max(2, min(len(data), 4096)))) :]


def extend(data: bytes, random: Random) -> bytes:
    """Something follows the end: noise, zeros, or the file once more."""
    more = int(random.integers(1, 5000))
    return data + (random.bytes(more), bytes(more), data)[int(random.integers(3))]


def zero(data: bytes, random: Random) -> bytes:
    """A run is zeros, as a file system leaves what it never wrote; sometimes all of it."""
    first, last = _run(data, random)
    return data[:first] + bytes(last - first) + data[last:] if random.random() < 0.9 else bytes(len(data))


def scramble(data: bytes, random: Random) -> bytes:
    """A run is noise."""
    first, last = _run(data, random)
    return data[:first] + random.bytes(last - first) + data[last:]


def drop(data: bytes, random: Random) -> bytes:
    """A block is left out."""
    first, last = _run(data, random)
    return data[:first] + data[last:]


def repeat(data: bytes, random: Random) -> bytes:
    """A block comes twice."""
    first, last = _run(data, random)
    return data[:last] + data[first:]


def exchange(data: bytes, random: Random) -> bytes:
    """Two blocks have changed places."""
    if len(data) < 4:
        return data[::-1]
    size = int(random.integers(1, len(data) // 3 + 1))
    one, other = sorted(random.choice(max(2, len(data) // size - 1), 2, replace=False).tolist())
    blocks = bytearray(data)
    a, b = slice(one * size, one * size + size), slice(other * size, other * size + size)
    blocks[a], blocks[b] = blocks[b], blocks[a]
    return bytes(blocks)


BYTES: dict[str, Harm] = {
    harm.__name__: harm for harm in (flip, cut, behead, extend, zero, scramble, drop, repeat, exchange)
}


def _run(data: bytes, random: Random) -> tuple[int, int]:
    """Where a run begins and ends: from a byte to a third of the file, small ones as likely as large ones."""
    if not data:
        return 0, 0
    size = int(np.exp(random.uniform(0, np.log(max(2, len(data) // 3)))))
    first = int(random.integers(len(data)))
    return first, min(len(data), first + size)


Place = Callable[[Path, Random], None]


def nothing(path: Path, random: Random) -> None:
    """It is not there."""
    remove(path)


def folder(path: Path, random: Random) -> None:
    """An empty folder is in its place, or one with a file of that name."""
    remove(path)
    path.mkdir()
    if random.random() < 0.5:
        (path / path.name).write_bytes(random.bytes(8))


def file(path: Path, random: Random) -> None:
    """A file of noise is in its place."""
    remove(path)
    path.write_bytes(random.bytes(int(random.integers(64))))


def fifo(path: Path, random: Random) -> None:
    """A FIFO, which nobody writes to, is in its place."""
    remove(path)
    os.mkfifo(path)


def socket(path: Path, random: Random) -> None:
    """A socket, which nobody listens to, is in its place."""
    remove(path)
    os.mknod(path, stat.S_IFSOCK | 0o600)


def link_to_nothing(path: Path, random: Random) -> None:
    """A link to what is not there is in its place."""
    remove(path)
    path.symlink_to(path.with_name("nowhere"))


def link_to_itself(path: Path, random: Random) -> None:
    """A link to itself is in its place."""
    remove(path)
    path.symlink_to(path.name)


def link_to_zeros(path: Path, random: Random) -> None:
    """A link to a device that never ends is in its place."""
    remove(path)
    path.symlink_to("/dev/zero")


def link_to_copy(path: Path, random: Random) -> None:
    """A link to the right thing is in its place, which is no damage at all."""
    moved = path.parent.parent / f"moved-{path.parent.name}-{path.name}"
    os.rename(path, moved)
    path.symlink_to(moved)


def unreadable(path: Path, random: Random) -> None:
    """Its mode lets nobody read it; root reads it all the same."""
    path.chmod(0)


def sparse_tail(path: Path, random: Random) -> None:
    """It has become a quarter of a gigabyte longer, of holes."""
    os.truncate(path, path.stat().st_size + (256 << 20))


PLACES: dict[str, Place] = {
    place.__name__.replace("_", " "): place
    for place in (
        nothing, folder, file, fifo, socket, link_to_nothing, link_to_itself, link_to_zeros, link_to_copy, unreadable,
    )
}  # fmt: skip


def remove(path: Path) -> None:
    """Take away what is at `path`, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
