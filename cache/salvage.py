"""What can be read of a cache that may be damaged: plan, index, table, arrays; and what is wrong with the rest.

Whether the clips' bytes are right is left to `verify`, mending to `repair`. Of a cache as it should be, `reader` reads
all this at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from codecsieve.errors import CacheError

from .index import part_name, part_shards, read_part
from .layout import GROUP, INDEX, PLAN, ArrayLayout, Layout
from .location import Location
from .metadata import read_array
from .packs import pack_name, pack_numbers, read_pack
from .parquet import column
from .plan import contradiction, read_ids, rows_of
from .source import Source
from .sources import open_shard, open_source, open_sources
from .table import read_table

ASIDE = ".aside"
"""Ends the name of what stood in a file's place and was put aside."""


@dataclass(frozen=True)
class Damage:
    """Something that is wrong with a cache.

    what: in one line, naming the file or the clips; lost: ids of clips that the index lists and that are to be made
    again; shard: theirs.
    """

    what: str
    shard: int | None = None
    lost: tuple[str, ...] = ()


@dataclass
class ReadIndex:
    """What can be read of plan and index. plan: None where it is damaged or lost; parts: by shard, each shard's records
    that can be read; packed: shards of which a pack tells, whatever a part says; unreadable: files of the index that
    cannot be read, by shard where it is a part; damages: what is wrong with all these.
    """

    plan: list[str | None] | None = None
    parts: dict[int, pa.Table] = field(default_factory=dict)
    packed: set[int] = field(default_factory=set)
    unreadable: dict[str, int | None] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)

    @property
    def clips(self) -> int:
        """Clips that the index says are in."""
        return sum(part.num_rows - part["row"].null_count for part in self.parts.values())


@dataclass
class ReadArrays:
    """What can be read of the arrays. sources: where clips' bytes come from, None where that cannot be told; damages:
    by the file, relative to the cache, that is to be written anew or to be moved away.
    """

    sources: dict[str, Source] | None = None
    damages: dict[str, Damage] = field(default_factory=dict)


def read_index(location: Location) -> ReadIndex:
    """What can be read of plan and index. Raises CacheError where the index cannot even be listed."""
    found = ReadIndex()
    for shard in part_shards(location):
        try:
            part = read_part(location, shard)
            if part is not None:
                found.parts[shard] = part
        except CacheError as error:
            found.unreadable[part_name(shard)] = shard
            found.damages.append(Damage(what_of(error)))
    _add_packs(location, found)
    try:
        found.plan = read_ids(location)
        if found.parts and not found.plan:
            raise CacheError(f"{location}/{PLAN} is not there")
    except CacheError as error:
        found.plan = None
        found.damages.append(Damage(what_of(error)))
    rows = rows_of(found.plan or ())
    try:
        read_table(location)
    except CacheError as error:
        found.damages.append(Damage(what_of(error)))
    for shard, part in found.parts.items() if found.plan else ():
        wrong = contradiction(shard, part, rows)
        if wrong:
            found.damages.append(Damage(f"{location}/{INDEX}/{part_name(shard)} {wrong}"))
    return found


def _add_packs(location: Location, found: ReadIndex) -> None:
    """What packs tell of shards that have no part. What they tell of one whose part is damaged is out of date."""
    for number in pack_numbers(location):
        try:
            packed = read_pack(location, number)
        except CacheError as error:
            found.unreadable[pack_name(number)] = None
            found.damages.append(Damage(what_of(error)))
            continue
        found.packed |= packed.keys()
        known = found.parts.keys() | set(found.unreadable.values())
        found.parts |= {shard: part for shard, part in packed.items() if shard not in known}
    found.parts = dict(sorted(found.parts.items()))


def read_arrays(location: Location, layout: Layout, index: ReadIndex) -> ReadArrays:
    """What the arrays' metadata says, whether it is true, and what stands in a shard's place."""
    found, ours = ReadArrays(), dict[str, Source]()
    rows = 1 + max((row for part in index.parts.values() for row in column(part, "row") if row is not None), default=-1)
    for array in layout.arrays():
        name = f"{array.name}/{GROUP}"
        if isinstance(location.root, Path):
            for path in sorted((location.root / array.name).glob("c.*")):
                if path.is_dir() and path.suffix != ASIDE:
                    found.damages[f"{array.name}/{path.name}"] = Damage(f"{path} is a folder, not a file")
        if (location.local or location.bucket) and _is_ours(location, array, index.parts):
            ours[array.name] = open_source(location, array)
        try:
            _check_array(location, array, rows, array.name in ours)
        except CacheError as error:
            found.damages[name] = Damage(what_of(error))
    if len(ours) == len(layout.arrays()):
        found.sources = ours
    elif not found.damages:
        found.sources = open_sources(location, layout)
    return found


def _is_ours(location: Location, array: ArrayLayout, shards: Iterable[int]) -> bool:
    """Whether an array is stored as we store it, whatever its metadata says: a shard lies where ours do, and is one."""
    for shard in shards:
        try:
            open_shard(location, array, shard)
            return True
        except CacheError:
            continue
    return False


def _check_array(location: Location, array: ArrayLayout, rows: int, ours: bool) -> None:
    """Raise CacheError where an array's metadata is not that of what is stored, or zarr cannot use it.

    rows: that the index tells of; the plan may have more, since a run that is killed has planned before arrays grow.
    """
    metadata = read_array(location, array)
    if ours and not metadata.raw:
        raise CacheError(f"{location}/{array.name}/{GROUP} is not as codecsieve wrote it")
    if metadata.rows < rows:
        raise CacheError(f"{location}/{array.name}/{GROUP} has {metadata.rows} rows, the index tells of {rows}")
    from .zarr_source import ZarrSource, open_group  # see `sources`

    ZarrSource(open_group(location), array, str(location))


def what_of(error: CacheError) -> str:
    """What is wrong, without what to do about it."""
    return str(error).partition("; ")[0]
