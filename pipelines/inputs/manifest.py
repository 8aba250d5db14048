"""A manifest's lines: a file of text or Parquet that lists clips as `path,label[,start,end,id]`.

Text may name its columns in its first line or not, and separate them by commas, tabs, or, where there are
only path and label, by spaces. Columns of other names are kept with the clip. Relative paths start at the manifest's
own folder. What the lines stand for, and their ids, are left to `clips`.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import ManifestError
from codecsieve.files import kind_of_file
from codecsieve.text import one_line, quoted, shortened

COLUMNS = ("path", "label", "start", "end", "id")
_PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
MANIFEST_SUFFIXES = _PARQUET_SUFFIXES | {".csv", ".tsv", ".txt", ".list", ".lst"}
_RULE = "columns must be path,label[,start,end,id]"
_LONGEST_LINE = 1 << 20  # characters; a line without an end is not read until the memory is full
_BATCH = 4096


@dataclass(frozen=True)
class Row:
    """One clip as it was asked for. where: for messages, such as `list.csv line 3`; id: None if not given; further:
    name and value of the manifest's other columns, as far as they have one.
    """

    where: str
    path: str
    label: str | None = None
    start: float | None = None
    end: float | None = None
    id: str | None = None
    further: tuple[tuple[str, str], ...] = field(default=(), compare=False)


def read_rows(path: str) -> Iterator[Row]:
    """The clips that the manifest `path` (absolute) lists, in its order.

    Labels are text, whatever they look like. Blank fields count as not given, blank lines not at all. Whether
    the files are there, or can be, is not looked at. Raises ManifestError where a line breaks the rules, or the
    manifest is no file.
    """
    try:
        kind = kind_of_file(path)
    except FileNotFoundError as error:
        raise ManifestError(f"{shortened(path)}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # the latter where no path can be so: a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(f"{shortened(path)}: {reason}; check that it can be read") from error
    if kind != "file":
        raise ManifestError(f"{shortened(path)}: is a {kind}; a manifest must be a file")
    if Path(path).suffix.lower() in _PARQUET_SUFFIXES:
        return _parquet_rows(path)
    return _text_rows(path)


def _text_rows(path: str) -> Iterator[Row]:
    """The rows of a manifest of text."""
    lines, manifest = _read_lines(path), shortened(path)
    number, first = next(lines, (0, None))
    if first is None:
        raise ManifestError(f"{manifest}: is empty; {_RULE}")
    names = [name.strip().lower() for name in first]
    if "path" in names:
        _check_header(names, f"{manifest} line {number}")
    elif _looks_like_header(first, path):
        found = shortened(", ".join(first))
        raise ManifestError(f"{manifest} line {number}: no column 'path' among {found}; {_RULE}")
    else:
        if len(first) > len(COLUMNS):
            raise ManifestError(
                f"{manifest} line {number}: {len(first)} columns; {_RULE}, or the first line name them all"
            )
        names = list(COLUMNS[: len(first)])
        lines = itertools.chain([(number, first)], lines)
    empty = True
    for line, fields in lines:
        empty, where = False, f"{manifest} line {line}"
        if len(fields) != len(names):
            raise ManifestError(f"{where}: {len(fields)} columns, the first line has {len(names)}; {_RULE}")
        yield _make_row(path, where, dict(zip(names, fields, strict=True)))
    if empty:
        raise ManifestError(f"{manifest}: names its columns but no clip; add lines below")


def _read_lines(path: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every line that is not blank. The first tells what separates the fields."""
    manifest = shortened(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = _bounded(file, manifest)
            first = next((line for _, line in lines if line.strip()), "")
            file.seek(0)
            lines = _bounded(file, manifest)
            if "," not in first and "\t" not in first:
                for number, line in lines:
                    if line.strip():
                        yield number, _split_at_space(line.strip())
                return
            tabs = "\t" in first and (Path(path).suffix.lower() == ".tsv" or "," not in first)
            texts = (line for _, line in lines)
            reader = csv.reader(texts, delimiter="\t" if tabs else ",", skipinitialspace=True, strict=True)
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield reader.line_num, fields
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest}: is not UTF-8 text; save it as UTF-8, or as Parquet") from error
    except csv.Error as error:
        raise ManifestError(f'{manifest} line {reader.line_num}: {error}; quote fields with "..."') from error
    except OSError as error:
        raise ManifestError(f"{manifest}: {error.strerror}; check that it can be read") from error


