"""Where a clip's bytes come from: one array, one row or many, in three forms that give the same.

`ShardSource` reads local raw shards with one system call a clip, `bucket_source` those in an object store by ranges,
many at once. `zarr_source.ZarrSource` goes through zarr-python and so reads whatever that reads, compressed copies
among it. It is imported where it is needed: zarr takes a quarter of a second to import. Which clips there are, and
whether their bytes are right, is left to `reader`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from codecsieve.errors import CacheError

from .layout import SHARD_CLIPS, ArrayLayout, ClipArrays, Layout
from .location import Location
from .metadata import read_array
from .shard import Shard, ShardFile
from .source import Source

OPEN_SHARDS = 32

Form = Literal["auto", "shards", "zarr"]


class ShardSource(Source):
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
    raw = all(array.raw for array in found) and (
        location.bucket is not None or (location.local and hasattr(os, "preadv"))  # which Windows lacks
    )
    if form == "shards" and not raw:
        raise CacheError(f"cache {location} is not made of local, uncompressed shards; read it with form='zarr'")
    if raw and form != "zarr":
        return {array.name: open_source(location, array) for array in arrays}
    from .zarr_source import ZarrSource, open_group

    group = open_group(location)
    return {array.name: ZarrSource(group, array, str(location)) for array in arrays}


def open_source(location: Location, array: ArrayLayout) -> Source:
    """A source for one array of a cache that is made of raw shards, whatever its metadata says."""
    if location.local:
        return ShardSource(location.folder, array)
    from .bucket_source import BucketSource

    return BucketSource(location, array)


def open_shard(location: Location, array: ArrayLayout, shard: int) -> Shard:
    """One shard, as it is now. Raises DamagedShardError, or CacheError where it cannot be read."""
    if location.local:
        return ShardFile(location.folder / array.shard_key(shard), array.nbytes)
    from .bucket_source import BucketShard

    return BucketShard(location, array, shard, whole=False)


def read_clip(sources: Mapping[str, Source], layout: Layout, row: int) -> ClipArrays:
    """One row of every array, in memory of its own."""
    clip: dict[str, Any] = {name: values[0] for name, values in read_rows(sources, layout, [row]).items()}
    return ClipArrays(**{"patches": None, **clip})


def read_rows(sources: Mapping[str, Source], layout: Layout, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """Rows of every array, [len(rows), *shape], by its name."""
    out = {array.name: np.empty((len(rows), *array.shape), array.dtype) for array in layout.arrays()}
    if any(sources[name].far for name in out):
        with ThreadPoolExecutor(len(out)) as threads:
            list(threads.map(lambda name: sources[name].read_rows(rows, out[name]), out))
    else:
        for name, values in out.items():
            sources[name].read_rows(rows, values)
    return out
