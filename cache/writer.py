"""Writing a cache: rows are planned, shards are published whole, and only then their part of the index.

Whatever happens to the process, a published clip stays as it is and an unpublished one is as if it had never
been tried: opening the cache again and doing what `plan` returns finishes it, with the same bytes as a run
that was never cut off. Whatever happens to the files meanwhile, a clip whose shards are not all there is planned
again. One process writes a cache in a folder, or each part of one; in a bucket any number may, and each finds what the
others published. Where the clips come from is the caller's.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.files import PARTIAL, kind_of_file
from codecsieve.text import quoted, shortened

from .drop import finish_drop, unfinished_drop
from .index import SCHEMA, IndexRecord, join_parts, part_name, records, write_part
from .layout import (
    GROUP,
    INDEX,
    LOCK,
    SHARD_CLIPS,
    ArrayLayout,
    ClipArrays,
    Layout,
    attributes,
    config_difference,
    full_config,
    is_id,
    metadata_files,
)
from .location import Location
from .made import MadeShard, ShardTask, make_shard
from .metadata import ArrayMetadata, GroupMetadata, parse_array, parse_group, read_array, read_group
from .packs import last_shards, read_records
from .parquet import column
from .part import ALL, Part, clear_part_locks, hold_alone, hold_common, hold_part
from .plan import add_to_plan, contradiction, read_again, read_plan
from .settled import Lost, lost_clips
from .table import add_to_table, effective, read_table


@dataclasses.dataclass(frozen=True)
class ShardWork:
    """The clips of one shard that are still to be made, in row order."""

    shard: int
    ids: tuple[str, ...]


class CacheWriter:
    """A cache open for writing, by this process alone until `close`; of a part, beside those of other parts.

    location, layout: the cache's; part: the shards that this one writes, and the only ones that it sees.
    """

    def __init__(
        self, location: Location, layout: Layout, group_attributes: Mapping[str, Any], part: Part, held: ExitStack
    ) -> None:
        """Use `CacheWriter.open`."""
        self.location = location
        self.layout = layout
        self.part = part
        self._attributes = group_attributes
        self._plan = read_plan(location)
        # Of clips that were looked at or planned last, and of all others of their shards:
        self._rows: dict[str, int] = {}
        self._parts: dict[int, pa.Table] = {}
        self._looked: set[int] = set()  # shards of which that is all there is
        self._load(last_shards(location, len(self._plan) // SHARD_CLIPS))  # a plan that was lost shows there
        self.said = read_table(location)
        """What is said of clips beside, see `table`."""
        self.lost: list[Lost] = []
        """Clips that were in the cache and, as `plan` or `write_shard` found, are not any more."""
        self._held = held.pop_all()  # ours from here on, where nothing was wrong

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | Location,
        layout: Layout,
        config: Mapping[str, Any],
        versions: Mapping[str, str] | None = None,
        part: Part = ALL,
    ) -> Self:
        """Make the cache `path`, or open the one there to go on with it.

        config: the selection's options, plain JSON; the layout's fields are added to it, and the whole is
        what a cache is made of: another config is another cache. versions: of libraries, for information
        only. part: what of it is to be written; others may write other parts meanwhile.

        Raises CacheError where the path holds something else, a cache of another config or one that is being
        written, or cannot be written; ValueError where `config` is not plain JSON.
        """
        location = Location.of(path)
        config = full_config(config, layout)
        _refuse_foreign(location)
        location.make_folder(INDEX)
        if not location.local and part == ALL and unfinished_drop(location):
            with hold_alone(location):
                finish_drop(location, layout)
        with ExitStack() as held:
            held.enter_context(hold_part(location, part))
            alone = location.local and part == ALL
            if alone:
                _clear(location, layout)
            with hold_common(location, part):
                group_attributes = _made(location, layout, config, versions or {})
            if alone:
                finish_drop(location, layout)
            elif unfinished_drop(location):
                raise CacheError(
                    f"cache {location}: a drop of clips was cut off; finish it with `codecsieve drop {location}`"
                )
            return cls(location, layout, group_attributes, part, held)

    def plan(self, ids: Iterable[str], retry_failed: bool = False) -> list[ShardWork]:
        """Give every clip of `ids` a row, for good, and return what is still to be made of them, by shard.

        From here on the writer knows these clips and the others of their shards, and no more: so a plan of any length
        is made range by range. Of a part, what is returned is in its shards. Clips that are planned already keep their
        rows, new ones follow in the order of `ids`. Clips that failed before are returned with `retry_failed` only. A
        clip that the index lists, but a shard has not, is made again: see `lost`. Raises CacheError where an id comes
        twice or is not printable.
        """
        wanted = list(ids)
        self._check_ids(wanted)
        with self._in_common():
            self._plan, self._rows = add_to_plan(self.location, self._plan, wanted)
            self._fit_arrays()
        at = {row: clip_id for clip_id, row in self._rows.items() if self.part.has(row // SHARD_CLIPS)}
        rows = sorted(at)
        shards = dict.fromkeys(row // SHARD_CLIPS for row in rows)
        self._load(shards)
        for lost in lost_clips(self.location, self.layout, {s: self._parts[s] for s in shards if s in self._parts}):
            self.forget(lost)
        settled = {shard: self._settled(shard, retry_failed) for shard in shards}
        work: dict[int, list[str]] = {}
        for row in rows:
            shard, clip_id = row // SHARD_CLIPS, at[row]
            if clip_id not in settled[shard]:
                work.setdefault(shard, []).append(clip_id)
        return [ShardWork(shard, tuple(clip_ids)) for shard, clip_ids in work.items()]

    def look_at(self, ids: Collection[str]) -> None:
        """Know clips and the others of their shards, as after `plan`, but plan none."""
        self._rows = self.rows_of(ids)
        self._load(dict.fromkeys(row // SHARD_CLIPS for row in sorted(self._rows.values())))

    def rows_of(self, ids: Collection[str]) -> dict[str, int]:
        """The rows of those of some clips that are planned, by id."""
        return self._plan.rows_of(ids)

    def own(self, ids: Iterable[str]) -> list[str]:
        """Those of the clips that were planned last that are in the part."""
        return [clip_id for clip_id in ids if self.part.has(self._rows[clip_id] // SHARD_CLIPS)]

    def write_shard(self, shard: int, clips: Mapping[str, ClipArrays], new_records: Sequence[IndexRecord]) -> None:
        """Publish records of clips of one shard, with the arrays of those that are "ok" in `clips`, by id.

        The records may be any of those that `plan` returned for the shard: the shard is written anew as a
        whole, with the clips it had; of those, one that no longer matches its checksum is dropped, see `lost`. In a
        bucket another writer may have published some of them meanwhile: those stay as they are. Raises ValueError
        where records and arrays do not belong together or to the plan, CacheError where the disk fails.
        """
        self._check_records(shard, clips, new_records)
        task = self.task(shard, [record.id for record in new_records])
        self.commit(make_shard(self.location, self.layout, task, clips, new_records))

    def task(self, shard: int, ids: Iterable[str]) -> ShardTask:
        """What to make of a shard, of clips that `plan` returned, for `make_shard`, here or on another machine."""
        listed = self._parts.get(shard, SCHEMA.empty_table())
        return ShardTask(shard, {clip_id: self._rows[clip_id] for clip_id in ids}, listed)

    def commit(self, made: MadeShard) -> None:
        """Publish a shard that `make_shard` made of a `task`, here or elsewhere. Raises CacheError."""
        if made.gone:
            self.lost.append(Lost(made.shard, made.gone, "do not match their checksums"))
        self.location.adopt(made.drafts)
        shard, merged = made.shard, made.records

        def joined(listed: Sequence[IndexRecord]) -> list[IndexRecord]:
            """Of what another writer lists by now, and ours: what is ok goes before what failed, theirs before ours."""
            theirs = {record.id: record for record in listed}
            self._plan = read_plan(self.location)
            self._rows |= self._plan.rows_of(theirs)
            ours = {
                clip_id: record for clip_id, record in merged.items() if clip_id not in theirs
                or (record.status, theirs[clip_id].status) == ("ok", "failed")
            }  # fmt: skip
            return self._in_order({**theirs, **ours}.values())

        self._parts[shard] = write_part(self.location, shard, self._in_order(merged.values()), joined)

    @property
    def rows(self) -> Mapping[str, int]:
        """The rows of clips that the writer knows, by id."""
        return self._rows

    def index(self) -> pa.Table:
        """The records of the shards that the writer knows, of a part its own, in row order, as `SparseCache.index`."""
        return effective(join_parts(self._parts[shard] for shard in sorted(self._parts)), self.said)

    def say(self, rows: pa.Table) -> None:
        """Publish what is to be said of clips: `id`, `label` and, as far as there are some, `uri` and further columns.

        It goes before what was said before and before what the index says. Nothing is written where nothing changes.
        Raises CacheError where a column cannot be kept, or the disk fails.
        """
        with self._in_common():
            self.said = add_to_table(self.location, self.said, rows)

    def close(self) -> None:
        """Let other processes write the cache."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def forget(self, lost: Lost) -> None:
        """Publish that clips of a shard are not in the cache any more, so that they are made again."""
        kept = [record for record in records(self._parts[lost.shard]) if record.id not in lost.ids]
        # What another writer published meanwhile is what it has made again, or found as lost as we did.
        self._parts[lost.shard] = write_part(self.location, lost.shard, kept, lambda listed: listed)
        self.lost.append(lost)

    @contextmanager
    def _in_common(self) -> Iterator[None]:
        """Inside, what runs of all parts share may be written, and is as the others left it."""
        if self.location.local and self.part == ALL:
            yield
            return
        with hold_common(self.location, self.part):
            self._plan, self.said = read_again(self.location, self._plan), read_table(self.location)
            yield

    def _load(self, shards: Collection[int]) -> None:
        """Know what the index has of some shards, of a part its own, and the rows of its clips."""
        own = {shard for shard in shards if self.part.has(shard)}
        kept = {shard: part for shard, part in self._parts.items() if shard in own}
        unknown = own - self._looked
        self._parts = kept | (read_records(self.location, unknown) if unknown else {})
        self._looked = own
        listed = [clip_id for part in self._parts.values() for clip_id in column(part, "id")]
        others = [clip_id for clip_id in listed if clip_id not in self._rows]
        rows = self._plan.rows_of(others) if others else {}
        if len(rows) < len(others):  # of another writer, who has planned them before
            self._plan = read_plan(self.location)
            rows = self._plan.rows_of(others)
        self._rows |= rows
        for shard, part in self._parts.items():
            wrong = contradiction(shard, part, self._rows)
            if wrong:
                name = f"{self.location}/{INDEX}/{part_name(shard)}"
                raise CacheError(f"{name} {wrong}; run `codecsieve verify {self.location} --repair`")

    def _check_ids(self, wanted: Sequence[str]) -> None:
        if len(set(wanted)) != len(wanted):
            ((twice, _),) = Counter(wanted).most_common(1)
            raise CacheError(
                f"clip {shortened(twice)} is in the inputs twice; give it once, or give each an id of its own"
            )
        for clip_id in wanted:
            if not is_id(clip_id):
                raise CacheError(f"clip id {quoted(clip_id)} must be printable text, and short; give it one of its own")

    def _in_order(self, listed: Iterable[IndexRecord]) -> list[IndexRecord]:
        return sorted(listed, key=lambda record: self._rows[record.id])

    def _fit_arrays(self) -> None:
        """Make the arrays, or let them grow, to as many rows as are planned."""
        files = metadata_files(self.layout.arrays(), len(self._plan), self._attributes)
        for array in self.layout.arrays():
            name = f"{array.name}/{GROUP}"
            if self.location.exists(name) and self._fits(array, read_array(self.location, array)):
                continue
            self.location.make_folder(array.name)
            self.location.publish(name, [files[name]], lambda there, array=array, name=name: (  # type: ignore[misc]
                None if self._fits(array, parse_array(there, array, self.location)) else [files[name]]
            ))  # fmt: skip

    def _fits(self, array: ArrayLayout, there: ArrayMetadata) -> bool:
        """Whether an array has its rows; in a bucket it may have more, of clips that others planned since."""
        if not there.raw:
            name = f"{self.location}/{array.name}/{GROUP}"
            raise CacheError(f"{name} is not as codecsieve wrote it; use another --out or delete the cache")
        return there.rows == len(self._plan) or (not self.location.local and there.rows > len(self._plan))

    def _settled(self, shard: int, retry_failed: bool) -> set[str]:
        """Clips of a shard that need no more work."""
        part = self._parts.get(shard, SCHEMA.empty_table())
        pairs = zip(column(part, "id"), column(part, "status"), strict=True)
        return {clip_id for clip_id, status in pairs if status == "ok" or not retry_failed}

    def _check_records(self, shard: int, clips: Mapping[str, ClipArrays], new: Sequence[IndexRecord]) -> None:
        done = self._settled(shard, retry_failed=True)
        for record in new:
            if self._rows.get(record.id, -1) // SHARD_CLIPS != shard or record.id in done:
                raise ValueError(f"clip {record.id} is not among the clips to be made in shard {shard}")
        good = {record.id for record in new if record.status == "ok"}
        if good != clips.keys():
            odd = sorted(good ^ clips.keys())[0]
            raise ValueError(f"clip {odd} must have arrays if and only if its record is 'ok'")
        for clip_id, clip in clips.items():
            clip.check(self.layout, clip_id)


