"""Parquet files of a cache: tables as bytes, and back again checked against their schema.

What their rows mean is left to `index`, `plan`, `table` and `features`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codecsieve.errors import CacheError
from codecsieve.text import shortened

_ROW_BYTES = 1 << 20
"""Of one row, unpacked: more than any path or message has."""


def to_parquet(table: pa.Table) -> memoryview:
    """A table as the bytes of a file, with checksums."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True, write_statistics=False)
    return memoryview(sink.getvalue())


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
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        rows = file.metadata.num_rows
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if most_rows is not None and rows > most_rows:
            raise CacheError(f"{name} is damaged: it has {rows} rows, at most {most_rows}; {advice}")
        if sum(group.total_byte_size for group in groups) > (rows + 1) * _ROW_BYTES:
            raise CacheError(f"{name} is damaged: its rows are larger than any can be; {advice}")
        table = file.read(use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CacheError(f"{name} is damaged ({shortened(reason)}); {advice}") from error
    if table.num_rows != rows:
        raise CacheError(f"{name} is damaged ({table.num_rows} of {rows} rows); {advice}")
    return table


def column(table: pa.Table, name: str) -> list[Any]:
    """A column as Python values."""
    values: list[Any] = table[name].to_pylist()
    return values
