"""A cache's files in an object store: each replaced only if it is still as this process last saw it.

So of two processes that write one file, one is told that the other was there before, whatever either believed and
however long it slept, and makes what it publishes of what is there now. Nothing is lost, and no clock is asked. Who may
write at all meanwhile is left to `lease`, the errors' lines to `location`.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from codecsieve.errors import CacheError
from codecsieve.objects import ChangedError, Objects, ObjectsError, Stat, Version

from .lease import Lease

_TRIES = 30  # of one file; each means that another process has put it in between, or that the store failed
_FAILURES = 3  # of the store, beyond what obstore has tried itself
_PAUSE = 0.05  # seconds, times the number of the try


class Bucket:
    """`Files` of an object store, and beside that what reading arrays by ranges takes."""

    def __init__(self, url: str, options: Mapping[str, Any] | None) -> None:
        self.objects = Objects(url, options)
        self.lease: Lease | None = None
        """What allows to write, while somebody writes."""
        self._seen: dict[str, Version] = {}

    def read(self, name: str) -> bytes:
        """A whole file, which is now seen."""
        return bytes(self._look(name)[0])

    def read_end(self, name: str, nbytes: int) -> tuple[memoryview, Stat]:
        """The end of a file, or all of it; it is seen so, too."""
        data, stat = self.objects.read_end(name, nbytes)
        self._seen[name] = stat.version
        return data, stat

    def listed(self, folder: str) -> list[str]:
        """Names of files in a folder; none where there is no such folder: object stores have no empty ones."""
        return list(self.objects.entries(folder))

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        try:
            self.objects.stat(name)
        except FileNotFoundError:
            return False
        return True

    def publish(self, name: str, parts: Sequence[Any], again: Callable[[bytes], Sequence[Any] | None] | None) -> None:
        """Put a file in the place of what was seen of it, or of nothing. Raises CacheError, ObjectsError."""
        failures = 0
        for number in range(_TRIES):
            self._check_lease()
            seen = self._seen.get(name)
            try:
                self._seen[name] = self.objects.put(name, parts, seen)
                return
            except ChangedError:
                pass
            except FileNotFoundError:  # so some stores answer where what was to be replaced is gone
                pass
            except ObjectsError as error:
                failures += 1
                if failures > _FAILURES or error.errno != errno.EIO:
                    raise
            time.sleep(_PAUSE * number)
            there = self._look_again(name)
            # A put whose answer was lost on the way may have been done all the same, and then is not to be repeated.
            if there == b"".join(parts):
                return
            if there is None or self._seen[name] == seen:
                continue
            if again is None:
                raise CacheError(f"{self.objects.url}/{name} was changed by another process meanwhile; run it again")
            made = again(there)
            if made is None:
                return
            parts = made
        raise CacheError(f"{self.objects.url}/{name} is changed by others again and again; run it again later")

    def add(self, name: str, parts: Sequence[Any], again: Callable[[bytes], Sequence[Any] | None]) -> None:
        """Put a file where there is none; else what `again` makes of all that is there, whatever was seen of it."""
        self._seen.pop(name, None)
        self.publish(name, parts, again)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        gone = list(names)
        self._check_lease()
        self.objects.remove(gone)
        for name in gone:
            self._seen.pop(name, None)

    def make_folder(self, name: str) -> None:
        """Nothing: a folder is there where a file in it is."""

    def clear(self, folder: str) -> None:
        """Nothing: what is not put as a whole is not there."""

    def _check_lease(self) -> None:
        if self.lease is not None:
            self.lease.check()

    def _look(self, name: str) -> tuple[memoryview, Stat]:
        data, stat = self.objects.read(name)
        self._seen[name] = stat.version
        return data, stat

    def _look_again(self, name: str) -> bytes | None:
        """What a file is now, which is now seen; None where there is none."""
        try:
            return bytes(self._look(name)[0])
        except FileNotFoundError:
            self._seen.pop(name, None)
            return None
