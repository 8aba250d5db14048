"""The plan: every clip's row, given once; as Arrow keeps it, the same as a dictionary would."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.cache.location import Location
from codecsieve.cache.plan import Plan, add_to_plan, parse_plan, read_ids, read_plan, write_plan
from codecsieve.errors import CacheError

NAMES = st.sampled_from([f"clip-{number}" for number in range(40)])


def plan_of(chunks: list[list[str | None]]) -> Plan:
    return Plan(pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string()))


def defined(ids: list[str | None], wanted: list[str]) -> list[str | None]:
    """What `with_clips` means: new clips take the free rows, in order, and then rows behind all."""
    made = list(ids)
    for clip_id in wanted:
        if clip_id not in made:
            if None in made:
                made[made.index(None)] = clip_id
            else:
                made.append(clip_id)
    return made


@given(
    st.lists(NAMES, unique=True), st.sets(st.integers(0, 39)), st.integers(1, 9), st.lists(NAMES, max_size=30),
)  # fmt: skip
def test_clips_are_found_and_added_as_in_a_list(names: list[str], free: set[int], size: int, wanted: list[str]) -> None:
    ids = [None if row in free else name for row, name in enumerate(names)]
    plan = plan_of([ids[first : first + size] for first in range(0, len(ids), size)])
    rows = plan.rows_of(set(wanted))
    assert rows == {clip_id: row for row, clip_id in enumerate(ids) if clip_id in wanted}
    grown = plan.with_clips(wanted, rows)
    assert grown.ids.to_pylist() == defined(ids, wanted)
    assert (grown is plan) == (set(wanted) <= set(ids))
    assert parse_plan(b"".join(grown.to_parquet()), Location.of("cache")).ids.equals(grown.ids)


def test_a_plan_grows_on_the_disk(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    assert len(read_plan(location)) == 0
    plan, rows = add_to_plan(location, read_plan(location), ["a", "b"])
    assert rows == {"a": 0, "b": 1}
    written = (tmp_path / "plan.parquet").stat()
    again, rows = add_to_plan(location, plan, ["b"])
    assert (again is plan, rows) == (True, {"b": 1})
    assert (tmp_path / "plan.parquet").stat() == written
    add_to_plan(location, plan, ["c", "b"])
    assert read_ids(location) == ["a", "b", "c"]
    write_plan(location, ["a", None, "c"])
    _, rows = add_to_plan(location, read_plan(location), ["d", "e", "a"])
    assert rows == {"a": 0, "d": 1, "e": 3}


@pytest.mark.parametrize(
    ("ids", "rows", "wrong"),
    [
        (["a", "b"], [0, 2], r"its rows are not 0, 1, 2"),
        (["a", "b"], [0, None], r"its rows are not 0, 1, 2"),
        (["a", "b\n"], [0, 1], "an id is not printable"),
        (["a", ""], [0, 1], "an id is not printable"),
        (["a", None, "a"], [0, 1, 2], "an id comes twice"),
    ],
)
def test_a_plan_that_cannot_be_is_damaged(tmp_path: Path, ids: list[str], rows: list[int], wrong: str) -> None:
    table = pa.table({"id": ids, "row": rows}, schema=pa.schema({"id": pa.string(), "row": pa.int64()}))
    pq.write_table(table, tmp_path / "plan.parquet")
    with pytest.raises(CacheError, match=rf"plan.parquet is damaged: {wrong}"):
        read_plan(Location.of(tmp_path))


def test_a_plan_of_many_rows_is_one(tmp_path: Path) -> None:
    ids = [f"clip-{row}" for row in range(200_000)]
    write_plan(Location.of(tmp_path), ids)
    plan = read_plan(Location.of(tmp_path))
    assert plan.rows_of(["clip-0", "clip-70000", "clip-199999", "other"]) == {
        "clip-0": 0, "clip-70000": 70_000, "clip-199999": 199_999,
    }  # fmt: skip
