"""Manifests of text: a line a clip, its fields between commas, tabs or semicolons, or, of path and label alone, blanks.

The first line may name the columns or not. What a row is is left to `row`.
"""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.columns import typed
from codecsieve.pipelines.inputs.row import COLUMNS, NAMED, RULE, ColumnNames, Row, check_names, make_row
from codecsieve.text import quoted, shortened

_LONGEST_LINE = 1 << 20  # characters; a line without an end is not read until the memory is full


def text_rows(path: str, columns: ColumnNames) -> Iterator[Row]:
    """The rows of a manifest of text. Raises ManifestError."""
    lines, manifest = _read_lines(path), shortened(path)
    number, first = next(lines, (0, None))
    if first is None:
        raise ManifestError(f"{manifest}: is empty; {RULE}")
    where = f"{manifest} line {number}"
    names = columns.ours([name.strip() for name in first], where)
    if {"path", "id"} & set(names):
        check_names(names, where)
    elif _looks_like_header(first, path):
        found = shortened(", ".join(first))
        raise ManifestError(f"{where}: no column 'path' among {found}; {NAMED}")
    else:
        if len(first) > len(COLUMNS):
            raise ManifestError(f"{where}: {len(first)} columns; {RULE}, or the first line name them all")
        names = list(COLUMNS[: len(first)])
        lines = itertools.chain([(number, first)], lines)
    read = (_row_of(path, f"{manifest} line {line}", names, fields) for line, fields in lines)
    # What is a number shows when all of a column is seen.
    rows = iter(read if set(names) <= {*COLUMNS} else typed(list(read)))
    first_row = next(rows, None)
    if first_row is None:
        raise ManifestError(f"{manifest}: names its columns but no clip; add lines below")
    yield first_row
    yield from rows


def _row_of(path: str, where: str, names: Sequence[str], fields: Sequence[str]) -> Row:
    if len(fields) != len(names):
        raise ManifestError(f"{where}: {len(fields)} columns, the first line has {len(names)}; {RULE}")
    return make_row(path, where, dict(zip(names, fields, strict=True)))


def _read_lines(path: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every line that is not blank. The first tells what separates the fields."""
    manifest = shortened(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = bounded_lines(file, manifest)
            first = next((line for _, line in lines if line.strip()), "")
            file.seek(0)
            lines = bounded_lines(file, manifest)
            between = _separator(first, Path(path).suffix.lower())
            if not between:
                for number, line in lines:
                    if line.strip():
                        yield number, _split_at_space(line.strip())
                return
            texts = (line for _, line in lines)
            reader = csv.reader(texts, delimiter=between, skipinitialspace=True, strict=True)
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield reader.line_num, fields
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest}: is not UTF-8 text; save it as UTF-8, or as Parquet") from error
    except csv.Error as error:
        raise ManifestError(f'{manifest} line {reader.line_num}: {error}; quote fields with "..."') from error
    except OSError as error:
        raise ManifestError(f"{manifest}: {error.strerror}; check that it can be read") from error


def bounded_lines(file: TextIO, manifest: str) -> Iterator[tuple[int, str]]:
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


def _separator(first: str, suffix: str) -> str:
    """What is between fields, as the first line tells; nothing where blanks are, or there is a path alone."""
    if "\t" in first and (suffix == ".tsv" or "," not in first):
        return "\t"
    # Semicolons are what spreadsheets write where the comma is in numbers; a video's name may have one, or its classes.
    name = first.strip()
    semicolons = suffix == ".csv" and ";" in name and not _names_a_video(name) and not _names_a_video(name.split()[0])
    header = semicolons and {"path", "id"} & {name.strip(' "').lower() for name in first.split(";")}
    if "," in first and not header:
        return ","
    return ";" if semicolons else ""


def _names_a_video(text: str) -> bool:
    return Path(text).suffix.lower() in VIDEO_SUFFIXES


def _split_at_space(line: str) -> list[str]:
    """`path label`, or a path alone, which may have spaces in it."""
    if _names_a_video(line):
        return [line]
    return line.rsplit(maxsplit=1)


def _looks_like_header(fields: Sequence[str], manifest: str) -> bool:
    """Whether a first line without `path` names columns all the same: its first field is no file's name."""
    path = fields[0].strip()
    beside = os.path.join(os.path.dirname(manifest), path)
    return not path or not (os.path.dirname(path) or Path(path).suffix or os.path.exists(beside))
