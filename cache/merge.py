"""Merge caches into one: the clips of all of them, each with the bytes that it has.

Caches of one config are merged, in any order and any grouping, with whatever clips in common. The plan of the result is
theirs, one after the other: of parts of one plan it is that plan, and the result what one run would have made. A merge
that was cut off is gone on with by the same call, and so is one that found clips damaged, of which it put in the
others. How clips are published is left to `writer`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.errors import CacheError
from codecsieve.text import quoted, shortened

from .drop import unfinished_drop
from .index import IndexRecord, join_parts, records
from .layout import ATTRIBUTE, GROUP, ClipArrays, config_difference
from .location import Location
from .metadata import GroupMetadata, read_group
from .packs import read_records
from .parquet import column
from .plan import read_ids
from .rewrite import read_whole
from .source import Source
from .sources import open_sources
from .table import OWN, as_spelt, effective, joined, read_table, without
from .writer import CacheWriter, ShardWork

_ROUNDS = 3
_SAME = ("fingerprint", "start", "end")

Progress = Callable[[int, int], None]
"""Called with the clips done, and with how many there are to copy."""


@dataclass(frozen=True)
class Merged:
    """What a merge came to, counted over the clips that the caches have planned.

    copied: put in by this merge; before: that were in before; failed: that are listed as failed; unmade: that no cache
    has made; differing: that two caches have with other bytes; said: of which two caches say other things, such as
    their label. Of these the first named cache counts.
    """

    copied: int
    before: int
    failed: int
    unmade: int
    differing: int
    said: int


@dataclass(frozen=True)
class _Cache:
    """One to be merged: what it says of its clips, and where their bytes are. places: rows of the index, by id.

    Clips that a drop which was cut off is still to take out are in none of these.
    """

    location: Location
    group: GroupMetadata
    plan: list[str]
    index: pa.Table
    table: pa.Table
    sources: Mapping[str, Source]
    places: dict[str, int] = field(repr=False)

    def take(self, clip_id: str) -> tuple[IndexRecord, ClipArrays | None] | None:
        """A clip's record and, if it is ok, its bytes; None where these are not what was published."""
        (record,) = records(self.index.slice(self.places[clip_id], 1))
        if record.status == "failed":
            return record, None
        clip = read_whole(record, self.sources, self.group.layout)
        return None if clip is None else (record, clip)


def merge_caches(
    out: str | os.PathLike[str],
    caches: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    progress: Progress | None = None,
) -> Merged:
    """Put the clips of several caches into the cache `out`, which is made or gone on with.

    A clip that is in one of them is taken from the first that has it, whether or not it failed in others; each is held
    against its checksum on the way. Clips that are planned and not yet made stay so. What was said of clips, labels and
    further columns, is joined: of two caches the first named counts, and `out` before all.

    Args:
        out: the folder, or an object store's URL.
        caches: folders, or URLs; or one.
        progress: called for the first time when everything has been checked.

    Raises:
        CacheError: before anything is made, where the caches are not all of one config, one id stands for different
            clips, or one's metadata or index is damaged; at the end, where clips are damaged in all caches that have
            them, and `out` has all others; where `out` cannot be written, and what was published by then stays.
    """
    target = Location.of(out)
    there = [_open(target)] if target.exists(GROUP) else []
    given = [_open(Location.of(path)) for path in ([caches] if isinstance(caches, str | os.PathLike) else caches)]
    found = [*there, *(cache for cache in given if str(cache.location) != str(target))]
    if not found:
        raise CacheError("no cache to merge; name at least one")
    _check_configs(found)
    _check_clips(found)
    group, ids = found[0].group, list(dict.fromkeys(clip_id for cache in found for clip_id in cache.plan))
    versions = group.attributes[ATTRIBUTE].get("versions")
    with CacheWriter.open(target, group.layout, group.config, versions if isinstance(versions, dict) else {}) as writer:
        table = reduce(joined, (cache.table for cache in found[len(there) :]), writer.said)
        if table.num_rows:
            writer.say(table)
        copied, damaged = _copy(writer, found[len(there) :], ids, progress or (lambda done, total: None))
        index = writer.index()
    if damaged:
        _refuse_damaged(target, column(index, "status").count("ok"), damaged)
    wanted, status = set(ids), dict(zip(column(index, "id"), column(index, "status"), strict=True))
    counts = {
        was: sum(status.get(clip_id, "unmade") == was for clip_id in wanted) for was in ("ok", "failed", "unmade")
    }
    said = _said_otherwise(found, index, table)
    return Merged(copied, counts["ok"] - copied, counts["failed"], counts["unmade"], _differing(found), said)


def _open(location: Location) -> _Cache:
    group = read_group(location)
    gone = set(unfinished_drop(location))
    index = join_parts(read_records(location).values())
    index = index.filter(pc.invert(pc.is_in(index["id"], value_set=pa.array(gone, pa.string()))))
    ids = column(index, "id")
    planned = dict.fromkeys([*(clip_id for clip_id in read_ids(location) if clip_id not in {None, *gone}), *ids])
    sources = open_sources(location, group.layout) if ids else {}
    places = {clip_id: place for place, clip_id in enumerate(ids)}
    table = without(read_table(location), sorted(gone))
    return _Cache(location, group, list(planned), index, table, sources, places)


