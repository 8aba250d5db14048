"""A file's content in a few digits: what tells that a file which was moved, or listed twice, is the same."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from codecsieve.errors import ManifestError
from codecsieve.objects import is_object_url, objects_beside, parted
from codecsieve.text import shortened

_BLOCK = 64 << 10
_BLOCKS = 16
_AT_ONCE = 4  # blocks of one object; several objects are read at once, too


def fingerprint(path: str | os.PathLike[str]) -> str:
    """32 hex digits (BLAKE2b) of a file's or object's size and content; "" where it is missing, empty or unreadable.

    Up to 1 MB all of the content counts, of larger files 16 evenly spaced blocks of 64 KB, the first and the
    last among them: a million files are identified without reading them whole. Raises ManifestError where an object's
    store cannot be reached: that says nothing of the object.
    """
    if is_object_url(path):
        return _of_object(str(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size

            def read(at: int, length: int) -> bytes:
                file.seek(at)
                return file.read(length)

            return _digest(size, (read(at, length) for at, length in _places(size)))
    except (OSError, ValueError):  # the latter where no path can be so: a NUL in it
        return ""


def _of_object(url: str) -> str:
    """The same of an object, of which only those blocks are asked for, all at once."""
    folder, name = parted(url)
    objects = objects_beside(folder)
    try:
        size = objects.stat(name).size
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return _digest(size, threads.map(lambda place: bytes(objects.read_range(name, *place)[0]), _places(size)))
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ENXIO):
            return ""
        raise ManifestError(f"{shortened(url)}: {error.strerror}; check the URL, and run it again") from error


def _places(size: int) -> list[tuple[int, int]]:
    """Where the content that counts begins, and how much it is, of a file of so many bytes."""
    if size <= _BLOCKS * _BLOCK:
        return [(0, size)] if size else []
    return [((size - _BLOCK) * block // (_BLOCKS - 1), _BLOCK) for block in range(_BLOCKS)]


def _digest(size: int, blocks: Iterable[bytes]) -> str:
    if size == 0:
        return ""
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
