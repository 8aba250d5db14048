"""Writing a cache: rows are planned, shards are published whole, and only then their part of the index.

Whatever happens to the process, a published clip stays as it is and an unpublished one is as if it had never
been tried: opening the cache again and doing what `plan` returns finishes it, with the same bytes as a run
that was never cut off. Whatever happens to the files meanwhile, a clip whose shards are not all there is planned
again. One process writes a cache; where the clips come from is the caller's.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.files import PARTIAL, kind_of_file, lock, make_folder, publish, remove, remove_partial_files
from codecsieve.text import quoted, shortened

from .index import SCHEMA, IndexRecord, join_parts, part_name, read_parts, records, write_part
from .layout import (
    GROUP,
    INDEX,
    LOCK,
    SHARD_CLIPS,
    ClipArrays,
    Layout,
    attributes,
    config_difference,
    full_config,
    is_id,
    metadata_files,
)
from .location import Location
from .metadata import read_array, read_group
from .parquet import column
from .plan import contradiction, read_plan, rows_of, write_plan
from .settled import Lost, lost_clips
from .shard import DamagedShardError, write_shard
from .sources import Source, open_sources, read_clip
from .table import effective, read_table, said, write_table


@dataclasses.dataclass(frozen=True)
class ShardWork:
    """The clips of one shard that are still to be made, in row order."""

    shard: int
    ids: tuple[str, ...]


class CacheWriter:
    """A cache open for writing, by this process alone until `close`."""

    def __init__(self, path: Path, layout: Layout, group_attributes: Mapping[str, Any], held: IO[str]) -> None:
        """Use `CacheWriter.open`."""
        self.path = path
        self.layout = layout
        self._attributes = group_attributes
        self._lock = held
        self._location = Location(path)
        self._ids = read_plan(self._location)
        self._rows = rows_of(self._ids)
        self._parts = read_parts(self._location)
        self.said = read_table(self._location)
        """What is said of clips beside, see `table`."""
        self._check_plan()
        self.lost: list[Lost] = []
        """Clips that were in the cache and, as `plan` or `write_shard` found, are not any more."""

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        layout: Layout,
        config: Mapping[str, Any],
        versions: Mapping[str, str] | None = None,
    ) -> Self:
        """Make the cache `path`, or open the one there to go on with it.

        config: the selection's options, plain JSON; the layout's fields are added to it, and the whole is
        what a cache is made of: another config is another cache. versions: of libraries, for information
        only.

        Raises CacheError where the path holds something else, a cache of another config or one that is being
        written, or cannot be written; ValueError where `config` is not plain JSON.
        """
        folder = Path(path).absolute()
        config = full_config(config, layout)
        _refuse_foreign(folder)
        make_folder(folder / INDEX)
        held = lock(folder / LOCK, folder)
        try:
            for part in (folder, folder / INDEX, *(folder / array.name for array in layout.arrays())):
                remove_partial_files(part)
            if (folder / GROUP).exists():
                made = read_group(Location(folder))
                if made.config != config:
                    difference = config_difference(made.config, config)
                    raise CacheError(f"cache {folder} {difference}; use another --out or delete it")
                group_attributes = made.attributes
            else:
                group_attributes = attributes(config, versions or {})
                publish(folder / GROUP, [metadata_files(layout.arrays(), 0, group_attributes)[GROUP]])
            return cls(folder, layout, group_attributes, held)
        except BaseException:
            held.close()
            raise

    def plan(self, ids: Iterable[str], retry_failed: bool = False) -> list[ShardWork]:
        """Give every clip of `ids` a row, for good, and return what is still to be made of them, by shard.

        Clips that are planned already keep their rows, new ones follow in the order of `ids`. Clips that
        failed before are returned with `retry_failed` only. A clip that the index lists, but a shard has not, is made
        again: see `lost`. Raises CacheError where an id comes twice or is not printable.
        """
        wanted = list(ids)
        self._check_ids(wanted)
        self._give_rows([clip_id for clip_id in wanted if clip_id not in self._rows])
        self._fit_arrays()
        rows = sorted(self._rows[clip_id] for clip_id in wanted)
        shards = dict.fromkeys(row // SHARD_CLIPS for row in rows)
        for lost in lost_clips(self.path, self.layout, {s: self._parts[s] for s in shards if s in self._parts}):
            self.forget(lost)
        settled = {shard: self._settled(shard, retry_failed) for shard in shards}
        work: dict[int, list[str]] = {}
        for row in rows:
            shard, clip_id = row // SHARD_CLIPS, self._ids[row]
            assert clip_id is not None
            if clip_id not in settled[shard]:
                work.setdefault(shard, []).append(clip_id)
        return [ShardWork(shard, tuple(clip_ids)) for shard, clip_ids in work.items()]

    def write_shard(self, shard: int, clips: Mapping[str, ClipArrays], new_records: Sequence[IndexRecord]) -> None:
        """Publish records of clips of one shard, with the arrays of those that are "ok" in `clips`, by id.

        The records may be any of those that `plan` returned for the shard: the shard is written anew as a
        whole, with the clips it had; of those, one that no longer matches its checksum is dropped, see `lost`. Raises
        ValueError where records and arrays do not belong together or to the plan, CacheError where the disk fails.
        """
        self._check_records(shard, clips, new_records)
        merged, arrays = self._read_back(shard)
        for record in new_records:
            if record.status == "ok":
                row, clip = self._rows[record.id], clips[record.id]
                arrays[row] = clip
                record = dataclasses.replace(record, row=row, crc32c=clip.crc32c())
            merged[record.id] = record
        self._write_arrays(shard, arrays)
        in_order = sorted(merged.values(), key=lambda record: self._rows[record.id])
        self._parts[shard] = write_part(self.path, shard, in_order)

    def index(self) -> pa.Table:
        """All records published so far, in row order; its columns are those of `SparseCache.index`."""
        return effective(join_parts(self._parts[shard] for shard in sorted(self._parts)), self.said)

    def say(self, rows: pa.Table) -> None:
        """Publish what is to be said of clips: `id`, `label` and, as far as there are some, `uri` and further columns.

        It goes before what was said before and before what the index says. Nothing is written where nothing changes.
        Raises CacheError where a column cannot be kept, or the disk fails.
        """
        table = said(self.said, rows)
        if not table.equals(self.said):
            write_table(self.path, table)
            self.said = table

    def close(self) -> None:
        """Let other processes write the cache."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def forget(self, lost: Lost) -> None:
        """Publish that clips of a shard are not in the cache any more, so that they are made again."""
        kept = [record for record in records(self._parts[lost.shard]) if record.id not in lost.ids]
        self._parts[lost.shard] = write_part(self.path, lost.shard, kept)
        self.lost.append(lost)

    def _check_plan(self) -> None:
        for shard, part in self._parts.items():
            wrong = contradiction(shard, part, self._rows)
            if wrong:
                raise CacheError(
                    f"{self.path / INDEX / part_name(shard)} {wrong}; run `codecsieve verify {self.path} --repair`"
                )

    def _check_ids(self, wanted: Sequence[str]) -> None:
        if len(set(wanted)) != len(wanted):
            ((twice, _),) = Counter(wanted).most_common(1)
            raise CacheError(
                f"clip {shortened(twice)} is in the inputs twice; give it once, or give each an id of its own"
            )
        for clip_id in wanted:
            if not is_id(clip_id):
                raise CacheError(f"clip id {quoted(clip_id)} must be printable text, and short; give it one of its own")

    def _give_rows(self, new: Sequence[str]) -> None:
        """Plan clips: in rows that are free, since a lost plan was made again, then behind all others."""
        if not new:
            return
        free = [row for row, clip_id in enumerate(self._ids) if clip_id is None]
        ids = [*self._ids, *new[len(free) :]]
        for row, clip_id in zip(free, new, strict=False):
            ids[row] = clip_id
        write_plan(self.path, ids)
        self._ids, self._rows = ids, rows_of(ids)

    def _fit_arrays(self) -> None:
        """Make the arrays, or let them grow, to as many rows as are planned."""
        files = metadata_files(self.layout.arrays(), len(self._ids), self._attributes)
        for array in self.layout.arrays():
            path = self.path / array.name / GROUP
            if path.exists():
                there = read_array(self._location, array)
                if not there.raw:
                    raise CacheError(f"{path} is not as codecsieve wrote it; use another --out or delete the cache")
                if there.rows == len(self._ids):
                    continue
            make_folder(path.parent)
            publish(path, [files[f"{array.name}/{GROUP}"]])

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

    def _read_back(self, shard: int) -> tuple[dict[str, IndexRecord], dict[int, ClipArrays]]:
        """What a shard has: its records by id, and its clips by row, as they must be again in its new file."""
        sources = open_sources(self._location, self.layout)
        there = {record.id: record for record in records(self._parts.get(shard, SCHEMA.empty_table()))}
        clips = {record.row: self._read_row(record, sources) for record in there.values() if record.row is not None}
        gone = {record.id for record in there.values() if record.row is not None and clips[record.row] is None}
        if gone:
            self.lost.append(Lost(shard, tuple(sorted(gone)), "do not match their checksums"))
        kept = {clip_id: record for clip_id, record in there.items() if clip_id not in gone}
        return kept, {row: clip for row, clip in clips.items() if clip is not None}

    def _read_row(self, record: IndexRecord, sources: Mapping[str, Source]) -> ClipArrays | None:
        assert record.row is not None
        try:
            clip = read_clip(sources, self.layout, record.row)
        except DamagedShardError:
            return None
        return clip if clip.crc32c() == record.crc32c else None

    def _write_arrays(self, shard: int, clips: Mapping[int, ClipArrays]) -> None:
        for array in self.layout.arrays():
            path = self.path / array.shard_key(shard)
            if clips:
                write_shard(path, {row % SHARD_CLIPS: getattr(clip, array.name) for row, clip in clips.items()})
            else:
                remove(path)  # what a run that was killed before its index part may have left


def _refuse_foreign(folder: Path) -> None:
    """Raise CacheError where `folder` is something that a cache must not be made in."""
    if (folder / GROUP).exists():
        read_group(Location(folder))
    elif folder.is_dir():
        own = {LOCK, INDEX}  # of a run that was killed before it wrote anything else
        if any(entry.name not in own and not entry.name.endswith(PARTIAL) for entry in folder.iterdir()):
            raise CacheError(f"{folder} is not empty and not a cache; use another --out")
    elif folder.exists():
        raise CacheError(f"{folder} is a {kind_of_file(folder)}, not a cache; use another --out")