def _refuse_foreign(location: Location) -> None:
    """Raise CacheError where something is there that a cache must not be made in."""
    if location.exists(GROUP):
        read_group(location)
        return
    if location.local and not location.folder.is_dir():
        if location.folder.exists():
            raise CacheError(f"{location} is a {kind_of_file(location.folder)}, not a cache; use another --out")
        return
    # Of a run that was killed before it wrote anything else, or of other parts' runs that begin now.
    odd = {name for name in location.names("", "*") if not name.endswith(PARTIAL)} - {INDEX}
    if any(not name.startswith(LOCK) for name in odd) and not location.exists(GROUP):
        raise CacheError(f"{location} is not empty and not a cache; use another --out")


def _made(
    location: Location, layout: Layout, config: Mapping[str, Any], versions: Mapping[str, str]
) -> Mapping[str, Any]:
    """The attributes of the group, which is made where there is none."""

    def checked(made: GroupMetadata) -> Mapping[str, Any]:
        if made.config != config:
            difference = config_difference(made.config, config)
            raise CacheError(f"cache {location} {difference}; use another --out or delete it")
        return made.attributes

    if location.exists(GROUP):
        return checked(read_group(location))
    group_attributes: Mapping[str, Any] = attributes(config, versions)

    def again(there: bytes) -> None:
        nonlocal group_attributes
        group_attributes = checked(parse_group(there, location))

    location.publish(GROUP, [metadata_files(layout.arrays(), 0, group_attributes)[GROUP]], again)
    return group_attributes


def _clear(location: Location, layout: Layout) -> None:
    """Remove what killed runs left: half-written files, and locks that nobody can hold now."""
    for folder in ("", INDEX, *(array.name for array in layout.arrays())):
        location.clear(folder)
    clear_part_locks(location)
