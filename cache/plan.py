"""The plan, `plan.parquet`: every clip's row of the arrays, given once and for good.

What became of a clip is said in `index`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.files import publish
from codecsieve.text import shortened

from .layout import PLAN, SHARD_CLIPS, is_id
from .location import Location
from .parquet import column, from_parquet, to_parquet

SCHEMA = pa.schema({"id": pa.string(), "row": pa.int64()})


def write_plan(cache: Path, ids: Sequence[str | None]) -> None:
    """Publish the plan: the clip `ids[row]` has row `row`; None where a row is free."""
    table = pa.table({"id": list(ids), "row": range(len(ids))}, schema=SCHEMA)
    publish(cache / PLAN, [to_parquet(table)])


def read_plan(location: Location) -> list[str | None]:
    """Clip ids in row order, [] where nothing was planned yet; CacheError where the plan is damaged."""
    table, name = _read(location), f"{location}/{PLAN}"
    if column(table, "row") != list(range(len(table))):
        raise CacheError(f"{name} is damaged: its rows are not 0..{len(table) - 1}; {_advice(location)}")
    ids = column(table, "id")
    given = [clip_id for clip_id in ids if clip_id is not None]
    if not all(map(is_id, given)) or len(set(given)) < len(given):
        raise CacheError(f"{name} is damaged: an id is not printable, too long, or comes twice; {_advice(location)}")
    return ids


def planned_clips(location: Location) -> int:
    """How many clips the plan has; CacheError where it is damaged."""
    table = _read(location)
    return int(table.num_rows - table["id"].null_count)


def contradiction(shard: int, part: pa.Table, rows: Mapping[str, int]) -> str:
    """In what a part of the index disagrees with the plan, whose rows by id are `rows`; nothing where it does not."""
    for clip_id, row in zip(column(part, "id"), column(part, "row"), strict=True):
        planned = rows.get(clip_id)
        if planned is None or planned // SHARD_CLIPS != shard or row not in (None, planned):
            return f"lists clip {shortened(clip_id)} in row {row}, {PLAN} in {planned}"
    return ""


def plan_of_parts(plan: Sequence[str | None], parts: Mapping[int, pa.Table]) -> list[str | None]:
    """A plan that agrees with the index, of one that does not, or of what is left of it.

    Clips that are in keep the rows that their bytes are in. A failed clip, of which the index tells only the shard,
    takes a free row there. Rows of clips that were never tried stay free where the plan is lost.
    """
    before, rows, taken = rows_of(plan), dict[str, int](), dict[int, str]()

    def place(clip_id: str, wanted: Iterable[int]) -> None:
        row = next((row for row in wanted if row not in taken), None)
        if clip_id not in rows and row is not None:
            rows[clip_id], taken[row] = row, clip_id

    for part in parts.values():
        for clip_id, row in zip(column(part, "id"), column(part, "row"), strict=True):
            if row is not None:
                place(clip_id, [row])
    for shard, part in parts.items():
        here = range(shard * SHARD_CLIPS, (shard + 1) * SHARD_CLIPS)
        for clip_id, row in zip(column(part, "id"), column(part, "row"), strict=True):
            if row is None:
                planned = before.get(clip_id, -1)
                place(clip_id, [planned] if planned in here else here)
    for clip_id, row in before.items():
        place(clip_id, [row])
    return [taken.get(row) for row in range(1 + max(taken, default=-1))]


def rows_of(ids: Iterable[str | None]) -> dict[str, int]:
    """A plan's rows by id."""
    return {clip_id: row for row, clip_id in enumerate(ids) if clip_id is not None}


def _read(location: Location) -> pa.Table:
    try:
        return from_parquet(location.read(PLAN), SCHEMA, f"{location}/{PLAN}", _advice(location))
    except FileNotFoundError:
        return SCHEMA.empty_table()


def _advice(location: Location) -> str:
    return f"run `codecsieve verify {location} --repair`"
