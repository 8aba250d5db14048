"""What is said of clips beside their patches, `table.parquet`: labels, where videos are now, any column of a manifest.

The index says what a clip was made of, once and for good. What people say of it changes: it stands here, by clip id,
and goes before the index's `label` and `uri`. The file is written as a whole, and only where there is something to say
that the index does not; the group's metadata has a mark then, so that one that was lost is noticed. Where the columns
come from is left to whoever gives them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.errors import CacheError
from codecsieve.text import quoted

from .index import SCHEMA
from .layout import ATTRIBUTE, is_id
from .location import Location
from .metadata import mark_group, read_group
from .parquet import column, read_any, to_parquet
from .part import ALL, hold_part

TABLE = "table.parquet"
TYPES = (pa.string(), pa.int64(), pa.float64(), pa.bool_())
"""What a column may be."""
MOST_COLUMNS = 1000
OWN = {"id": pa.string(), "label": pa.string(), "uri": pa.string()}
"""Columns that every table has. A label of null: the clip has none; a uri of null: as in the index."""
GIVEN = "given_"
"""Begins the name of a further column whose own name is one of the index's, such as `frames`."""
NO_BLANKS: Mapping[str, Sequence[str]] = {}
_TAKEN = frozenset({*SCHEMA.names, "path", "kept"})
_EMPTY = pa.Table.from_batches([], pa.schema(OWN))  # empty_table() imports pandas, where it is, in each process
_MARK = "table"
_ADVICE = "put it back, or run `codecsieve verify {} --repair`, which goes on without what it said of clips"


def read_table(location: Location) -> pa.Table:
    """The table, without rows where nothing was said yet. Raises CacheError where it is damaged or was lost."""
    name, advice = f"{location}/{TABLE}", _ADVICE.format(location)
    try:
        return parse_table(location.read(TABLE), location)
    except FileNotFoundError:
        if read_group(location).attributes[ATTRIBUTE].get(_MARK) is True:
            raise CacheError(f"{name} is missing; {advice}") from None
        return _EMPTY


def parse_table(data: bytes, location: Location) -> pa.Table:
    """The table out of its file's bytes; CacheError where they are damaged."""
    name, advice = f"{location}/{TABLE}", _ADVICE.format(location)
    table = read_any(data, name, advice)
    wrong = _wrong(table)
    if wrong:
        raise CacheError(f"{name} is damaged ({wrong}); {advice}")
    return table


def write_table(location: Location, table: pa.Table) -> None:
    """Publish a table in the place of the one there is; the caller alone writes the cache."""
    location.publish(TABLE, [to_parquet(table)])
    mark_table(location)


def add_to_table(
    location: Location, table: pa.Table, rows: pa.Table, blanks: Mapping[str, Sequence[str]] = NO_BLANKS
) -> pa.Table:
    """Publish what `said` makes of a table, as it was read, and rows; nothing where it is the same.

    Returns the table as it is now, of which others may have written more meanwhile. Raises CacheError where a column
    cannot be kept, or it cannot be written.
    """
    made = said(table, rows, blanks)

    def again(there: bytes) -> list[memoryview] | None:
        nonlocal made
        found = parse_table(there, location)
        made = said(found, rows, blanks)
        return None if made.equals(found) else [to_parquet(made)]

    if not made.equals(table):
        location.publish(TABLE, [to_parquet(made)], again)
    if made.num_rows:
        mark_table(location)  # also of a run that was killed between the two
    return made


def mark_table(location: Location, there: bool = True) -> None:
    """Have the group's metadata say whether there is a table; the caller may write the cache."""
    mark_group(location, **{_MARK: there})


def said(table: pa.Table, rows: pa.Table, blanks: Mapping[str, Sequence[str]] = NO_BLANKS) -> pa.Table:
    """A table after `rows` were said, too: for clips that it had they replace what it said, as far as they say a thing.

    rows: `id`, `label` (null: none), and any of `uri` and further columns (null: as before). A further column that was
    of another type becomes one of reals where both are numbers, else text; one that differs from another by case only
    is that. blanks: ids of clips of which a further column, by its name, says nothing any more.
    Raises CacheError where a column cannot be kept.
    """
    rows = _allowed(rows)
    rows = rows.rename_columns(as_spelt(rows.column_names, table.column_names))
    names = [*table.column_names, *(name for name in rows.column_names if name not in table.column_names)]
    new = rows.filter(pc.invert(pc.is_in(rows["id"], value_set=table["id"].combine_chunks())))
    ids = pa.chunked_array([*table["id"].chunks, *new["id"].chunks], pa.string())
    before, after = pc.index_in(ids, value_set=table["id"]), pc.index_in(ids, value_set=rows["id"])
    columns: dict[str, Any] = {"id": ids}
    for name in names[1:]:
        old, fresh = _alike(_taken(table, name, before), _taken(rows, name, after))
        if old is not None and fresh is not None:
            fresh = pc.if_else(pc.is_valid(after), fresh, old) if name == "label" else pc.coalesce(fresh, old)
        columns[name] = old if fresh is None else fresh
    for name, gone in zip(as_spelt([*map(column_name, blanks)], [*columns]), blanks.values(), strict=True):
        if name in columns:
            left = pc.invert(pc.is_in(ids, value_set=pa.array(gone, pa.string())))
            columns[name] = pc.if_else(left, columns[name], pa.scalar(None, columns[name].type))
    return pa.table(columns)


