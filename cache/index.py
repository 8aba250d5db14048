"""The index: what became of each clip. A clip is in the cache if, and only if, its row is published here.

`index/part-<shard>.parquet` holds a record for each clip of that shard that was tried, good or failed, in the order of
the plan. Everything but `seconds` and `decoder` depends only on the inputs and the config. Which row a clip has is left
to `plan`, many parts in one file to `packs`, reading and writing the arrays to `reader` and `writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.text import as_utf8

from .layout import INDEX, SHARD_CLIPS, is_id
from .location import Location
from .parquet import column, from_parquet, to_parquet

AGAIN = "remove it and run precompute again: its clips are then made anew"
_OK, _FAILED = ("ok", True, True, True, False), ("failed", True, False, False, True)  # uri, row, crc32c, error
_READING, _READING_FAR = 4, 16  # parts at once
_DIGITS = 10  # of a shard's number

_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "uri": pa.string(),
    "fingerprint": pa.string(),
    "row": pa.int64(),  # of the arrays; null where the clip failed
    "crc32c": pa.uint32(),  # of the clip's bytes, see ClipArrays.crc32c; null where it failed
    "label": pa.string(),
    "status": pa.string(),  # "ok" or "failed"
    "error": pa.string(),
    "codec": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "grid_rows": pa.int32(),  # of patches: the square's, or of a clip at a size of its own those that show it
    "grid_columns": pa.int32(),
    "fps": pa.float64(),
    "frames": pa.int64(),  # of the clip
    "distinct_frames": pa.int32(),  # among the sampled slots
    "filled": pa.int32(),  # slots that show the nearest frame, since their own could not be decoded
    "order": pa.string(),  # "timestamps" or "decoder": what told the order of the frames
    "signals": pa.string(),  # "bitstream", "search", "difference" or "bits"
    "decoder": pa.string(),  # "ffmpeg" or "nvdec"
    "start": pa.float64(),  # seconds; null: from the beginning
    "end": pa.float64(),  # seconds; null: to the end
    "seconds": pa.float64(),  # spent on the clip
}
ADDED = ("filled", "order", "decoder", "grid_rows", "grid_columns")
"""Columns that older caches lack, whose clips have null there."""
SCHEMA = pa.schema(_COLUMNS)


@dataclass(frozen=True)
class IndexRecord:
    """One clip's row of the index. `row` and `crc32c` are the writer's to fill in; a failed clip has neither.

    grid_rows, grid_columns: patches of its pictures, the square's, or at a size of its own those that show it; frames:
    frames in the clip; distinct_frames: different ones among the sampled slots; filled: slots that show the
    nearest frame instead of their own; order: what told the frames' order; start, end: seconds; seconds: time spent on
    the clip.
    """

    id: str
    uri: str
    status: Literal["ok", "failed"]
    fingerprint: str | None = None
    row: int | None = None
    crc32c: int | None = None
    label: str | None = None
    error: str | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    grid_rows: int | None = None
    grid_columns: int | None = None
    fps: float | None = None
    frames: int | None = None
    distinct_frames: int | None = None
    filled: int | None = None
    order: str | None = None
    signals: str | None = None
    decoder: str | None = None
    start: float | None = None
    end: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id ('') must not be empty")
        if self.status not in ("ok", "failed"):
            raise ValueError(f"clip {self.id}: status ({self.status!r}) must be 'ok' or 'failed'")
        if (self.status == "failed") != (self.error is not None):
            raise ValueError(f"clip {self.id}: error ({self.error!r}) must be given if and only if it failed")
        if self.status == "failed" and (self.row is not None or self.crc32c is not None):
            raise ValueError(f"clip {self.id}: row ({self.row}) must be None for a failed clip")


def part_name(shard: int) -> str:
    """File name of a shard's part of the index."""
    return f"part-{shard:06d}.parquet"


def part_shard(name: str) -> int | None:
    """The shard a file of the index folder belongs to; None where the file is no part of the index."""
    digits = name.removeprefix("part-").removesuffix(".parquet")
    shard = int(digits) if digits.isdecimal() and len(digits) < _DIGITS else -1
    return shard if name == part_name(shard) else None


