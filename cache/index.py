"""The index: what became of each clip. A clip is in the cache if, and only if, its row is published here.

`plan.parquet` gives every clip its row of the arrays, once and for good; `index/part-<shard>.parquet` holds a
record for each clip of that shard that was tried, good or failed, in the order of the plan. Everything but
`seconds` and `decoder` depends only on the inputs and the config. Reading and writing the arrays is left to
`reader` and `writer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from codecsieve.errors import CacheError
from codecsieve.files import publish

from .layout import INDEX

_PLAN_COLUMNS: dict[str, pa.DataType] = {"id": pa.string(), "row": pa.int64()}
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
    "fps": pa.float64(),
    "frames": pa.int64(),  # of the clip
    "distinct_frames": pa.int32(),  # among the sampled slots
    "filled": pa.int32(),  # slots that show the nearest frame, since their own could not be decoded
    "order": pa.string(),  # "timestamps" or "decoder": what told the order of the frames
    "signals": pa.string(),  # "bitstream", "search" or "difference"
    "decoder": pa.string(),  # "ffmpeg" or "nvdec"
    "start": pa.float64(),  # seconds; null: from the beginning
    "end": pa.float64(),  # seconds; null: to the end
    "seconds": pa.float64(),  # spent on the clip
}
ADDED = ("filled", "order")
"""Columns that older caches lack, whose clips have null there."""
PLAN_SCHEMA = pa.schema(_PLAN_COLUMNS)
SCHEMA = pa.schema(_COLUMNS)


@dataclass(frozen=True)
class IndexRecord:
    """One clip's row of the index. `row` and `crc32c` are the writer's to fill in; a failed clip has neither.

    frames: frames in the clip; distinct_frames: different ones among the sampled slots; filled: slots that show the
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
    if not (name.startswith("part-") and name.endswith(".parquet")):
        return None
    digits = name.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isdigit() else None


def write_part(cache: Path, shard: int, records: Sequence[IndexRecord]) -> pa.Table:
    r"""Publish a shard's records, and return them as a table: from this moment on its clips count.

    File names need not be UTF-8, which Parquet's text is: what of them is not stands there as `\udcXX`.
    """
    rows = [{name: _as_utf8(value) for name, value in asdict(record).items()} for record in records]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    publish(cache / INDEX / part_name(shard), [_to_parquet(table)])
    return table


def read_parts(cache: Path) -> dict[int, pa.Table]:
    """Each published part of the index by its shard, in ascending order; CacheError where one is damaged."""
    shards = {part_shard(path.name): path for path in (cache / INDEX).glob("part-*.parquet")}
    found = sorted((shard, path) for shard, path in shards.items() if shard is not None)
    with ThreadPoolExecutor(4) as pool:
        tables = pool.map(lambda path: parse_part(path.read_bytes(), str(path)), (path for _, path in found))
        return {shard: table for (shard, _), table in zip(found, tables, strict=True)}


def parse_part(data: bytes, name: str) -> pa.Table:
    """A part of the index out of its file's bytes; CacheError, naming the file, where they are damaged."""
    return _from_parquet(data, SCHEMA, name, "remove it and run precompute again: its clips are then made anew")


def records(table: pa.Table) -> list[IndexRecord]:
    """The rows of an index table as records."""
    return [IndexRecord(**row) for row in table.to_pylist()]


def column(table: pa.Table, name: str) -> list[Any]:
    """A column as Python values."""
    values: list[Any] = table[name].to_pylist()
    return values


def join_parts(parts: Iterable[pa.Table]) -> pa.Table:
    """Parts, in their order, as one table."""
    return pa.concat_tables([SCHEMA.empty_table(), *parts]).combine_chunks()


def write_plan(path: Path, ids: Sequence[str]) -> None:
    """Publish the plan: the clip `ids[row]` has row `row`."""
    table = pa.table({"id": list(ids), "row": range(len(ids))}, schema=PLAN_SCHEMA)
    publish(path, [_to_parquet(table)])


def read_plan(path: Path) -> list[str]:
    """Clip ids in row order, [] where nothing was planned yet; CacheError where the plan is damaged."""
    if not path.exists():
        return []
    advice = "delete the cache and run precompute again"
    table = _from_parquet(path.read_bytes(), PLAN_SCHEMA, str(path), advice)
    if column(table, "row") != list(range(len(table))):
        raise CacheError(f"{path} is damaged: its rows are not 0..{len(table) - 1}; {advice}")
    return column(table, "id")


def _as_utf8(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _to_parquet(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True, write_statistics=False)
    return memoryview(sink.getvalue())


def _from_parquet(data: bytes, schema: pa.Schema, name: str, advice: str) -> pa.Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read(use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise CacheError(f"{name} is damaged ({reason}); {advice}") from error
    if table.num_rows != file.metadata.num_rows:
        raise CacheError(f"{name} is damaged ({table.num_rows} of {file.metadata.num_rows} rows); {advice}")
    for field in schema:
        if field.name in ADDED and field.name not in table.column_names:
            at = schema.get_field_index(field.name)
            table = table.add_column(at, field, pa.nulls(table.num_rows, field.type))
    if not table.schema.equals(schema):
        raise CacheError(f"{name} is damaged or of another version: its columns are not the index's; {advice}")
    return table
