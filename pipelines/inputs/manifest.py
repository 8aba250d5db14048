"""A manifest: a file of text, JSON lines or Parquet that lists clips as `path,label[,start,end,id]`.

Columns may have other names, see `row.ColumnNames`, and those that are not ours are kept with the clip. Relative paths
start at the manifest's own folder. How lines of text are taken apart is left to `delimited`, what a row is to `row`;
what the rows stand for, and their ids, to `clips`.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from codecsieve.errors import ManifestError
from codecsieve.files import kind_of_file
from codecsieve.objects import is_object_url
from codecsieve.pipelines.inputs.delimited import bounded_lines, text_rows
from codecsieve.pipelines.inputs.row import COLUMNS, NAMED, NO_URLS, RULE, URL, ColumnNames, Row, check_names, make_row
from codecsieve.text import one_line, quoted, shortened

__all__ = ["COLUMNS", "MANIFEST_SUFFIXES", "Row", "read_rows"]

_PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson"})
MANIFEST_SUFFIXES = _PARQUET_SUFFIXES | _JSON_SUFFIXES | {".csv", ".tsv", ".txt", ".list", ".lst"}
_BATCH = 4096
_AS_WRITTEN = ColumnNames()


def is_data_set(folder: str) -> bool:
    """Whether a folder holds Parquet files, and nothing else that is not hidden: together they are one manifest."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith((".", "_"))]
    except OSError:  # whoever reads it as a folder of videos says what is wrong
        return False
    return bool(names) and all(Path(name).suffix.lower() in _PARQUET_SUFFIXES for name in names)


def count_rows(path: str) -> int | None:
    """The rows of a manifest of Parquet, by its metadata; None where it is none, or cannot be read."""
    try:
        if os.path.isdir(path):
            counts = [count_rows(file) for file in _files_of(path)] if is_data_set(path) else [None]
            return None if None in counts else sum(count for count in counts if count is not None)
        if Path(path).suffix.lower() not in _PARQUET_SUFFIXES or kind_of_file(path) != "file":
            return None
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return None


def _files_of(data_set: str) -> list[str]:
    """The files of a manifest that is a folder, in the order of their names."""
    names = sorted(name for name in os.listdir(data_set) if not name.startswith((".", "_")))
    return [os.path.join(data_set, name) for name in names]


def read_rows(path: str, columns: ColumnNames = _AS_WRITTEN) -> Iterator[Row]:
    """The clips that the manifest `path` (absolute) lists, in its order. Raises ManifestError as `named_rows` does."""
    for row in named_rows(path, columns):
        if not row.path:
            raise ManifestError(f"{row.where}: no path; {NAMED}")
        if URL.match(row.path) and not is_object_url(row.path):
            raise ManifestError(f"{row.where}: {shortened(row.path)}: {NO_URLS}")
        yield row


def named_rows(path: str, columns: ColumnNames = _AS_WRITTEN) -> Iterator[Row]:
    """The rows of the manifest `path` (absolute), which may name clips by id alone, in its order.

    A folder of Parquet files is one, too, see `is_data_set`. Labels are text, whatever they look like. Blank fields
    count as not given, blank lines not at all. Whether the files are there, or can be, is not looked at. Raises
    ManifestError where a line breaks the rules, or the manifest is no file.
    """
    paths = _files_of(path) if os.path.isdir(path) and is_data_set(path) else [path]
    return itertools.chain.from_iterable(_rows_of(one, columns) for one in paths)


def _rows_of(path: str, columns: ColumnNames) -> Iterator[Row]:
    try:
        kind = kind_of_file(path)
    except FileNotFoundError as error:
        raise ManifestError(f"{shortened(path)}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # the latter where no path can be so: a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(f"{shortened(path)}: {reason}; check that it can be read") from error
    if kind != "file":
        raise ManifestError(f"{shortened(path)}: is a {kind}; a manifest must be a file")
    suffix = Path(path).suffix.lower()
    if suffix in _PARQUET_SUFFIXES:
        return _parquet_rows(path, columns)
    return _json_rows(path, columns) if suffix in _JSON_SUFFIXES else text_rows(path, columns)


def _parquet_rows(path: str, columns: ColumnNames) -> Iterator[Row]:
    """The rows of a Parquet manifest; columns that pandas adds for its row labels do not count."""
    manifest, number = shortened(path), 0
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
            ours = columns.ours(names, manifest)
            if not {"path", "id"} & set(ours):
                raise ManifestError(f"{manifest}: no column 'path' among {shortened(', '.join(names))}; {NAMED}")
            check_names(ours, manifest)
            for batch in file.iter_batches(_BATCH, columns=names):
                for fields in batch.rename_columns(ours).to_pylist():
                    number += 1
                    yield make_row(path, f"{manifest} row {number}", fields)
    except ManifestError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = one_line(str(error).strip().split("\n")[0])
        raise ManifestError(f"{manifest}: cannot be read as Parquet ({reason}); {RULE}") from error
    if not number:
        raise ManifestError(f"{manifest}: has no rows; add some")


def _json_rows(path: str, columns: ColumnNames) -> Iterator[Row]:
    """The rows of a manifest of JSON lines: an object each."""
    manifest, number = shortened(path), 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for number, line in bounded_lines(file, manifest):
                if line.strip():
                    yield make_row(
                        path, f"{manifest} line {number}", _fields(line, columns, f"{manifest} line {number}")
                    )
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest}: is not UTF-8 text; save it as UTF-8, or as Parquet") from error
    except OSError as error:
        raise ManifestError(f"{manifest}: {error.strerror}; check that it can be read") from error
    if not number:
        raise ManifestError(f"{manifest}: is empty; {RULE}")


def _fields(line: str, columns: ColumnNames, where: str) -> dict[str, object]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: is not JSON ({one_line(str(error))}); each line must be one object") from error
    if not isinstance(fields, dict):
        raise ManifestError(f'{where}: {quoted(fields)} must be an object such as {{"path": "a.mp4", "label": "run"}}')
    # Objects leave out what they have no value for.
    names = [name for name in (*columns.names.values(), *columns.names) if name not in fields and name != "path"]
    fields |= dict.fromkeys(names)
    ours = columns.ours(list(fields), where)
    fields = dict(zip(ours, fields.values(), strict=True))
    if not fields.keys() & {"path", "id"}:
        raise ManifestError(f"{where}: no 'path' among {shortened(', '.join(fields))}; {NAMED}")
    check_names(ours, where)
    return fields
