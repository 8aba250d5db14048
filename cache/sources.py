"""Where a clip's bytes come from: one array, one row at a time, in two forms that give the same.

`ShardSource` reads local raw shards with one system call a clip. `ZarrSource` goes through zarr-python and so
reads whatever that reads: object stores, compressed copies. Which clips there are, and whether their bytes
are right, is left to `reader`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import zarr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from codecsieve.errors import CacheError
from codecsieve.files import kind_of_file
from codecsieve.text import one_line, shortened

from .layout import SHARD_CLIPS, ArrayLayout, ClipArrays, Layout
from .location import Location
from .metadata import read_array
from .shard import ShardFile

OPEN_SHARDS = 32

Form = Literal["auto", "shards", "zarr"]


class Source(Protocol):
    """One array of a cache."""

    def read_into(self, row: int, out: np.ndarray) -> None:
        """Fill `out`, C-ordered and of the chunk's dtype and shape, with a row, or raise CacheError."""


class ShardSource:
    """Rows out of local raw shard files, at most 32 of which are open at once."""

    def __init__(self, cache: Path, array: ArrayLayout) -> None:
        self._cache = cache
        self._array = array
        self._shard = lru_cache(maxsize=OPEN_SHARDS)(self._open)

    def _open(self, shard: int) -> ShardFile:
        return ShardFile(self._cache / self._array.shard_key(shard), self._array.nbytes)

    def read_into(self, row: int, out: np.ndarray) -> None:
        """See `Source`."""
        self._shard(row // SHARD_CLIPS).read_into(row % SHARD_CLIPS, out)


class ZarrSource:
    """Rows through zarr-python. A chunk that is missing reads as zeros here: only a checksum tells."""

    def __init__(self, group: zarr.Group, array: ArrayLayout, name: str) -> None:
        self._name = f"{name}/{array.name}"
        try:
            self._stored: Any = group[array.name]
        except Exception as error:  # zarr raises whatever its stores and codecs do
            raise CacheError(f"cannot open {self._name}: {_reason(error)}; make the cache again") from error

    def read_into(self, row: int, out: np.ndarray) -> None:
        """See `Source`."""
        try:
            out[...] = self._stored[row]
        except Exception as error:  # as above
            raise CacheError(f"cannot read row {row} of {self._name}: {_reason(error)}") from error


class _FilesOnly(LocalStore):
    """A folder as zarr reads it, but for what is no file: a FIFO would keep it waiting for ever."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        path = self.root / key
        if path.exists() and kind_of_file(path) != "file":
            raise CacheError(f"{path} is a {kind_of_file(path)}, not a file")
        return await super().get(key, prototype, byte_range)


def open_sources(location: Location, layout: Layout, form: Form = "auto") -> dict[str, Source]:
    """A source for each array of a cache, by name.

    form: "shards" or "zarr" ask for one form, "auto" takes shards for a cache that is local and raw. Raises
    CacheError where the form asked for cannot read this cache, or an array's metadata is damaged.
    """
    arrays = layout.arrays()
    found = [read_array(location, array) for array in arrays]
    raw = all(array.raw for array in found) and location.local and hasattr(os, "preadv")  # which Windows lacks
    if form == "shards" and not raw:
        raise CacheError(f"cache {location} is not made of local, uncompressed shards; read it with form='zarr'")
    if raw and form != "zarr":
        return {array.name: ShardSource(Path(location.root), array) for array in arrays}
    group = open_group(location)
    return {array.name: ZarrSource(group, array, str(location)) for array in arrays}


def read_clip(sources: Mapping[str, Source], layout: Layout, row: int) -> ClipArrays:
    """One row of every array, in memory of its own."""
    arrays: dict[str, Any] = {"patches": None}
    for array in layout.arrays():
        out = arrays[array.name] = np.empty(array.shape, array.dtype)
        sources[array.name].read_into(row, out)
    return ClipArrays(**arrays)


def open_group(location: Location) -> zarr.Group:
    """A cache's Zarr group as zarr-python has it, to be read; CacheError where it has none."""
    store = _FilesOnly(location.root, read_only=True) if isinstance(location.root, Path) else location.root
    options = None if location.local or location.storage_options is None else dict(location.storage_options)
    try:
        return zarr.open_group(store, mode="r", zarr_format=3, storage_options=options)
    except Exception as error:  # zarr raises whatever its stores do
        raise CacheError(f"cannot open cache {location}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return shortened(one_line(str(error))) or type(error).__name__