def say_of_cache(path: str | os.PathLike[str], rows: pa.Table, blanks: Mapping[str, Sequence[str]] = NO_BLANKS) -> None:
    """Say something of clips of a cache: as for `said`. Nobody may be writing it, but in an object store.

    Raises CacheError where `path` is no cache, a column cannot be kept, or it cannot be written.
    """
    location = Location.of(path)
    read_group(location)
    with hold_part(location, ALL):
        add_to_table(location, read_table(location), rows, blanks)


def joined(table: pa.Table, other: pa.Table) -> pa.Table:
    """What two tables say: of a clip that both list, the first, and of the other what that says nothing of.

    Labels and uris are the first's; a further column that has two types becomes what `said` makes of it. Raises
    CacheError where they have too many columns.
    """
    other = other.rename_columns(as_spelt(other.column_names, table.column_names))
    new = other.filter(pc.invert(pc.is_in(other["id"], value_set=table["id"].combine_chunks())))
    names = [*table.column_names, *(name for name in other.column_names if name not in table.column_names)]
    ids = pa.chunked_array([*table["id"].chunks, *new["id"].chunks], pa.string())
    mine, theirs = pc.index_in(ids, value_set=table["id"]), pc.index_in(ids, value_set=other["id"])
    columns: dict[str, Any] = {"id": ids}
    for name in names[1:]:
        first, second = _alike(_taken(table, name, mine), _taken(other, name, theirs))
        if first is not None and second is not None:
            own = pc.if_else(pc.is_valid(mine), first, second)
            columns[name] = own if name in OWN else pc.coalesce(first, second)
        else:
            columns[name] = second if first is None else first
    return _allowed(pa.table(columns))


def without(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    """A table that says nothing of these clips."""
    return table.filter(pc.invert(pc.is_in(table["id"], value_set=pa.array(ids, pa.string()))))


def effective(index: pa.Table, table: pa.Table) -> pa.Table:
    """The index with the labels and uris of the table, where it lists the clip."""
    if not table.num_rows:
        return index
    rows = pc.index_in(index["id"], value_set=table["id"])
    label = pc.if_else(pc.is_valid(rows), table["label"].take(rows), index["label"])
    uri = pc.coalesce(table["uri"].take(rows), index["uri"])
    for name, values in (("label", label), ("uri", uri)):
        index = index.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), values)
    return index


def further(index: pa.Table, table: pa.Table) -> pa.Table:
    """The further columns, a row for each clip of the index: null where nothing is said."""
    rows = pc.index_in(index["id"], value_set=table["id"])
    names = [name for name in table.column_names if name not in OWN]
    return pa.table({name: table[name].take(rows) for name in names}) if names else pa.table({})


def column_name(name: str) -> str:
    """The name that a further column has where it stands beside the index's, and those that a list has besides.

    SQL knows no case: in a condition, `Frames` would be the index's `frames`.
    """
    return f"{GIVEN}{name}" if name.lower() in _TAKEN else name


def as_spelt(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names with the case that those have which are known, where only that is another."""
    spelt = {name.lower(): name for name in known if name not in names}
    return [name if name in known else spelt.get(name.lower(), name) for name in names]


def _taken(table: pa.Table, name: str, rows: Any) -> Any:
    return table[name].take(rows) if name in table.column_names else None


def _alike(one: Any, other: Any) -> tuple[Any, Any]:
    """Two columns as ones of the same type; None where there is none."""
    if one is None or other is None or one.type == other.type:
        return one, other
    kind = pa.float64() if {one.type, other.type} == {pa.int64(), pa.float64()} else pa.string()
    return one.cast(kind, safe=False), other.cast(kind, safe=False)


def _allowed(rows: pa.Table) -> pa.Table:
    """The same rows, each further column under a name that it can have; CacheError where one cannot be kept."""
    names = [name if name in OWN else column_name(name) for name in rows.column_names]
    rows = rows.rename_columns(names)
    for name, kind in OWN.items():
        if name in names:
            at = names.index(name)
            rows = rows.set_column(at, name, rows[name].cast(kind))
    if len(names) > MOST_COLUMNS:
        raise CacheError(f"columns ({len(names)}) must be <= {MOST_COLUMNS}; leave some out")
    for field in rows.schema:
        if not field.name.isprintable() or not field.name or field.type not in TYPES:
            raise CacheError(f"column {quoted(field.name)} ({field.type}) must have a printable name and hold text, "
                             "numbers or truth values; leave it out")  # fmt: skip
    return rows


def _wrong(table: pa.Table) -> str:
    """What is wrong with a table that was read; nothing where it is as it must be."""
    schema = table.schema
    if len(set(schema.names)) < len(schema.names) or len(schema) > MOST_COLUMNS:
        return "its columns are too many, or one comes twice"
    if any(name not in schema.names or schema.field(name).type != kind for name, kind in OWN.items()):
        return "a column that it must have is not there, or of another type"
    if any(field.type not in TYPES or not field.name.isprintable() for field in schema):
        return "a column is not text, numbers or truth values"
    if any(name in SCHEMA.names for name in schema.names if name not in OWN):
        return "a column has the name of one of the index"
    ids = column(table, "id")
    if not all(map(is_id, ids)) or len(set(ids)) < len(ids):
        return "an id is missing, not printable, too long, or comes twice"
    return ""
