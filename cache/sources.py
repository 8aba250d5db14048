"""Where a clip's bytes come from: one array, one row at a time, in two forms that give the same.

`ShardSource` reads local raw shards with one system call a clip. `zarr_source.ZarrSource` goes through zarr-python and
so reads whatever that reads: object stores, compressed copies. It is imported where it is needed: zarr takes a quarter
of a second to import. Which clips there are, and whether their bytes are right, is left to `reader`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from codecsieve.errors import CacheError

from .layout import SHARD_CLIPS, ArrayLayout, ClipArrays, Layout
from .location import Location
from .metadata import read_array
from .shard import ShardFile

OPEN_SHARDS = 32

Form = Literal["auto", "shards", "zarr"]


class Source(Protocol):
    """One array of a cache."""

    missing_reads_zero: bool
    """Whether a chunk that is missing reads as zeros, which only a checksum tells."""

    def read_into(self, row: int, out: np.ndarray) -> None:
        """Fill `out`, C-ordered and of the chunk's dtype and shape, with a row, or raise CacheError."""


class ShardSource:
    """Rows out of local raw shard files, at most 32 of which are open at once."""

    missing_reads_zero = False

    def __init__(self, cache: Path, array: ArrayLayout) -> None:
        self._cache = cache
        self._array = array
        self._shard = lru_cache(maxsize=OPEN_SHARDS)(self._open)

    def _open(self, shard: int) -> ShardFile:
        return ShardFile(self._cache / self._array.shard_key(shard), self._array.nbytes)

    def read_into(self, row: int, out: np.ndarray) -> None:
        """See `Source`."""
        self._shard(row // SHARD_CLIPS).read_into(row % SHARD_CLIPS, out)


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
    from .zarr_source import ZarrSource, open_group

    group = open_group(location)
    return {array.name: ZarrSource(group, array, str(location)) for array in arrays}


def read_clip(sources: Mapping[str, Source], layout: Layout, row: int) -> ClipArrays:
    """One row of every array, in memory of its own."""
    arrays: dict[str, Any] = {"patches": None}
    for array in layout.arrays():
        out = arrays[array.name] = np.empty(array.shape, array.dtype)
        sources[array.name].read_into(row, out)
    return ClipArrays(**arrays)
