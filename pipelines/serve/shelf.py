"""The caches of a service's roots, opened, and opened again when they have changed.

What is read of them goes out as arrays and JSON; pictures are drawn of the kept patches, without decoding anything.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codecsieve.cache import SparseBatch, SparseCache, SparseClip, open_cache
from codecsieve.errors import CacheError, ConfigError
from codecsieve.text import quoted

from .refusal import RefusedError
from .roots import Roots

_OPEN = 16


class Shelf:
    """Caches by name; from any thread."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[tuple[Any, ...], SparseCache]] = OrderedDict()

    def names(self) -> list[str]:
        """Of all caches that there are."""
        return self._roots.caches()

    def open(self, name: str) -> SparseCache:
        """A cache as it is now. Raises RefusedError: 404 where there is none, 409 where it is damaged."""
        folder = self.folder(name)
        signature = tuple(map(_changed, (folder / "zarr.json", folder / "table.parquet", folder / "index")))
        with self._lock:
            known = self._open.get(name)
            if known is not None and known[0] == signature:
                self._open.move_to_end(name)
                return known[1]
        try:
            cache = open_cache(folder)
        except CacheError as error:
            raise RefusedError(409, self._told(str(error), name)) from None
        with self._lock:
            self._open[name] = (signature, cache)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return cache

    def folder(self, name: str) -> Path:
        """Where a cache is. Raises RefusedError 404 where there is none."""
        folder = self._roots.cache_folder(name)
        if not (folder / "zarr.json").is_file():
            raise RefusedError(404, f"cache ({quoted(name)}): there is none")
        return folder

    def read(self, name: str, clips: Sequence[str]) -> SparseBatch:
        """Clips of a cache, by id, the beginning of one, or file name, with their pixels.

        Raises RefusedError: 404 where there is none, 409 where it is damaged, 422 where the cache has no pixels.
        """
        cache = self.open(name)
        try:
            cache.check_pixels()
            return cache.read(clips)
        except KeyError as error:
            raise RefusedError(404, self._told(error.args[0], name)) from None
        except ConfigError as error:
            raise RefusedError(422, self._told(str(error), name)) from None
        except CacheError as error:
            raise RefusedError(409, self._told(str(error), name)) from None

    def clip(self, name: str, clip: str) -> SparseClip:
        """One clip, likewise, with or without pixels."""
        try:
            return self.open(name)[clip]
        except KeyError as error:
            raise RefusedError(404, self._told(error.args[0], name)) from None
        except CacheError as error:
            raise RefusedError(409, self._told(str(error), name)) from None

    def _told(self, message: str, name: str) -> str:
        """A message with the cache under the name that users know."""
        return self._roots.shown(message.replace(str(self._roots.cache_folder(name)), name))


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
