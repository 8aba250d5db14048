"""Reading a cache: clips by number or by id, one at a time or in batches.

Only clips that the index has published are there to be read, and the first time that a clip is read its bytes are
held against its checksum. Where they come from, local shards or zarr-python, is left to `sources`; what is said of
clips beside, to `table`; which clip a name means, to `naming`, and a condition, to `where`; checking a whole cache, to
`verify`.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, get_args, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.errors import CacheError, CodecsieveError, ConfigError
from codecsieve.mosaic import html_of
from codecsieve.options import in_units
from codecsieve.text import first_few, one_line, quoted, shortened

from .clips import NO_PIXELS, SparseBatch, SparseClip
from .copies import CACHE_SIZE, copies_in
from .index import join_parts
from .layout import REMAKE, ClipArrays
from .location import Location
from .metadata import read_group
from .naming import find_clip
from .packs import read_records
from .parquet import column
from .plan import planned_clips
from .sources import Form, open_sources, read_clip, read_rows
from .table import column_name, effective, further, read_table

Condition = str | Any
"""On the columns of `SparseCache.table`: SQL, or a pyarrow expression, a type that type checkers do not know."""
Verify = Literal["once", True, False]
_DRAWN = 3  # clips of a cache that a notebook shows
Several = slice | range | list[int] | list[str] | list[int | str] | tuple[int | str, ...] | np.ndarray


class SparseCache:
    """The clips of a cache, as published when it was opened.

    index: every clip that was tried, in row order, see `codecsieve.cache.index.SCHEMA`, labels and uris as they were
    last said to be; clip_ids, labels, uris: of the clips that are in, by number; config: the selection's options;
    layout: the shapes. It may be shared by threads and pickled to worker processes, which see the same clips in the
    same order.
    """

    def __init__(
        self, location: Location, index: pa.Table, said: pa.Table, verify: Verify = "once", form: Form = "auto"
    ) -> None:
        """Use `open_cache`."""
        if verify not in ("once", True, False):
            raise ConfigError(f"verify ({quoted(verify)}) must be 'once', True or False")
        if form not in get_args(Form):
            raise ConfigError(f"form ({quoted(form)}) must be one of {', '.join(get_args(Form))}")
        self.index, self._further = effective(index, said), further(index, said)
        self._arguments = (location, index, said, verify, form)
        self._location = location
        self.location = location.root
        self._verify = verify
        group = read_group(location)
        self.layout, self.config = group.layout, group.config
        self._sources = open_sources(location, self.layout, form)
        self._missing_reads_zero = any(source.missing_reads_zero for source in self._sources.values())
        made = pc.equal(index["status"], "ok")
        clips = self.index.filter(made)
        self._metadata = self._further.filter(made) if self._further.num_columns else self._further
        self.clip_ids: list[str] = column(clips, "id")
        self.labels: list[str | None] = column(clips, "label")
        self.uris: list[str] = column(clips, "uri")
        self._rows: list[int] = column(clips, "row")
        self._checksums: list[int] = column(clips, "crc32c")
        self._seen = bytearray(len(self.clip_ids))  # whose bytes were held against their checksum

    def __reduce__(self) -> tuple[type[SparseCache], tuple[Any, ...]]:
        return type(self), self._arguments

    def __repr__(self) -> str:  # at most five lines
        layout, names = self.layout, ("policy", "signals", "mv_compensate", "fuse")
        made_with = first_few(f"{name} {self.config[name]}" for name in names if name in self.config)
        pixels = f"of {layout.patch}x{layout.patch} pixels" if layout.store == "patches" else "without their pixels"
        return (
            f"SparseCache {shortened(str(self.location))}\n"
            f"  {len(self)} clips, {len(self.index) - len(self)} failed, {len(set(self.labels) - {None})} labels\n"
            f"  of each {layout.k_keep} patches {pixels}, of {layout.num_frames} slots: {in_units(layout.clip_bytes)}\n"
            f"  made with {made_with or 'options unknown'}\n"
            f"  further columns: {first_few(self._further.column_names) or 'none'}"
        )

    def _repr_html_(self) -> str:
        try:
            return html_of(repr(self), self[:_DRAWN].pictures())
        except CodecsieveError as error:  # a damaged cache tells what it is all the same
            return html_of(f"{self!r}\n{error}", [])

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __iter__(self) -> Iterator[SparseClip]:
        return (self[number] for number in range(len(self)))

    def __contains__(self, clip: object) -> bool:
        """Whether a clip that is in has this id, number or name."""
        try:
            self._number(clip)
        except (KeyError, IndexError, TypeError):
            return False
        return True

    @overload
    def __getitem__(self, clip: int | str) -> SparseClip: ...
    @overload
    def __getitem__(self, clip: Several) -> SparseBatch: ...
    def __getitem__(self, clip: int | str | Several) -> SparseClip | SparseBatch:
        """The clip with a number in 0..len-1, counting in row order, or with a name, see `find`; of several, a batch.

        An array of truth values, one for each clip, means those where it is true. Raises KeyError or IndexError where
        there is no such clip, TypeError for what is no clip's number or name, CacheError where a clip's bytes are
        missing or damaged.
        """
        if isinstance(clip, slice):
            return self.read(range(len(self))[clip])
        if isinstance(clip, np.ndarray) and clip.dtype == bool:
            if clip.shape != (len(self),):
                raise IndexError(f"truth values {list(clip.shape)} must be one for each of {len(self)} clips")
            clip = np.flatnonzero(clip)
        if isinstance(clip, list | tuple | range | np.ndarray):
            return self.read(list(clip))
        number = self._number(clip)
        arrays = read_clip(self._sources, self.layout, self._rows[number])
        self._check(number, arrays)
        return SparseClip(
            pixels=arrays.patches,
            positions=arrays.positions,
            scores=arrays.scores,
            frame_ids=arrays.frame_ids,
            label=self.labels[number],
            clip_id=self.clip_ids[number],
            uri=self.uris[number],
            metadata=self.metadata_of(number),
            grid=self.grid,
        )

    def find(self, name: str) -> str:
        """The id of the clip that `name` means: its id, the beginning of it, or its video's file name or path.

        Raises KeyError, saying which clips it may be, where that is not one clip that is in.
        """
        return self.clip_ids[self._number(name)]

    @cached_property
    def table(self) -> pa.Table:
        """All that is known of every clip that was tried: the columns of `index`, then those of manifests."""
        columns = {name: self.index[name] for name in self.index.column_names}
        return pa.table({**columns, **{column_name(name): self._further[name] for name in self._further.column_names}})

    def where(self, condition: Condition) -> list[str]:
        """Ids of the clips that are in and meet a condition on the columns of `table`, in row order.

        condition: in SQL, such as `label = 'run' and fps > 25`, or a pyarrow expression. Raises ConfigError where it
        cannot be answered.
        """
        from .where import matching  # DuckDB takes a while to load

        return column(matching(self.table.filter(pc.field("status") == "ok"), condition), "id")

    def metadata_of(self, number: int) -> dict[str, Any]:
        """What further columns say of the clip with a number, by name; None where nothing."""
        return {name: self._metadata[name][number].as_py() for name in self._metadata.column_names}

    @property
    def grid(self) -> int:
        """Patches on each side of the model's square; 0 where the config does not tell."""
        size = self.config.get("input_size")
        return size // self.layout.patch if isinstance(size, int) else 0

    def check_pixels(self) -> None:
        """Raise ConfigError where the cache stores no pixels."""
        if self.layout.store != "patches":
            raise ConfigError(NO_PIXELS.format(f"cache {self.location}"))

    def read(self, rows: Sequence[int | str]) -> SparseBatch:
        """Clips, numbered or named as in `[]`, as one batch in the order of `rows`; raises as `[]` does.

        Text is one clip's name, here and wherever clips are named.
        """
        numbers = [self._number(clip) for clip in ([rows] if isinstance(rows, str) else rows)]
        read = read_rows(self._sources, self.layout, [self._rows[number] for number in numbers])
        stacked: dict[str, Any] = {"patches": None, **read}
        for place, number in enumerate(numbers):
            clip = {name: values[place] for name, values in stacked.items() if values is not None}
            self._check(number, ClipArrays(**{"patches": None, **clip}))
        return SparseBatch(
            pixels=stacked.pop("patches"),
            **stacked,
            labels=tuple(self.labels[number] for number in numbers),
            clip_ids=tuple(self.clip_ids[number] for number in numbers),
            uris=tuple(self.uris[number] for number in numbers),
            metadata=tuple(map(self.metadata_of, numbers)),
            grid=self.grid,
        )

    def verify(self) -> None:
        """Read every clip and raise CacheError, naming it, for the first that does not match its checksum.

        `codecsieve verify` goes on to the last, and looks at everything besides.
        """
        for number, row in enumerate(self._rows):
            self._check_sum(number, read_clip(self._sources, self.layout, row))

    @cached_property
    def planned(self) -> int:
        """Clips that were planned, whatever became of them. Raises CacheError where the plan is damaged.

        The index may list fewer: a run is at it or was cut off, or parts of the index are lost.
        """
        return planned_clips(self._location)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {clip_id: number for number, clip_id in enumerate(self.clip_ids)}

    @cached_property
    def _names(self) -> pa.Table:
        return pa.table({"id": pa.array(self.clip_ids, pa.string()), "uri": pa.array(self.uris, pa.string())})

    def _number(self, clip: object) -> int:
        if isinstance(clip, str):
            return self._numbers[clip] if clip in self._numbers else self._numbers[self._find(clip)]
        if isinstance(clip, bool | np.bool_) or not hasattr(clip, "__index__"):
            raise TypeError(f"{quoted(clip)} is no clip of cache {self.location}: give its number, id or file's name")
        given = operator.index(clip)
        number = given + len(self) if given < 0 else given
        if not 0 <= number < len(self):
            there = f"must be in 0..{len(self) - 1}" if len(self) else "is not there: it has none"
            raise IndexError(f"clip {given} of cache {self.location} {there}")
        return number

    def _find(self, name: str) -> str:
        """The id of the one clip that a name means, which is not a whole id of a clip that is in."""
        failed = self.index.filter(pc.field("status") == "failed")
        try:
            if name not in column(failed, "id"):
                return find_clip(self._names, name)
            clip_id = name
        except KeyError as error:
            try:
                clip_id = find_clip(failed, name)
            except KeyError:
                raise KeyError(f"cache {self.location}: {error.args[0]}") from None
        reason = failed.filter(pc.field("id") == clip_id)["error"][0].as_py()
        raise KeyError(f"cache {self.location} has no clip {shortened(clip_id)}: it failed ({one_line(reason)})")

    def _check(self, number: int, clip: ClipArrays) -> None:
        if self._verify == "once" and not self._seen[number]:
            self._check_sum(number, clip)
            self._seen[number] = True
        elif self._verify is True or (self._missing_reads_zero and not _complete(clip)):
            self._check_sum(number, clip)

    def _check_sum(self, number: int, clip: ClipArrays) -> None:
        if clip.crc32c() != self._checksums[number]:
            raise CacheError(
                f"clip {self.clip_ids[number]} of cache {self.location} does not match its checksum; "
                f"{REMAKE.format(self.location)}"
            )


