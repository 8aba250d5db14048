"""Drop clips from a cache: out of the index, out of the arrays, out of the plan, and what is said of them too.

It counts from the moment that the list of those to go is published. Killed at any time after that, it is finished by
whoever opens the cache to write it next; then the list is removed. Which clips are meant is the caller's to say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.text import shortened

from .index import SCHEMA, records, write_part
from .layout import DROPPING, INDEX, SHARD_CLIPS, Layout
from .location import Location
from .metadata import read_group
from .packs import read_records
from .parquet import column
from .part import hold_alone
from .plan import read_ids, rows_of, write_plan
from .rewrite import read_back, write_arrays
from .shard import DamagedShardError
from .sources import open_shard
from .table import read_table, without, write_table

Progress = Callable[[int, int], None]
"""Called with the shards done, and with how many there are."""


@dataclass(frozen=True)
class Dropped:
    """What goes, or went. clips: that were in; failed: that were listed as failed; unmade: that were only planned;
    nbytes: of the arrays; lost: other clips of their shards that turned out to be damaged, and are to be made again.
    """

    clips: int = 0
    failed: int = 0
    unmade: int = 0
    nbytes: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """All clips that go."""
        return self.clips + self.failed + self.unmade


def to_drop(path: str | os.PathLike[str] | Location, ids: Iterable[str]) -> Dropped:
    """What `drop_clips` would do, without doing it; raises as it does."""
    location = Location.of(path)
    layout = read_group(location).layout
    planned = {clip_id for clip_id in read_ids(location) if clip_id is not None}
    wanted = _named(ids)
    unknown = sorted(wanted - planned)
    if unknown:
        more = f" (nor {len(unknown) - 1} more)" if unknown[1:] else ""
        raise CacheError(f"cache {location} has no clip {shortened(unknown[0])}{more}; see `codecsieve list`")
    status: dict[str, str] = {}
    for part in read_records(location).values():
        pairs = zip(column(part, "id"), column(part, "status"), strict=True)
        status |= {clip_id: was for clip_id, was in pairs if clip_id in wanted}
    clips = sum(was == "ok" for was in status.values())
    return Dropped(clips, len(status) - clips, len(wanted) - len(status), clips * layout.clip_bytes)


def _named(ids: Iterable[str]) -> set[str]:
    return {ids} if isinstance(ids, str) else set(ids)


def drop_clips(path: str | os.PathLike[str], ids: Iterable[str], progress: Progress | None = None) -> Dropped:
    """Take clips out of a cache, which nobody may be writing: those in it, failed, or only planned.

    Their rows are free then, for the next clips that are planned. Readers that opened the cache before can no longer
    read them. A drop that was cut off is finished first.

    ids: whole ids, or one; progress: called for the first time at the start. Raises CacheError, before anything is
    changed, where `path` is no cache or has no such clip; where it is damaged, or cannot be written.
    """
    location = Location.of(path)
    layout = read_group(location).layout
    with hold_alone(location):
        finish_drop(location, layout)
        wanted = sorted(_named(ids))
        found = to_drop(location, wanted)
        if not wanted:
            return found
        location.publish(DROPPING, [json.dumps(wanted).encode()])
        lost = finish_drop(location, layout, progress)
        return Dropped(found.clips, found.failed, found.unmade, found.nbytes, lost)


def unmade_clips(path: str | os.PathLike[str]) -> list[str]:
    """Ids of the clips that are planned and of which the index tells nothing. Raises CacheError as `open_cache`."""
    location = Location.of(path)
    tried = {clip_id for part in read_records(location).values() for clip_id in column(part, "id")}
    return [clip_id for clip_id in read_ids(location) if clip_id is not None and clip_id not in tried]


def unfinished_drop(path: str | os.PathLike[str] | Location) -> list[str]:
    """Ids of the clips that a drop which was cut off is still to take out. Raises CacheError where that is damaged."""
    location = Location.of(path)
    name = f"{location}/{DROPPING}"
    try:
        ids = json.loads(location.read(DROPPING))
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, list) or not all(isinstance(clip_id, str) for clip_id in ids):
        raise CacheError(f"{name} is damaged; remove it, and drop the clips again")
    return ids


def finish_drop(location: Location, layout: Layout, progress: Progress | None = None) -> int:
    """Do what is still to be done of a drop, whoever began it; the caller alone writes the cache.

    Returns how many other clips were found damaged, and are out of the index now.
    """
    ids = set(unfinished_drop(location))
    if not ids:
        return 0
    for folder in ("", INDEX, *(array.name for array in layout.arrays())):
        location.clear(folder)
    tell = progress or (lambda done, total: None)
    plan, parts = read_ids(location), read_records(location)
    rows = rows_of(plan)
    shards: dict[int, list[int]] = {}
    for clip_id in ids & rows.keys():
        shards.setdefault(rows[clip_id] // SHARD_CLIPS, []).append(rows[clip_id] % SHARD_CLIPS)
    tell(0, len(shards))
    lost = 0
    for done, shard in enumerate(sorted(shards), 1):
        lost += _take_out(location, layout, shard, parts.get(shard, SCHEMA.empty_table()), shards[shard], ids)
        tell(done, len(shards))
    table = read_table(location)
    if not ids.isdisjoint(column(table, "id")):
        write_table(location, without(table, sorted(ids)))
    write_plan(location, [None if clip_id in ids else clip_id for clip_id in plan])
    location.remove([DROPPING])
    return lost


def _take_out(
    location: Location, layout: Layout, shard: int, part: pa.Table, slots: Collection[int], ids: set[str]
) -> int:
    """Take clips out of one shard, which had them in these slots: of the index first. How many others were damaged."""
    if not _has_bytes(location, layout, shard, slots):
        if not ids.isdisjoint(column(part, "id")):
            write_part(location, shard, [record for record in records(part) if record.id not in ids])
        return 0
    kept, clips, gone = read_back(location, layout, part)
    left = [record for record in kept.values() if record.id not in ids]
    write_part(location, shard, left)
    write_arrays(location, layout, shard, {record.row: clips[record.row] for record in left if record.row is not None})
    return len(set(gone) - ids)


def _has_bytes(location: Location, layout: Layout, shard: int, slots: Collection[int]) -> bool:
    """Whether a shard's files have something in one of these slots; so do files that are damaged."""
    for array in layout.arrays():
        try:
            if open_shard(location, array, shard).index.filled & set(slots):
                return True
        except DamagedShardError:
            if location.exists(array.shard_key(shard)):
                return True
    return False
