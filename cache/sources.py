"""Where a clip's bytes come from: one array, one row at a time, in two forms that give the same.

`ShardSource` reads local raw shards with one system call a clip. `ZarrSource` goes through zarr-python and so
reads whatever that reads: object stores, compressed copies. Which clips there are, and whether their bytes
are right, is left to `reader`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import zarr

from codecsieve.errors import CacheError

from .layout import GROUP, SHARD_CLIPS, ArrayLayout, ClipArrays, Layout
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
            stored = group[array.name]
        except KeyError as error:
            raise CacheError(f"{self._name} is missing; delete the cache and run precompute again") from error
        if not isinstance(stored, zarr.Array) or stored.shape[1:] != array.shape or stored.dtype != array.dtype:
            raise CacheError(f"{self._name} is not {array.dtype} [N, {array.shape}]; make the cache again")
        self._stored = stored

    def read_into(self, row: int, out: np.ndarray) -> None:
        """See `Source`."""
        try:
            out[...] = self._stored[row]
        except Exception as error:  # zarr raises whatever its store and codecs do
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CacheError(f"cannot read row {row} of {self._name}: {reason}") from error


def open_sources(
    location: str | Path, layout: Layout, form: Form = "auto", storage_options: dict[str, Any] | None = None
) -> dict[str, Source]:
    """A source for each array of a cache, by name.

    form: "shards" or "zarr" ask for one form, "auto" takes shards for a cache that is local and raw. Raises
    CacheError where the form asked for cannot read this cache.
    """
    raw = isinstance(location, Path) and all(is_raw(location, array) for array in layout.arrays())
    raw = raw and hasattr(os, "preadv")  # which Windows lacks
    if form == "shards" and not raw:
        raise CacheError(f"cache {location} is not made of local, uncompressed shards; read it with form='zarr'")
    if raw and form != "zarr":
        return {array.name: ShardSource(Path(location), array) for array in layout.arrays()}
    group = open_group(location, storage_options)
    return {array.name: ZarrSource(group, array, str(location)) for array in layout.arrays()}


def read_clip(sources: Mapping[str, Source], layout: Layout, row: int) -> ClipArrays:
    """One row of every array, in memory of its own."""
    arrays: dict[str, Any] = {"patches": None}
    for array in layout.arrays():
        out = arrays[array.name] = np.empty(array.shape, array.dtype)
        sources[array.name].read_into(row, out)
    return ClipArrays(**arrays)


def is_raw(cache: Path, array: ArrayLayout) -> bool:
    """Whether an array is stored as `ShardSource` reads it: 64 raw little-endian chunks a shard."""
    try:
        metadata: dict[str, Any] = json.loads((cache / array.name / GROUP).read_bytes())
        shard_shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        (sharding,) = metadata["codecs"]
        inner = sharding["configuration"]
        index_codecs = [codec["name"] for codec in inner["index_codecs"]]
        (raw,) = inner["codecs"]
        return bool(
            metadata["data_type"] == array.dtype.name
            and metadata["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "."}}
            and shard_shape == [SHARD_CLIPS, *array.shape]
            and sharding["name"] == "sharding_indexed"
            and inner["chunk_shape"] == [1, *array.shape]
            and inner.get("index_location", "end") == "end"
            and index_codecs == ["bytes", "crc32c"]
            and raw["name"] == "bytes"
            and (array.dtype.itemsize == 1 or raw["configuration"]["endian"] == "little")
        )
    except (OSError, KeyError, ValueError, TypeError):
        return False


def open_group(location: str | Path, storage_options: dict[str, Any] | None = None) -> zarr.Group:
    """The cache's Zarr group, read only; CacheError where there is none or its metadata is damaged."""
    try:
        return zarr.open_group(location, mode="r", zarr_format=3, storage_options=storage_options)
    except FileNotFoundError as error:
        advice = "check the path, or make a cache with `codecsieve precompute`"
        raise CacheError(f"{location} is not a cache: it has no {GROUP}; {advice}") from error
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        raise CacheError(f"cannot open cache {location}: {str(error).splitlines()[0]}") from error
