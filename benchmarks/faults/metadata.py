"""Metadata rewritten: JSON and Parquet that can be parsed, and do not say what they should.

Nothing here is a forgery that agrees with itself in every field and checksum: that is another cache, not a damaged one.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.faults.damage import Random

DEEP = 100_000
"""Levels of a list in lists, far beyond what a parser that calls itself can follow."""
_HOLE = "\ue000deep\ue000"
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 2**31, 2**53 + 1, 2**63, 2**64, -(2**64), 10**400, 0.5, 1e308, float("nan"),
    float("inf"), "", "text", "0", "\ud800", "\x1b[2J", "x" * 100_000, [], {}, [[]], [None], {"": None}, _HOLE,
)  # fmt: skip
_DOCUMENTS = (
    b"",
    b"{",
    b"{}",
    b"[]",
    b"null",
    b"3",
    b'"text"',
    b"NaN",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"{}{}",
)


def rewrite_json(data: bytes, random: Random) -> tuple[bytes, str]:
    """A JSON document with one to three values changed, and in words how."""
    if random.random() < 0.1:
        other = _DOCUMENTS[int(random.integers(len(_DOCUMENTS)))]
        return (other, f"is {other!r}") if random.random() < 0.8 else (b"[" * DEEP + b"]" * DEEP, "is a deep list")
    document = json.loads(data)
    words = [_change(document, random) for _ in range(int(random.integers(1, 4)))]
    if random.random() < 0.5 and _hash_again(document):
        words.append("its hash made again")
    text = json.dumps(document).replace(json.dumps(_HOLE), "[" * DEEP + "]" * DEEP)
    return text.encode(), "; ".join(words)


def _change(document: Any, random: Random) -> str:
    """Change one value of a document, in place, wherever it is; what was done, in words."""
    places = _places(document)
    if not places:
        return "is empty"
    holder, key, path = places[int(random.integers(len(places)))]
    value = holder[key]
    way = random.choice(["value", "value", "value", "drop", "wrap", "more", "other key", "as text"])
    if way == "drop" and isinstance(holder, dict):
        del holder[key]
        return f"{path} left out"
    if way == "other key" and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
        return f"{path} renamed"
    if way == "wrap":
        holder[key] = [value]
        return f"{path} in a list"
    if way == "more" and isinstance(value, list):
        holder[key] = [*value, *value]
        return f"{path} twice"
    if way == "as text":
        holder[key] = json.dumps(value)
        return f"{path} as text"
    number = int(random.integers(len(_VALUES)))
    holder[key] = _VALUES[number]
    return f"{path} = {'a deep list' if _VALUES[number] == _HOLE else str(_VALUES[number])[:20]!r}"


def _places(value: Any, path: str = "") -> list[tuple[Any, Any, str]]:
    """Every place of a document where a value stands: what holds it, under which key, and its path."""
    if isinstance(value, dict):
        keys: Sequence[Any] = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    else:
        return []
    found = []
    for key in keys:
        found += [(value, key, f"{path}/{key}"), *_places(value[key], f"{path}/{key}")]
    return found


def _hash_again(document: Any) -> bool:
    """Give a group's metadata the hash of the config that it has now, where it has one."""
    try:
        ours = document["attributes"]["codecsieve"]
        text = json.dumps(ours["config"], sort_keys=True, separators=(",", ":"))
        ours["config_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    except (KeyError, TypeError):
        return False
    return True


def rewrite_table(data: bytes, random: Random) -> tuple[bytes, str]:
    """A Parquet file with rows, values or columns changed, and in words how."""
    table = pq.read_table(io.BytesIO(data))
    changes = [*_CHANGES] if "crc32c" in table.column_names else [c for c in _CHANGES if c is not _status]
    table, words = changes[int(random.integers(len(changes)))](table, random)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=str(random.choice(["zstd", "none", "snappy"])))
    return sink.getvalue(), words


