"""Reading a cache: clips by number or by id, one at a time or in batches.

Only clips that the index has published are there to be read. Where their bytes come from, local shards or
zarr-python, is left to `sources`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.errors import CacheError, ConfigError

from .index import column, join_parts, parse_part, part_name, part_shard, read_parts
from .layout import INDEX, SHARD_CLIPS, ClipArrays, read_attributes
from .sources import Form, ZarrSource, open_group, open_sources, read_clip


@dataclass(frozen=True, eq=False)
class SparseClip:
    """One clip as it is kept.

    patches: uint8 [K, 3, P, P], RGB, or None in a cache of indices; positions: uint16 [K, 3], (t, h, w);
    scores: int32 [K]; frame_ids: int32 [T], the clip's frame number in each slot.
    """

    patches: np.ndarray | None
    positions: np.ndarray
    scores: np.ndarray
    frame_ids: np.ndarray
    label: str | None
    clip_id: str


@dataclass(frozen=True, eq=False)
class SparseBatch:
    """B clips: the arrays of `SparseClip` with a first axis of B, and a label and an id for each."""

    patches: np.ndarray | None
    positions: np.ndarray
    scores: np.ndarray
    frame_ids: np.ndarray
    labels: tuple[str | None, ...]
    clip_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.clip_ids)


class SparseCache:
    """The clips of a cache, as published when it was opened.

    index: every clip that was tried, in row order, see `codecsieve.cache.index.SCHEMA`; clip_ids, labels: of
    the clips that are in, by number; config: the selection's options; layout: the shapes. It may be shared by
    threads and pickled to worker processes, which see the same clips in the same order.
    """

    def __init__(
        self,
        location: str | Path,
        index: pa.Table,
        verify: bool,
        form: Form,
        storage_options: dict[str, Any] | None,
    ) -> None:
        """Use `open_cache`."""
        self.index = index
        self._arguments = (location, index, verify, form, storage_options)
        self.location = location
        self._verify = verify
        group = open_group(location, storage_options)
        self.layout, self.config = read_attributes(dict(group.attrs), str(location))
        self._sources = open_sources(location, self.layout, form, storage_options)
        self._missing_reads_zero = any(isinstance(source, ZarrSource) for source in self._sources.values())
        clips = index.filter(pc.field("status") == "ok")
        self.clip_ids: list[str] = column(clips, "id")
        self.labels: list[str | None] = column(clips, "label")
        self._rows: list[int] = column(clips, "row")
        self._checksums: list[int] = column(clips, "crc32c")

    def __reduce__(self) -> tuple[type[SparseCache], tuple[Any, ...]]:
        return type(self), self._arguments

    def __repr__(self) -> str:
        return f"SparseCache({str(self.location)!r}, {len(self)} clips)"

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, clip: int | str) -> SparseClip:
        """The clip with an id, or with a number in 0..len-1, counting in row order.

        Raises KeyError or IndexError where there is none, CacheError where its bytes are damaged.
        """
        number = self._number(clip)
        arrays = read_clip(self._sources, self.layout, self._rows[number])
        self._check(number, arrays)
        return SparseClip(**vars(arrays), label=self.labels[number], clip_id=self.clip_ids[number])

    def check_pixels(self) -> None:
        """Raise ConfigError where the cache stores no pixels."""
        if self.layout.store != "patches":
            raise ConfigError(
                f"cache {self.location} holds no pixels (store {self.layout.store!r}); "
                "make one with precompute --store patches"
            )

    def read(self, rows: Sequence[int | str]) -> SparseBatch:
        """Clips, numbered or named as in `[]`, as one batch in the order of `rows`; raises as `[]` does."""
        numbers = [self._number(clip) for clip in rows]
        stacked: dict[str, Any] = {"patches": None}
        for array in self.layout.arrays():
            out = stacked[array.name] = np.empty((len(numbers), *array.shape), array.dtype)
            source = self._sources[array.name]
            for place, number in enumerate(numbers):
                source.read_into(self._rows[number], out[place])
        for place, number in enumerate(numbers):
            clip = {name: values[place] for name, values in stacked.items() if values is not None}
            self._check(number, ClipArrays(**{"patches": None, **clip}))
        return SparseBatch(
            **stacked,
            labels=tuple(self.labels[number] for number in numbers),
            clip_ids=tuple(self.clip_ids[number] for number in numbers),
        )

    def verify(self) -> None:
        """Read every clip and raise CacheError, naming it, for the first that does not match its checksum."""
        for number, row in enumerate(self._rows):
            self._check_sum(number, read_clip(self._sources, self.layout, row))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {clip_id: number for number, clip_id in enumerate(self.clip_ids)}

    def _number(self, clip: int | str) -> int:
        if isinstance(clip, str):
            if clip not in self._numbers:
                raise KeyError(f"cache {self.location} has no clip {clip}{self._why_not(clip)}")
            return self._numbers[clip]
        number = clip + len(self) if clip < 0 else clip
        if not 0 <= number < len(self):
            raise IndexError(f"clip {clip} of cache {self.location} must be in 0..{len(self) - 1}")
        return int(number)

    def _why_not(self, clip_id: str) -> str:
        failed = self.index.filter(pc.field("id") == clip_id)
        return f": it failed ({failed['error'][0].as_py()})" if len(failed) else ""

    def _check(self, number: int, clip: ClipArrays) -> None:
        lost = self._missing_reads_zero and not all(a.any() for a in vars(clip).values() if a is not None)
        if self._verify or lost:
            self._check_sum(number, clip)

    def _check_sum(self, number: int, clip: ClipArrays) -> None:
        if clip.crc32c() != self._checksums[number]:
            part = f"{INDEX}/{part_name(self._rows[number] // SHARD_CLIPS)}"
            raise CacheError(
                f"clip {self.clip_ids[number]} of cache {self.location} does not match its checksum: "
                f"remove the cache's {part} and run precompute again"
            )


def open_cache(
    path: str | os.PathLike[str],
    verify: bool = False,
    form: Form = "auto",
    storage_options: dict[str, Any] | None = None,
) -> SparseCache:
    """Open the cache in a local folder, or at a URL that fsspec knows (`s3://...`).

    verify: check each clip's CRC-32C as it is read. form: "shards" reads local shard files directly, "zarr"
    goes through zarr-python, "auto" takes the first where it can; both give the same. storage_options: for
    fsspec.

    Raises CacheError where there is no cache, or its metadata or index is damaged.
    """
    if isinstance(path, str) and "://" in path:
        open_group(path, storage_options)
        return SparseCache(path, _read_remote_index(path, storage_options), verify, form, storage_options)
    folder = Path(path).absolute()
    return SparseCache(folder, join_parts(read_parts(folder).values()), verify, form, None)


def _read_remote_index(url: str, storage_options: dict[str, Any] | None) -> pa.Table:
    fsspec = import_module("fsspec.core")  # which zarr too needs for URLs only
    files, root = fsspec.url_to_fs(url, **(storage_options or {}))
    parts: dict[int, pa.Table] = {}
    names = files.glob(f"{root}/{INDEX}/part-*.parquet")
    for name, data in (files.cat(names) if names else {}).items():
        shard = part_shard(name.rpartition("/")[2])
        if shard is not None:
            parts[shard] = parse_part(data, name)
    return join_parts(parts[shard] for shard in sorted(parts))
