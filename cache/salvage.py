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
from .plan import contradiction, read_plan, rows_of
from .shard import ShardFile
from .sources import ShardSource, Source, open_sources
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
    """What can be read of plan and index. plan: None where it is damaged or lost; parts: by shard, those that can be
    read; unreadable: shards whose part cannot; damages: what is wrong with all these.
    """

    plan: list[str | None] | None = None
    parts: dict[int, pa.Table] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)
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
            found.parts[shard] = read_part(location, shard)
        except CacheError as error:
            found.unreadable.append(shard)
            found.damages.append(Damage(what_of(error)))
    try:
        found.plan = read_plan(location)
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


def read_arrays(location: Location, layout: Layout, index: ReadIndex) -> ReadArrays:
    """What the arrays' metadata says, whether it is true, and what stands in a shard's place."""
    found, ours, rows = ReadArrays(), dict[str, Source](), len(index.plan or ())
    for array in layout.arrays():
        name = f"{array.name}/{GROUP}"
        if isinstance(location.root, Path):
            for path in sorted((location.root / array.name).glob("c.*")):
                if path.is_dir() and path.suffix != ASIDE:
                    found.damages[f"{array.name}/{path.name}"] = Damage(f"{path} is a folder, not a file")
            if _is_ours(location.root, array, index.parts):
                ours[array.name] = ShardSource(location.root, array)
        try:
            _check_array(location, array, rows, array.name in ours)
        except CacheError as error:
            found.damages[name] = Damage(what_of(error))
    if len(ours) == len(layout.arrays()):
        found.sources = ours
    elif not found.damages:
        found.sources = open_sources(location, layout)
    return found


def _is_ours(cache: Path, array: ArrayLayout, shards: Iterable[int]) -> bool:
    """Whether an array is stored as we store it, whatever its metadata says: a shard lies where ours do, and is one."""
    for shard in shards:
        try:
            ShardFile(cache / array.shard_key(shard), array.nbytes)
            return True
        except CacheError:
            continue
    return False


def _check_array(location: Location, array: ArrayLayout, rows: int, ours: bool) -> None:
    """Raise CacheError where an array's metadata is not that of what is stored, or zarr cannot use it."""
    metadata = read_array(location, array)
    if ours and not metadata.raw:
        raise CacheError(f"{location}/{array.name}/{GROUP} is not as codecsieve wrote it")
    if metadata.rows < rows:
        raise CacheError(f"{location}/{array.name}/{GROUP} has {metadata.rows} rows, the plan has {rows}")
    from .zarr_source import ZarrSource, open_group  # see `sources`

    ZarrSource(open_group(location), array, str(location))


def what_of(error: CacheError) -> str:
    """What is wrong, without what to do about it."""
    return str(error).partition("; ")[0]