def _bounded(file: TextIO, manifest: str) -> Iterator[tuple[int, str]]:
    """(number, line) of every line; ManifestError for one that has no end."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > _LONGEST_LINE:
            raise ManifestError(
                f"{manifest} line {number}: has more than {_LONGEST_LINE} characters, beginning "
                f"{quoted(line[:_LONGEST_LINE], 80)}; is this a manifest?"
            )
        yield number, line


def _split_at_space(line: str) -> list[str]:
    """`path label`, or a path alone, which may have spaces in it."""
    if Path(line).suffix.lower() in VIDEO_SUFFIXES:
        return [line]
    return line.rsplit(maxsplit=1)


def _looks_like_header(fields: Sequence[str], manifest: str) -> bool:
    """Whether a first line without `path` names columns all the same: its first field is no file's name."""
    path = fields[0].strip()
    beside = os.path.join(os.path.dirname(manifest), path)
    return not path or not (os.path.dirname(path) or Path(path).suffix or os.path.exists(beside))


def _check_header(names: Sequence[str], where: str) -> None:
    """Further columns may have any name, but not one that a slip of the pen made of `label`."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ManifestError(f"{where}: column {quoted(name)} comes twice; {_RULE}")
    if "label" not in names:
        for name in difflib.get_close_matches("label", names, n=1, cutoff=0.8):
            raise ManifestError(f"{where}: unknown column {quoted(name)}; did you mean label?")


def _parquet_rows(path: str) -> Iterator[Row]:
    """The rows of a Parquet manifest; columns that pandas adds for its row labels do not count."""
    manifest, number = shortened(path), 0
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
            if "path" not in names:
                raise ManifestError(f"{manifest}: no column 'path' among {shortened(', '.join(names))}; {_RULE}")
            _check_header(names, manifest)
            for batch in file.iter_batches(_BATCH, columns=names):
                for fields in batch.to_pylist():
                    number += 1
                    yield _make_row(path, f"{manifest} row {number}", fields)
    except ManifestError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = one_line(str(error).strip().split("\n")[0])
        raise ManifestError(f"{manifest}: cannot be read as Parquet ({reason}); {_RULE}") from error
    if not number:
        raise ManifestError(f"{manifest}: has no rows; add some")


def _make_row(manifest: str, where: str, fields: Mapping[str, Any]) -> Row:
    path = fields["path"]
    if not isinstance(path, str) or not path.strip():
        raise ManifestError(f"{where}: path ({quoted(path)}) must name a file")
    for name, value in fields.items():
        if isinstance(value, bytes | list | dict):
            raise ManifestError(f"{where}: {name} ({quoted(value)}) must be text or a number")
    clip_id = _text(fields.get("id"))
    if clip_id is not None and not clip_id.isprintable():
        raise ManifestError(f"{where}: id ({quoted(clip_id)}) must be printable")
    return Row(
        where=where,
        path=os.path.abspath(os.path.join(os.path.dirname(manifest), path)),
        label=_text(fields.get("label")),
        start=_seconds(fields, "start", where) or None,
        end=_seconds(fields, "end", where),
        id=clip_id,
        further=tuple(
            (name, text) for name, value in fields.items() if name not in COLUMNS and (text := _text(value)) is not None
        ),
    )


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def _seconds(fields: Mapping[str, Any], name: str, where: str) -> float | None:
    text = _text(fields.get(name))
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ManifestError(f"{where}: {name} ({quoted(text)}) must be a number of seconds")
    return value
