"""One row of a manifest as it was asked for, out of fields by name, whatever file they stood in.

A row's path, label, start, end and id are ours; what else it says of the clip is kept with it. Reading files is left to
`manifest`.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from codecsieve.errors import ConfigError, ManifestError
from codecsieve.objects import check_url, is_object_url
from codecsieve.text import quoted, shortened

COLUMNS = ("path", "label", "start", "end", "id")
LISTED = frozenset({"status", "frames", "kept"})
"""Columns of `codecsieve list --csv` that say nothing new of a clip when that table comes back."""
RULE = "columns must be path,label[,start,end,id]"
NAMED = f"{RULE}, or say --columns path=NAME"
NO_URLS = "URLs are read of object stores only (s3://, ...); copy the file here"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MOST_COLUMNS = 1000  # a cache keeps no more
_LONGEST = 1 << 17  # characters of one value, as in text


@dataclass(frozen=True, slots=True)
class Row:
    """One clip as it was asked for. where: for messages, such as `list.csv line 3`; path: absolute, or a URL, "" where
    there is only an id; id: None if not given; further: name and value (text, number or truth value) of the manifest's
    other columns, as far as they have one; blank: names of columns, `label` too, that stand there without a value.
    """

    where: str
    path: str
    label: str | None = None
    start: float | None = None
    end: float | None = None
    id: str | None = None
    further: tuple[tuple[str, Any], ...] = field(default=(), compare=False)
    blank: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class ColumnNames:
    """What our columns are called in a manifest, by our name, where it is otherwise. Raises ConfigError for others."""

    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that they are ours."""
        for name in self.names:
            if name not in COLUMNS:
                raise ConfigError(f"columns ({quoted(name)}) must be among {', '.join(COLUMNS)}: path=filename")

    @classmethod
    def parse(cls, text: str) -> ColumnNames:
        """Of text such as `path=filename,label=action`."""
        pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
        if not all(ours.strip() and theirs.strip() for ours, _, theirs in pairs):
            raise ConfigError(f"columns ({quoted(text)}) must be pairs of our name and the manifest's: path=filename")
        return cls({ours.strip(): theirs.strip() for ours, _, theirs in pairs})

    def ours(self, names: Sequence[str], where: str) -> list[str]:
        """A manifest's column names, with ours in place of theirs, in whatever case ours are written.

        Raises ManifestError where one is not there.
        """
        there, renamed = list(names), list(names)
        for ours, theirs in self.names.items():
            if theirs not in there:
                near = difflib.get_close_matches(theirs, there, n=1)
                meant = f"did you mean {shortened(near[0])}?" if near else f"its columns: {shortened(', '.join(there))}"
                raise ManifestError(f"{where}: no column {quoted(theirs)}; {meant}")
            if ours in there and ours != theirs:
                renamed[there.index(ours)] = f"{ours} of the manifest"
            renamed[there.index(theirs)] = ours
        taken = {*self.names, *(name for name in renamed if name in COLUMNS)}
        return [name.lower() if name.lower() in COLUMNS and name.lower() not in taken else name for name in renamed]


def check_names(names: Sequence[str], where: str) -> None:
    """Further columns may have any printable name, but not one that a slip of the pen made of `label`."""
    for name, count in Counter(names).items():
        if count > 1 and name:  # columns without a name are what spreadsheets leave behind the last
            raise ManifestError(f"{where}: column {quoted(name)} comes twice; {RULE}")
        if not name.isprintable():
            raise ManifestError(f"{where}: column {quoted(name)} must have a printable name")
    spelt: dict[str, str] = {}
    for name in names:
        if name not in COLUMNS and spelt.setdefault(name.lower(), name) != name:
            raise ManifestError(
                f"{where}: columns {quoted(spelt[name.lower()])} and {quoted(name)} differ by case only, which "
                "conditions in SQL do not see; rename one"
            )
    if len(names) > _MOST_COLUMNS:
        raise ManifestError(f"{where}: {len(names)} columns, of which at most {_MOST_COLUMNS} are kept; leave some out")
    if "label" not in names:
        for name in difflib.get_close_matches("label", names, n=1, cutoff=0.8):
            raise ManifestError(f"{where}: unknown column {quoted(name)}; did you mean label? (--columns label={name})")


def make_row(manifest: str, where: str, fields: Mapping[str, Any]) -> Row:
    """A row of the manifest `manifest` (absolute), where relative paths start. Raises ManifestError."""
    path = fields.get("path", "")
    if "path" in fields and (not isinstance(path, str) or not path.strip()):
        raise ManifestError(f"{where}: path ({quoted(path)}) must name a file")
    own = {*COLUMNS, *(LISTED if fields.keys() >= LISTED else ())}
    for name, value in fields.items():
        if isinstance(value, bytes) or (isinstance(value, list | dict) and name in own):
            raise ManifestError(
                f"{where}: {shortened(name)} ({quoted(value)}) must be text or a number; leave that column out"
            )
    clip_id = _text(fields.get("id"))
    if clip_id is not None and not clip_id.isprintable():
        raise ManifestError(f"{where}: id ({quoted(clip_id)}) must be printable")
    start, end = _seconds(fields, "start", where), _seconds(fields, "end", where)
    if (start or 0) < 0:
        raise ManifestError(f"{where}: start ({start}) must be >= 0, in seconds")
    if end is not None and end <= (start or 0):
        raise ManifestError(f"{where}: end ({end}) must be > start ({start or 0.0}), both in seconds")
    label = _label(fields.get("label"))
    further = {name: _plain(value, where, name) for name, value in fields.items() if name and name not in own}
    return Row(
        where=where,
        path=_place(manifest, where, path),
        label=label,
        start=start or None,
        end=end,
        id=clip_id,
        further=tuple((name, value) for name, value in further.items() if value is not None),
        blank=tuple(name for name, value in {**further, "label": label}.items() if value is None and name in fields),
    )


def _place(manifest: str, where: str, path: str) -> str:
    """A path of a manifest, absolute, or a URL; "" where there is none."""
    if is_object_url(path):
        try:
            check_url(path)
        except ConfigError as error:
            raise ManifestError(f"{where}: {error}") from error
        return path
    if URL.match(path):
        return path
    return os.path.abspath(os.path.join(os.path.dirname(manifest), path)) if path else ""


def _plain(value: Any, where: str, name: str) -> str | int | float | bool | None:
    """A value as it is kept, lists and objects as JSON; None where there is none."""
    if isinstance(value, bool | float):
        return None if math.isnan(value) else value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    if isinstance(value, Decimal):
        return _plain(float(value), where, name)
    text = _json(value, where, name) if isinstance(value, list | dict) else _text(value)
    if text is not None and len(text) > _LONGEST:
        raise ManifestError(f"{where}: {shortened(name)} has {len(text)} characters, at most {_LONGEST} are kept")
    return text


def _json(value: Any, where: str, name: str) -> str:
    def written(inner: object) -> str:
        if isinstance(inner, bytes):
            raise ManifestError(f"{where}: {shortened(name)} ({quoted(value)}) must not have bytes in it")
        return str(inner)

    return json.dumps(value, ensure_ascii=False, default=written)


def _label(value: Any) -> str | None:
    """A label as text: 3.0 is what becomes of 3 in a column of numbers where some are missing."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else _text(value)


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
