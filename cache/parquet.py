"""Parquet files of a cache: tables as bytes, and back again checked against their schema.

What their rows mean is left to `index`, `plan`, `table` and `features`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codecsieve.errors import CacheError
from codecsieve.text import shortened

_WRITTEN: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True, "write_statistics": False}
_ROW_BYTES = 1 << 20
"""Of one row, unpacked: more than any path or message has."""
_BATCH = 1 << 16  # rows that are looked at together


def to_parquet(table: pa.Table) -> memoryview:
    """A table as the bytes of a file, with checksums."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_WRITTEN)
    return memoryview(sink.getvalue())


def stream_to_parquet(tables: Iterable[pa.Table], schema: pa.Schema) -> list[bytes]:
    """The same of tables one after another, each a group of rows, as parts that lie behind each other."""
    sink = _Parts()
    with pq.ParquetWriter(sink, schema, **_WRITTEN) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.parts


class _Parts(io.RawIOBase):
    """A file that keeps what is written, and never moves it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(self.parts[-1])


def from_parquet(
    data: bytes, schema: pa.Schema, name: str, advice: str, added: Collection[str] = (), most_rows: int | None = None
) -> pa.Table:
    """The table of a file's bytes, with the columns of `schema`.

    added: columns that may be missing, and are null then; most_rows: that a file of the kind has. Raises CacheError,
    naming the file and what to do, where the bytes are damaged or say something else.
    """
    table = read_any(data, name, advice, most_rows)
    missing = [field for field in schema if field.name in added and field.name not in table.column_names]
    if not table.schema.equals(pa.schema([field for field in schema if field not in missing])):
        raise CacheError(f"{name} is damaged or of another version: its columns are not those it must have; {advice}")
    for field in missing:
        table = table.add_column(schema.get_field_index(field.name), field, pa.nulls(table.num_rows, field.type))
    return table


def read_any(data: bytes, name: str, advice: str, most_rows: int | None = None) -> pa.Table:
    """The table of a file's bytes, whatever its columns. Raises CacheError as `from_parquet` does."""
    with _damage(name, advice):
        file = _opened(data, name, advice, most_rows)
        table = file.read(use_threads=False)
        table.validate(full=True)
    _check_rows(table.num_rows, file, name, advice)
    return table


def stream_parquet(data: bytes, schema: pa.Schema, name: str, advice: str) -> Iterator[pa.RecordBatch]:
    """The rows of a file's bytes, some at a time, with the columns of `schema`. Raises as `from_parquet` does."""
    with _damage(name, advice):
        file, found = _opened(data, name, advice, None), 0
        if not file.schema_arrow.equals(schema):
            raise CacheError(
                f"{name} is damaged or of another version: its columns are not those it must have; {advice}"
            )
        for batch in file.iter_batches(_BATCH, use_threads=False):
            batch.validate(full=True)
            found += batch.num_rows
            yield batch
    _check_rows(found, file, name, advice)


def _opened(data: bytes, name: str, advice: str, most_rows: int | None) -> pq.ParquetFile:
    """A file whose size is as it says it is."""
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    rows = file.metadata.num_rows
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    if most_rows is not None and rows > most_rows:
        raise CacheError(f"{name} is damaged: it has {rows} rows, at most {most_rows}; {advice}")
    if sum(group.total_byte_size for group in groups) > (rows + 1) * _ROW_BYTES:
        raise CacheError(f"{name} is damaged: its rows are larger than any can be; {advice}")
    return file


@contextlib.contextmanager
def _damage(name: str, advice: str) -> Iterator[None]:
    """What Arrow raises of damaged files, as CacheError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CacheError(f"{name} is damaged ({shortened(reason)}); {advice}") from error


def _check_rows(found: int, file: pq.ParquetFile, name: str, advice: str) -> None:
    if found != file.metadata.num_rows:
        raise CacheError(f"{name} is damaged ({found} of {file.metadata.num_rows} rows); {advice}")


def column(table: pa.Table, name: str) -> list[Any]:
    """A column as Python values."""
    values: list[Any] = table[name].to_pylist()
    return values