Joined = Callable[[Sequence["IndexRecord"]], Sequence["IndexRecord"]]
"""Of a shard's records that another process published meanwhile: what to publish in their place."""


def write_part(location: Location, shard: int, listed: Sequence[IndexRecord], joined: Joined | None = None) -> pa.Table:
    r"""Publish a shard's records, and return what is published as a table: from this moment on its clips count.

    joined: asked where another process was there before; None: that is an error. File names need not be UTF-8, which
    Parquet's text is: what of them is not stands there as `\udcXX`.
    """
    name, published = f"{INDEX}/{part_name(shard)}", to_table(listed)

    def again(there: bytes) -> list[memoryview] | None:
        nonlocal published
        theirs = parse_part(there, f"{location}/{name}", shard)
        before = records(theirs)
        assert joined is not None
        joint = joined(before)
        published = theirs if list(joint) == before else to_table(joint)
        return None if published is theirs else [to_parquet(published)]

    location.publish(name, [to_parquet(published)], again if joined else None)
    return published


def to_table(listed: Sequence[IndexRecord]) -> pa.Table:
    """Records as an index table."""
    rows = [
        {name: as_utf8(value) if isinstance(value, str) else value for name, value in asdict(record).items()}
        for record in listed
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def part_shards(location: Location) -> list[int]:
    """The shards of which a part of the index is published, in ascending order.

    Raises CacheError where the index is not there or cannot be listed.
    """
    try:
        found = location.names(INDEX, "part-*.parquet")
    except FileNotFoundError as error:
        if not location.local:
            return []  # an object store has no empty folders
        raise CacheError(f"cache {location} has no folder {INDEX}; put it back, or make the cache again") from error
    return sorted(shard for shard in map(part_shard, found) if shard is not None)


def read_parts(location: Location, among: Collection[int] | None = None) -> dict[int, pa.Table]:
    """Each published part of the index by its shard, in ascending order; CacheError where one is damaged.

    among: of these shards only.
    """
    shards = [shard for shard in part_shards(location) if among is None or shard in among]
    with ThreadPoolExecutor(_READING if location.local else _READING_FAR) as pool:
        read = zip(shards, pool.map(lambda shard: read_part(location, shard), shards), strict=True)
        return {shard: part for shard, part in read if part is not None}


def read_part(location: Location, shard: int) -> pa.Table | None:
    """One part of the index, None where it is not there any more; CacheError where it is damaged."""
    name = f"{INDEX}/{part_name(shard)}"
    try:
        return parse_part(location.read(name), f"{location}/{name}", shard)
    except FileNotFoundError:
        return None


def parse_part(data: bytes, name: str, shard: int) -> pa.Table:
    """A shard's part of the index out of its file's bytes; CacheError, naming the file, where they are damaged."""
    table = from_parquet(data, SCHEMA, name, AGAIN, ADDED, SHARD_CLIPS)
    wrong = wrong_row(table, [shard] * len(table))
    if wrong:
        raise CacheError(f"{name} is damaged ({wrong}); {AGAIN}")
    return table


def wrong_row(table: pa.Table, shards: Sequence[int]) -> str:
    """What is wrong with some row, each of which is a shard's; nothing where they all say what a row must."""
    ids, rows = column(table, "id"), [row for row in column(table, "row") if row is not None]
    if not all(map(is_id, ids)) or len(set(ids)) < len(ids):
        return "an id is missing, not printable, too long, or comes twice"
    theirs = zip(column(table, "row"), shards, strict=True)
    if len(set(rows)) < len(rows) or any(row is not None and row // SHARD_CLIPS != shard for row, shard in theirs):
        return "a row is another shard's or comes twice"
    told = (table[name].is_valid().to_pylist() for name in ("uri", "row", "crc32c", "error"))
    if not set(zip(column(table, "status"), *told, strict=True)) <= {_OK, _FAILED}:
        return "a clip is neither ok, with row and checksum, nor failed, with an error"
    return ""


def records(table: pa.Table) -> list[IndexRecord]:
    """The rows of an index table as records."""
    return [IndexRecord(**row) for row in table.to_pylist()]


def join_parts(parts: Iterable[pa.Table]) -> pa.Table:
    """Parts, in their order, as one table."""
    return pa.concat_tables([SCHEMA.empty_table(), *parts]).combine_chunks()
