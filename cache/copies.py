"""Copies of an object store's shards in a local folder: as many as there is room for, those read last.

A copy is named for its object and that object's version, so it is never out of date. Several processes share a folder:
a copy appears by a rename, whole, and room is made, and taken for what is being copied, under a lock. A process that
holds an open copy goes on reading it when it is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

from codecsieve.errors import ConfigError
from codecsieve.files import PARTIAL, cannot_write, lock, make_folder
from codecsieve.objects import Objects, ObjectsError
from codecsieve.options import bytes_of
from codecsieve.text import shortened

CACHE_SIZE = 50_000_000_000
"""Bytes of copies at most, where nobody says."""
_COPY = ".shard"
_LOCK = ".lock"
_PATIENCE = 60.0  # seconds; it is held for the time of a listing
_STALE = 600.0  # seconds after which a copy that does not grow is a dead process's


class Copies:
    """The copies in a folder, `nbytes` of them at most. It may be shared by threads and processes."""

    def __init__(self, folder: str, nbytes: int) -> None:
        """The folder is made where there is none. Raises CacheError where it cannot be."""
        self._folder, self._most = Path(folder), nbytes
        make_folder(self._folder)

    def path_of(self, objects: Objects, key: str) -> Path | None:
        """The copy of an object as it is now, made where there is none; None where there is no room.

        It may be gone when it is opened, since another process made room. Raises FileNotFoundError where there is no
        such object, ObjectsError where it cannot be read, CacheError where the copy cannot be written.
        """
        stat = objects.stat(key)
        if stat.size > self._most:
            return None
        named = hashlib.blake2b(f"{objects.url}/{key} {stat.version}".encode(), digest_size=16).hexdigest()
        path = self._folder / (named + _COPY)
        try:
            os.utime(path)  # read last, from now on
            return path
        except FileNotFoundError:
            pass
        partial = self._reserve(stat.size)
        if partial is None:
            return None
        try:
            self._fetch(objects, key, stat.size, partial)
            with self._locked():  # who lists the folder meanwhile might see it under neither name
                os.replace(partial, path)
        except OSError as error:
            if isinstance(error, ObjectsError | FileNotFoundError):
                raise
            raise cannot_write(path, error) from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    def remove(self, path: Path) -> None:
        """Remove a copy that is there and is damaged."""
        path.unlink(missing_ok=True)

    def _fetch(self, objects: Objects, key: str, nbytes: int, partial: Path) -> None:
        with partial.open("r+b") as file:
            stat = objects.fetch(key, file)
            if stat.size != nbytes or file.tell() != nbytes:
                raise ObjectsError(5, f"{file.tell()} of {nbytes} bytes came; it was replaced meanwhile", key)
            file.flush()
            os.fsync(file.fileno())

    def _reserve(self, nbytes: int) -> Path | None:
        """Make room for a copy, and a file of its size for it to be written into, so that others count it, too.

        None where all the room is taken by what is being copied.
        """
        with self._locked():
            kept = sorted(self._entries())
            room = self._most - nbytes - sum(size for _, size, _ in kept)
            for _, size, path in kept:
                if room >= 0:
                    break
                if path.suffix == _COPY:
                    path.unlink(missing_ok=True)
                    room += size
            if room < 0:
                return None
            try:
                descriptor, name = tempfile.mkstemp(PARTIAL, "copy-", self._folder)
                with os.fdopen(descriptor, "r+b") as file:
                    file.truncate(nbytes)
            except OSError as error:
                raise cannot_write(self._folder, error) from error
            return Path(name)

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.closing(lock(self._folder / _LOCK, self._folder, patience=_PATIENCE))

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each copy, or what is being copied, was last used, its bytes, and its file."""
        found = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                stat, path = entry.stat(), Path(entry.path)
                if path.suffix == PARTIAL and time.time() - stat.st_mtime > _STALE:
                    path.unlink(missing_ok=True)
                elif path.suffix in (_COPY, PARTIAL):
                    found.append((stat.st_mtime, stat.st_size, path))
        return found


def copies_in(folder: str | os.PathLike[str] | None, size: int | str) -> tuple[str, int] | None:
    """A folder for copies and its bytes, as `Location` has them; None without one.

    Raises ConfigError for a URL, and for no size.
    """
    if folder is None:
        return None
    if re.match(r"[a-z0-9]{2,}:/", os.fspath(folder), re.IGNORECASE):  # a path has made one slash of two
        raise ConfigError(f"cache_shards ({shortened(os.fspath(folder))}) must be a folder on this machine, not a URL")
    return os.path.abspath(folder), bytes_of("cache_size", size)
