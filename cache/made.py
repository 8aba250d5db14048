"""A shard that is made but not yet listed: its files and records, which may come from another machine than the index.

Whoever makes a shard needs the cache's place, not its locks. Where the writer itself makes it, its files take their
names at once. Where others make it, in a folder that both can reach, they leave them as drafts, under names of their
own, and only the writer, who holds the cache's lock, has them take the names that count: so one who was given up for
dead and comes back changes nothing. In a bucket each file is put under a condition anyway, see `rewrite`. When a shard
is made, and who lists it, is left to `writer`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pyarrow as pa

from .index import IndexRecord
from .layout import GROUP, ClipArrays, Layout
from .location import Location
from .rewrite import add_arrays, read_back


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """A shard to be made: the clips that it is to get, and what the index has of it.

    rows: of the clips to be made, by id, in row order; listed: the shard's part of the index, its clips' bytes to be
    kept.
    """

    shard: int
    rows: Mapping[str, int]
    listed: pa.Table


@dataclasses.dataclass(frozen=True)
class MadeShard:
    """A shard whose files are written.

    records: of all its clips, by id, those that it had and the new ones, with rows and checksums; gone: ids of clips
    that it had, and whose bytes did not match their checksums; drafts: the files' names, by the names that they are to
    get; None: there is to be no such file.
    """

    shard: int
    records: Mapping[str, IndexRecord]
    gone: tuple[str, ...]
    drafts: Mapping[str, str | None]


def can_see(location: Location) -> bool:
    """Whether there is a cache, seen from here. Raises CacheError where that cannot be told."""
    return location.exists(GROUP)


def make_shard(
    location: Location,
    layout: Layout,
    task: ShardTask,
    clips: Mapping[str, ClipArrays],
    new_records: Sequence[IndexRecord],
    draft: str = "",
) -> MadeShard:
    """Write a shard's files, with the clips that it had and those that are "ok" in `clips`, by id.

    new_records: of clips of the task, also failed ones. draft: what tells drafts of this maker from all others';
    nothing where this process holds the cache's lock. Raises CacheError where the disk fails.
    """
    merged, arrays, gone = read_back(location, layout, task.listed)
    for record in new_records:
        if record.status == "ok":
            row, clip = task.rows[record.id], clips[record.id]
            arrays[row] = clip
            record = dataclasses.replace(record, row=row, crc32c=clip.crc32c())
        merged[record.id] = record
    drafts = add_arrays(location, layout, task.shard, arrays, draft)
    return MadeShard(task.shard, merged, tuple(gone), drafts)