def _null(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """A value that may not be null is, in one row or in all; not label, start or end, which may be."""
    known = ("id", "row", "crc32c", "status", "uri", "codec", "width", "frames", "signals", "model")
    name = str(random.choice([name for name in table.column_names if name in known]))
    values = table[name].to_pylist()
    rows = [int(random.integers(len(values)))] if random.random() < 0.7 else range(len(values))
    return _with(table, name, [None if row in rows else value for row, value in enumerate(values)]), f"{name} null"


def _type(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """A column has another type."""
    at = int(random.integers(table.num_columns))
    field = table.schema.field(at)
    others = [pa.string(), pa.large_string(), pa.binary(), pa.int32(), pa.float64(), pa.bool_(), pa.list_(pa.int8())]
    others = [other for other in others if other != field.type]
    other = others[int(random.integers(len(others)))]
    try:
        column = table[at].cast(other)
    except (pa.ArrowException, ValueError):
        column = pa.nulls(len(table), other)
    return table.set_column(at, pa.field(field.name, other), column), f"{field.name} is {other}"


def _columns(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """A column is missing, renamed, there twice, or there is one more; or they stand in another order."""
    at = int(random.integers(table.num_columns))
    name = table.column_names[at]
    way = int(random.integers(5))
    if way == 0:
        return table.remove_column(at), f"{name} left out"
    if way == 1:
        return table.rename_columns([f"{n}_" if n == name else n for n in table.column_names]), f"{name} renamed"
    if way == 2:
        return table.append_column(table.schema.field(at), table[at]), f"{name} twice"
    if way == 3:
        return table.append_column("more", pa.nulls(len(table), pa.int8())), "one more column"
    return table.select(table.column_names[::-1]), "columns in another order"


def _rows(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """Rows are missing, there twice, or in another order."""
    count = len(table)
    way = int(random.integers(5))
    if way == 0:
        return table.slice(0, 0), "no rows"
    if way == 1:
        kept = sorted(random.choice(count, int(random.integers(count)), replace=False).tolist())
        return table.take(pa.array(kept, pa.int64())), f"{len(kept)} of {count} rows"
    if way == 2:
        again = int(random.integers(count))
        return pa.concat_tables([table, table.slice(again, 1)]), f"row {again} twice"
    if way == 3:
        return table.take(pa.array(random.permutation(count).tolist(), pa.int64())), "rows in another order"
    return pa.concat_tables([table, table]), "all rows twice"


def _numbers(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """A row, or a checksum, is another number: out of range, of another shard, another clip's."""
    name = str(random.choice([name for name in ("row", "crc32c", "clip_crc32c") if name in table.column_names]))
    values = table[name].to_pylist()
    at = int(random.integers(len(values)))
    there = [value for value in values if value is not None]
    others = [0, 1, 63, 64, 65, 127, 1000, 2**31, *there]
    if name == "row":
        others += [-1, -(2**63), 2**62, 2**63 - 1]
    other = others[int(random.integers(len(others)))]
    values[at] = other if other != values[at] or other is None else other + 1
    return _with(table, name, values), f"{name} {values[at]} at {at}"


def _ids(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """An id is another clip's, or one that none may have."""
    values = table["id"].to_pylist()
    at = int(random.integers(len(values)))
    others = ["", "\n", "a\nb", "\x00", "\x1b[2J", "\u202eabc", "x" * 100_000, values[at - 1], values[0]]
    values[at] = others[int(random.integers(len(others)))]
    return _with(table, "id", values), f"id {values[at][:20]!r} at {at}"


def _status(table: pa.Table, random: Random) -> tuple[pa.Table, str]:
    """A status is none that there is, or says of a clip what the rest of its row does not."""
    if "status" not in table.column_names:
        return _numbers(table, random)
    values = table["status"].to_pylist()
    at = int(random.integers(len(values)))
    others = ["", "done", "OK", "failed" if values[at] == "ok" else "ok"]
    values[at] = others[int(random.integers(len(others)))]
    return _with(table, "status", values), f"status {values[at]!r} at {at}"


def _with(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """The table with a column of these values."""
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


_CHANGES: tuple[Callable[[pa.Table, Random], tuple[pa.Table, str]], ...] = (
    _null, _type, _columns, _rows, _numbers, _ids, _status,
)  # fmt: skip
