"""A manifest's further columns: what text in them means, and all of them as one table by clip id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.inputs.row import Row
from codecsieve.text import as_utf8

_TRUTH = {"true": True, "false": False}
# Not 007 or 1_000, which are names of something.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
_REAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?\Z")
_NO_NUMBER = re.compile(r"(nan|-?inf(inity)?)\Z", re.IGNORECASE)
"""What programs write among numbers for one that is missing, or has no end."""

Value = str | int | float | bool


def typed(rows: Sequence[Row]) -> list[Row]:
    """The rows of a text file, with numbers and truth values in further columns that have nothing else."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.further:
            texts.setdefault(name, []).append(value)
    readers = {name: _reader(values) for name, values in texts.items()}
    return [_read(row, readers) for row in rows]


def _read(row: Row, readers: Mapping[str, Callable[[str], Value]]) -> Row:
    values = [(name, readers[name](value)) for name, value in row.further]
    missing = tuple(name for name, value in values if value != value)  # not a number
    return replace(row, further=tuple(pair for pair in values if pair[0] not in missing), blank=row.blank + missing)


def _reader(texts: Iterable[str]) -> Callable[[str], Value]:
    texts = list(texts)
    if all(map(_INTEGER.match, texts)):
        return int
    numbers = [text for text in texts if not _NO_NUMBER.match(text)]
    if numbers and all(map(_REAL.match, numbers)):
        return float
    return (lambda text: _TRUTH[text.lower()]) if all(text.lower() in _TRUTH for text in texts) else str


def further_columns(requests: Sequence[ClipRequest]) -> dict[str, pa.Array]:
    """The further columns of clips, by name: null for a clip that lacks one; text where values are of several kinds.

    Names that differ by case only are one column, as first spelt.
    """
    names: dict[str, str] = {}
    for request in requests:
        for name in request.metadata:
            names.setdefault(name.lower(), name)
    told = [{name.lower(): value for name, value in request.metadata.items()} for request in requests]
    return {name: _array([values.get(lower) for values in told]) for lower, name in names.items()}


def _array(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    return pa.array([as_utf8(value) if isinstance(value, str) else value for value in values])