def _check_configs(caches: Sequence[_Cache]) -> None:
    first = caches[0]
    for other in caches[1:]:
        if other.group.config != first.group.config:
            difference = config_difference(other.group.config, first.group.config, f"{first.location} with")
            raise CacheError(f"cache {other.location} {difference}; merge caches that were made with the same options")


def _check_clips(caches: Sequence[_Cache]) -> None:
    """Raise CacheError where one id stands for different clips."""
    known: dict[str, tuple[Any, Location]] = {}
    for cache in caches:
        told = zip(*(column(cache.index, name) for name in ("id", *_SAME)), strict=True)
        for clip_id, fingerprint, *times in told:
            if fingerprint is None:  # of a file that could not be read
                continue
            first, where = known.setdefault(clip_id, ((fingerprint, *times), cache.location))
            for name, one, other in zip(_SAME, first, (fingerprint, *times), strict=True):
                if one != other:
                    raise CacheError(
                        f"clip {shortened(clip_id)} has {name} {quoted(one)} in {where}, {quoted(other)} in "
                        f"{cache.location}: not the same clip; drop it from one of them, or give it an id of its own"
                    )


def _copy(
    writer: CacheWriter, caches: Sequence[_Cache], ids: Iterable[str], tell: Progress
) -> tuple[int, dict[str, Location]]:
    """Publish what the writer's cache lacks, shard by shard.

    Returns how many clips were put in, and those that could not be: where they are damaged, by id.
    """
    holders, failures = _holders(caches, "ok"), _holders(caches, "failed")
    ids, copied, damaged = list(ids), 0, dict[str, Location]()
    for _ in range(_ROUNDS):
        lost = len(writer.lost)
        planned = writer.plan(ids, retry_failed=True)
        known = {*column(writer.index(), "id")}
        work = [
            ShardWork(one.shard, tuple(i for i in one.ids if i in holders or (i in failures and i not in known)))
            for one in planned
        ]
        done, total = 0, sum(len(one.ids) for one in work)
        tell(done, total)
        for one in work:
            taken = {clip_id: _first_whole(holders.get(clip_id) or failures[clip_id], clip_id) for clip_id in one.ids}
            whole = [clip for clip in taken.values() if clip is not None]
            damaged |= {clip_id: holders[clip_id][0].location for clip_id, clip in taken.items() if clip is None}
            clips = {record.id: clip for record, clip in whole if clip is not None}
            if whole:
                writer.write_shard(one.shard, clips, [record for record, _ in whole])
            copied += len(clips)
            done += len(taken)
            tell(done, total)
        # Reading a shard back, to write it anew, may have shown that other clips of it are damaged.
        if len(writer.lost) == lost:
            break
    return copied, damaged


def _refuse_damaged(target: Location, others: int, damaged: Mapping[str, Location]) -> None:
    """Raise CacheError that says which clips are not in `target`, and how they come in."""
    clip_id, where = next(iter(damaged.items()))
    more = f" and {len(damaged) - 1} more are" if damaged.keys() - {clip_id} else " is"
    raise CacheError(
        f"clip {shortened(clip_id)} of cache {where}{more} damaged, and not in {target}, which has the other {others}; "
        f"run `codecsieve verify {where} --repair` and precompute again, then merge again"
    )


def _holders(caches: Sequence[_Cache], status: str) -> dict[str, list[_Cache]]:
    """The caches in which each clip has this status, in their order."""
    found: dict[str, list[_Cache]] = defaultdict(list)
    for cache in caches:
        for clip_id, was in zip(column(cache.index, "id"), column(cache.index, "status"), strict=True):
            if was == status:
                found[clip_id].append(cache)
    return dict(found)


def _first_whole(holders: Iterable[_Cache], clip_id: str) -> tuple[IndexRecord, ClipArrays | None] | None:
    """A clip from the first cache in which it is as it was published; None where it is in none."""
    return next((clip for clip in (holder.take(clip_id) for holder in holders) if clip is not None), None)


def _differing(caches: Sequence[_Cache]) -> int:
    """How many clips two caches have with other bytes."""
    first: dict[str, int] = {}
    differing = set()
    for cache in caches:
        for clip_id, crc32c in zip(column(cache.index, "id"), column(cache.index, "crc32c"), strict=True):
            if crc32c is not None and first.setdefault(clip_id, crc32c) != crc32c:
                differing.add(clip_id)
    return len(differing)


def _said_otherwise(caches: Sequence[_Cache], index: pa.Table, table: pa.Table) -> int:
    """Of how many clips some cache says something else than what is said of them now."""
    differing = set()
    labels = dict(zip(column(index, "id"), column(index, "label"), strict=True))
    for cache in caches:
        told = effective(cache.index, cache.table)
        pairs = zip(column(told, "id"), column(told, "label"), strict=True)
        differing |= {clip_id for clip_id, label in pairs if labels.get(clip_id, label) != label}
        names = [name for name in cache.table.column_names if name not in OWN]
        for name, as_now in zip(names, as_spelt(names, table.column_names), strict=True):
            now = dict(zip(column(table, "id"), column(table, as_now), strict=True))
            values = zip(column(cache.table, "id"), column(cache.table, name), strict=True)
            differing |= {clip_id for clip_id, value in values if value is not None and str(now[clip_id]) != str(value)}
    return len(differing)
