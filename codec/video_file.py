"""A video's bytes: of a local file, or of an object at a URL, which is read by ranges, as far as it is asked for.

An object is asked for in blocks, of which the last few are kept: for whoever opens it again, as is done to doubt a
file's own index. What is read on from where it ended comes in larger and larger pieces; after a jump a piece is one
block. So of an MP4 its header is read, at whichever end it is, and then what holds the packets that are wanted.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import IO, Any

from codecsieve.objects import ObjectsError, is_object_url, objects_beside, parted

BLOCK = 64 << 10
_READ_AHEAD = 64  # blocks of one request, at most
_KEPT = 256  # blocks of one object
_OBJECTS = 2  # whose blocks are kept


def open_bytes(path: str) -> IO[bytes]:
    """A video file, or an object, to be read. Raises OSError."""
    return io.BufferedReader(RangedFile(_object(path)), 64 << 10) if is_object_url(path) else open(path, "rb")


def size_of(path: str) -> int:
    """Bytes of a file or an object. Raises OSError."""
    return _object(path).size if is_object_url(path) else os.stat(path).st_size


class RangedFile(io.RawIOBase):
    """An object as a file: a place in it. PyAV reads it as it does any file of Python's."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._at = blocks, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blocks.size}.get(whence)
        if start is None or start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        data = self._blocks.read(self._at, len(target))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)


class Blocks:
    """An object's blocks, those read last kept. It may be shared by threads.

    size: bytes of the object; fetched: bytes that were asked of the store.
    """

    def __init__(self, url: str) -> None:
        """Raises OSError where there is no such object."""
        folder, self._name = parted(url)
        self._objects = objects_beside(folder)
        stat = self._objects.stat(self._name)
        self.size, self._version, self.fetched = stat.size, stat.version, 0
        self._held: OrderedDict[int, memoryview] = OrderedDict()
        self._next, self._ahead = 0, 1
        self._lock = threading.Lock()

    def read(self, at: int, length: int) -> memoryview:
        """Up to so many bytes from `at` on, within one block; none at the end. Raises OSError."""
        if at >= self.size:
            return memoryview(b"")
        number, offset = divmod(at, BLOCK)
        with self._lock:
            if number not in self._held:
                self._fetch(number)
            self._held.move_to_end(number)
            return self._held[number][offset : offset + length]

    def _fetch(self, number: int) -> None:
        self._ahead = min(2 * self._ahead, _READ_AHEAD) if number == self._next else 1
        count = next((n for n in range(1, self._ahead) if number + n in self._held), self._ahead)
        data, _ = self._objects.read_range(self._name, number * BLOCK, count * BLOCK, self._version)
        expected = min(count * BLOCK, self.size - number * BLOCK)
        if len(data) != expected:
            raise ObjectsError(errno.EIO, f"{len(data)} bytes came, not {expected}", self._name)
        self.fetched += len(data)
        for first in range(0, len(data), BLOCK):
            self._held[number + first // BLOCK] = data[first : first + BLOCK]
        while len(self._held) > _KEPT:
            self._held.popitem(last=False)
        self._next = number + count


@lru_cache(maxsize=_OBJECTS)
def _object(url: str) -> Blocks:
    return Blocks(url)