def _complete(clip: ClipArrays) -> bool:
    """False where an array is all zeros, as one is that zarr does not find."""
    return all(array.any() for array in vars(clip).values() if array is not None)


def open_cache(
    path: str | os.PathLike[str],
    verify: Verify = "once",
    form: Form = "auto",
    storage_options: dict[str, Any] | None = None,
    cache_shards: str | os.PathLike[str] | None = None,
    cache_size: int | str = CACHE_SIZE,
) -> SparseCache:
    """Open the cache in a local folder, or at a URL: of an object store (`s3://...`), or one that fsspec knows.

    verify: hold each clip's bytes against its CRC-32C: the first time that this process reads it ("once"), each time
    (True), never (False). form: "shards" reads raw shards directly, "zarr" goes through zarr-python, "auto" takes the
    first where it can; both give the same. storage_options: for obstore, or fsspec. cache_shards: a folder for copies
    of an object store's shards, which several processes may share; cache_size: bytes, or text such as "50 GB", that
    they take at most: those that were not read for the longest time go.

    Raises CacheError where there is no cache, or its metadata or index is damaged.
    """
    location = Location.of(path, storage_options, copies_in(cache_shards, cache_size))
    read_group(location)
    return SparseCache(location, join_parts(read_records(location).values()), read_table(location), verify, form)
