"""The plan, `plan.parquet`: every clip's row of the arrays, given once and for good.

What became of a clip is said in `index`.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.errors import CacheError
from codecsieve.text import shortened

from .layout import PLAN, SHARD_CLIPS, is_id
from .location import Location
from .parquet import column, stream_parquet, stream_to_parquet

SCHEMA = pa.schema({"id": pa.string(), "row": pa.int64()})


_GROUP = 1 << 18  # rows of a group in its file


class Plan:
    """Every clip's row, as Arrow keeps it: some 30 bytes a clip, where a dictionary would have ten times as many.

    ids: string, in row order; null where a row is free.
    """

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self.ids = ids

    def __len__(self) -> int:
        """Rows, free ones among them."""
        return len(self.ids)

    def rows_of(self, ids: Collection[str]) -> dict[str, int]:
        """The rows of those of some clips that are planned, by id: the plan is looked through once."""
        wanted, rows, first = pa.array(list(ids), pa.string()), dict[str, int](), 0
        for chunk in self.ids.chunks:
            at = np.flatnonzero(pc.is_in(chunk, value_set=wanted, skip_nulls=True).to_numpy(zero_copy_only=False))
            rows.update(zip(chunk.take(pa.array(at)).to_pylist(), (at + first).tolist(), strict=True))
            first += len(chunk)
        return rows

    def with_clips(self, wanted: Iterable[str], known: Collection[str]) -> Plan:
        """A plan that has clips, too, but those that it has: in rows that are free, and then behind all."""
        new = [clip_id for clip_id in dict.fromkeys(wanted) if clip_id not in known]
        if not new:
            return self
        ids, places = self.ids, min(self.ids.null_count, len(new))
        if places:
            kept = ids.combine_chunks()
            free = np.flatnonzero(kept.is_null().to_numpy(zero_copy_only=False))[:places]
            mask = np.zeros(len(kept), bool)
            mask[free] = True
            ids = pa.chunked_array([pc.replace_with_mask(kept, mask, pa.array(new[:places], pa.string()))])
        return Plan(pa.chunked_array([*ids.chunks, pa.array(new[places:], pa.string())], pa.string()))

    def to_parquet(self) -> list[bytes]:
        """The bytes of its file, in parts."""
        starts = range(0, max(len(self.ids), 1), _GROUP)
        return stream_to_parquet((_group(first, self.ids.slice(first, _GROUP)) for first in starts), SCHEMA)


def _group(first: int, ids: pa.ChunkedArray) -> pa.Table:
    return pa.table({"id": ids, "row": pa.array(np.arange(first, first + len(ids)))}, schema=SCHEMA)


def write_plan(location: Location, ids: Sequence[str | None]) -> None:
    """Publish the plan: the clip `ids[row]` has row `row`; None where a row is free."""
    location.publish(PLAN, Plan(pa.chunked_array([pa.array(ids, pa.string())])).to_parquet())


def add_to_plan(location: Location, plan: Plan, wanted: Sequence[str]) -> tuple[Plan, dict[str, int]]:
    """Publish a plan that has the clips `wanted`, too, those that are new in rows that are free and then behind all.

    plan: as it was read. Returns the plan as it is now, to which others may have added meanwhile, and the clips' rows.
    """
    rows = plan.rows_of(wanted)
    grown = plan.with_clips(wanted, rows)

    def again(there: bytes) -> list[bytes] | None:
        nonlocal grown
        found = parse_plan(there, location)
        grown = found.with_clips(wanted, found.rows_of(wanted))
        return None if grown is found else grown.to_parquet()

    if grown is plan:
        return plan, rows
    location.publish(PLAN, grown.to_parquet(), again)
    return grown, grown.rows_of(wanted)


def read_ids(location: Location) -> list[str | None]:
    """Clip ids in row order, [] where nothing was planned yet; CacheError where the plan is damaged."""
    ids: list[str | None] = read_plan(location).ids.to_pylist()
    return ids


def read_plan(location: Location) -> Plan:
    """The plan, empty where nothing was planned yet; CacheError where it is damaged."""
    data = _read(location)
    return Plan(pa.chunked_array([], pa.string())) if data is None else parse_plan(data, location)


def read_again(location: Location, plan: Plan) -> Plan:
    """The plan as it is now, of which others may have written more; raises as `read_plan`."""
    data = _read(location)
    if data is None:
        return plan if not len(plan) else Plan(pa.chunked_array([], pa.string()))
    return plan if _says(data, plan, location) else parse_plan(data, location)


def _says(data: bytes, plan: Plan, location: Location) -> bool:
    """Whether a file's bytes say what a plan says."""
    first = 0
    for batch in _batches(data, location):
        if not plan.ids.slice(first, batch.num_rows).equals(pa.chunked_array([batch["id"]])):
            return False
        first += batch.num_rows
    return first == len(plan)


def parse_plan(data: bytes, location: Location) -> Plan:
    """The same out of its file's bytes, looked at some rows at a time: memory has each id once."""
    name, first, chunks, hashes = f"{location}/{PLAN}", 0, list[pa.Array](), array("q")
    for batch in _batches(data, location):
        rows = batch["row"].fill_null(-1).to_numpy()
        if not np.array_equal(rows, np.arange(first, first + len(rows))):
            raise CacheError(f"{name} is damaged: its rows are not 0, 1, 2 and so on; {_advice(location)}")
        ids = batch["id"].drop_null().to_pylist()
        if not all(map(is_id, ids)):
            raise CacheError(f"{name} is damaged: an id is not printable, or too long; {_advice(location)}")
        hashes.extend(map(hash, ids))
        chunks.append(batch["id"])
        first += len(rows)
    found = pa.chunked_array(chunks, pa.string())
    if _comes_twice(found, np.frombuffer(hashes, np.int64)):
        raise CacheError(f"{name} is damaged: an id comes twice; {_advice(location)}")
    return Plan(found)


def _comes_twice(ids: pa.ChunkedArray, hashes: np.ndarray) -> bool:
    """Whether an id does. Two ids may have one hash: then they are looked at themselves. hashes: are put in order."""
    hashes.sort()
    doubtful = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not doubtful:
        return False
    same = [clip_id for chunk in ids.chunks for clip_id in chunk.to_pylist() if clip_id and hash(clip_id) in doubtful]
    return len(set(same)) < len(same)


def planned_clips(location: Location) -> int:
    """How many clips the plan has; CacheError where it is damaged."""
    data = _read(location)
    return 0 if data is None else sum(len(batch) - batch["id"].null_count for batch in _batches(data, location))


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


def _read(location: Location) -> bytes | None:
    """Its file's bytes, None where nothing was planned yet."""
    try:
        return location.read(PLAN)
    except FileNotFoundError:
        return None


def _batches(data: bytes, location: Location) -> Iterator[pa.RecordBatch]:
    return stream_parquet(data, SCHEMA, f"{location}/{PLAN}", _advice(location))


def _advice(location: Location) -> str:
    return f"run `codecsieve verify {location} --repair`"
