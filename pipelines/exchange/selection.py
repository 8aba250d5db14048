"""What is exported: clips of a cache in the order of its rows, what is known of each, and how they come in shards.

How a shard is written is left to the formats.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.cache import Condition, SparseCache
from codecsieve.cache.parquet import column
from codecsieve.cache.table import GIVEN
from codecsieve.errors import ConfigError

NOT_EXPORTED = ("row", "status", "error", "seconds")
"""Columns of a cache's table that say how the cache holds a clip, not what it is."""
TAKEN = ("patches", "positions", "scores", "frame_ids", "file")
"""Names that formats have beside the table's."""
_BATCH_BYTES = 32 * 10**6
_CLIP_EXTRA = 8192  # of a clip in a shard, besides its arrays: what is known of it, headers
_HASHED = 4096  # rows at a time


class Count(Protocol):
    """Is told of clips as they are done; of those that were there already, too."""

    def __call__(self, clips: int, there: bool = False) -> None: ...


@dataclass(frozen=True, eq=False)
class Selection:
    """The clips to export. table: a row for each, with all that goes along; shard_clips: clips of a shard."""

    cache: SparseCache
    table: pa.Table
    shard_clips: int

    def __len__(self) -> int:
        return len(self.table)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return math.ceil(len(self) / self.shard_clips)

    @property
    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Of each array of a clip: its dtype's name and its shape."""
        return {array.name: (array.dtype.name, array.shape) for array in self.cache.layout.arrays()}

    def rows(self, shard: int) -> pa.Table:
        """The rows of a shard."""
        return self.table.slice(shard * self.shard_clips, self.shard_clips)

    def known(self) -> Iterator[dict[str, Any]]:
        """What is known of each clip, in order."""
        for start in range(0, len(self), _HASHED):
            yield from self.table.slice(start, _HASHED).to_pylist()

    def batches(self, shard: int) -> Iterator[tuple[pa.Table, dict[str, np.ndarray]]]:
        """A shard's clips, a few at a time: their rows, and their arrays by name, with a first axis of as many.

        Raises CacheError where a clip is damaged.
        """
        rows, few = self.rows(shard), max(1, _BATCH_BYTES // self.cache.layout.clip_bytes)
        for start in range(0, len(rows), few):
            part = rows.slice(start, few)
            batch = self.cache.read(column(part, "id"))
            yield part, {name: getattr(batch, name) for name in self.shapes}

    def clips(self, shard: int) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """A shard's clips one by one: what is known of each, and its arrays; raises as `batches` does."""
        for rows, arrays in self.batches(shard):
            for number, row in enumerate(rows.to_pylist()):
                yield row, {name: values[number] for name, values in arrays.items()}

    def missing(
        self, paths: Sequence[Path], is_there: Callable[[Path], bool], count: Count
    ) -> Iterator[tuple[int, Path, dict[str, Any], dict[str, np.ndarray]]]:
        """The clips whose file or folder is not there: number, path, what is known, arrays; raises as `batches` does.

        paths: one a clip; count: told of each that is there, and of each other once the next one is asked for.
        """
        for shard in range(self.shards):
            first = shard * self.shard_clips
            here = paths[first : first + self.shard_clips]
            if all(map(is_there, here)):
                count(len(here), there=True)
                continue
            for number, (path, (row, arrays)) in enumerate(zip(here, self.clips(shard), strict=True), first):
                there = is_there(path)
                if not there:
                    yield number, path, row, arrays
                count(1, there)

    def digest(self) -> str:
        """Hex SHA-256 of all rows: clips with other bytes (their checksums are among the columns) have another."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _HASHED):
            digest.update(json.dumps(self.table.slice(start, _HASHED).to_pylist()).encode())
        return digest.hexdigest()


def select(cache: SparseCache, where: Condition | None, shard_bytes: int) -> Selection:
    """The clips that are in a cache and meet a condition, see `SparseCache.where`, in shards of about `shard_bytes`.

    Raises ConfigError where there are none, or the condition cannot be answered.
    """
    table = cache.table.filter(pc.field("status") == "ok")
    if where is not None:
        from codecsieve.cache.where import matching  # DuckDB takes a while to load

        table = matching(table, where)
    table = table.drop_columns(list(NOT_EXPORTED))
    if not len(table):
        which = "has no clips" if where is None else "has no clips that meet the condition"
        raise ConfigError(f"cache {cache.location} {which}; nothing is exported")
    names = [f"{GIVEN}{name}" if name in TAKEN else name for name in table.column_names]
    if len(set(names)) < len(names):
        raise ConfigError(f"cache {cache.location} has two columns that an export would both call "
                          f"{next(name for name in names if names.count(name) > 1)}; rename one")  # fmt: skip
    shard_clips = max(1, shard_bytes // (cache.layout.clip_bytes + _CLIP_EXTRA))
    return Selection(cache, table.rename_columns(names).combine_chunks(), shard_clips)


def plain_json(row: dict[str, Any]) -> str:
    """What is known of a clip as JSON that any program reads: numbers that are none become null."""
    return json.dumps(
        {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()},
        ensure_ascii=False,
    )


def npy(values: np.ndarray) -> bytes:
    """An array as the bytes of a `.npy` file."""
    data = io.BytesIO()
    np.lib.format.write_array(data, np.ascontiguousarray(values), allow_pickle=False)
    return data.getvalue()
