"""What is said of clips beside their patches: labels that change, columns, what a damaged table comes to."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zarr
from cache_cases import fill, names
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.cache import compact_cache, open_cache, repair_cache, say_of_cache, verify_cache
from codecsieve.cache.table import TABLE, said
from codecsieve.errors import CacheError, ConfigError

NOTHING = pa.schema({name: pa.string() for name in ("id", "label", "uri")}).empty_table()
SPLITS = {"id": ["clip-0", "clip-2"], "label": ["run", None], "split": ["train", "val"], "take": [1, 2]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path, names(5))
    return tmp_path


def test_labels_change_and_clips_do_not(path: Path) -> None:
    before = {clip.clip_id: (clip.label, clip.patches.tobytes()) for clip in open_cache(path)}
    say_of_cache(path, pa.table(SPLITS))
    cache = open_cache(path)
    assert cache["clip-0"].label == "run"
    assert cache["clip-2"].label is None
    assert cache["clip-1"].label == before["clip-1"][0]
    assert cache.labels == cache.index["label"].to_pylist()
    assert {clip.clip_id: clip.patches.tobytes() for clip in cache} == {name: b[1] for name, b in before.items()}
    cache.verify()


def test_columns_come_with_clips_and_batches(path: Path) -> None:
    say_of_cache(path, pa.table(SPLITS))
    cache = open_cache(path)
    assert cache["clip-0"].metadata == {"split": "train", "take": 1}
    assert cache["clip-1"].metadata == {"split": None, "take": None}
    assert cache[["clip-2", "clip-0"]].metadata == ({"split": "val", "take": 2}, {"split": "train", "take": 1})
    assert cache.table["take"].to_pylist() == [1, None, 2, None, None]
    assert cache["clip-3"].uri == cache.uris[3] == cache.index["uri"][3].as_py()


def test_a_video_that_moved_has_another_uri_until_it_moves_again(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-1"], "label": ["x"], "uri": ["/new/place.mp4"]}))
    say_of_cache(path, pa.table({"id": ["clip-1"], "label": ["y"], "uri": pa.array([None], pa.string())}))
    assert open_cache(path)["place.mp4"].label == "y"


def test_clips_are_chosen_by_a_condition(path: Path) -> None:
    say_of_cache(path, pa.table(SPLITS))
    cache = open_cache(path)
    assert cache.where("split = 'train'") == ["clip-0"]
    assert cache.where("take > 0 or id = 'clip-4' -- that one too") == ["clip-0", "clip-2", "clip-4"]
    assert cache.where(pc.field("take") > 1) == ["clip-2"]
    assert cache.where("label is null") == ["clip-2"]


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("splt = 'train'", 'Referenced column "splt" not found.*columns: .*split'),
        ("split =", "Parser Error"),
        ("end > 1", 'a column whose name .* is a word of SQL such as "end", wants double quotes'),
        ("a.b = 'p'", "a column whose name has blanks or dots, .* wants double quotes"),
        ("nobody > 1", '"nobody" not found(?!.*__)'),
        ("label = run", "text stands in single quotes, 'run'"),
        (" ", "must be a condition"),
        ("id in (select content from read_text('/etc/hostname'))", "disabled by configuration"),
        ("1 = 1) union all select 1 from read_csv('/etc/passwd'", "syntax error"),
        ("true) union all select 7 where (true", "syntax error"),
        (pc.field("splt") == 1, "splt"),
    ],
)
def test_a_condition_that_cannot_be_answered_says_why_in_one_line(path: Path, condition: str, error: str) -> None:
    say_of_cache(path, pa.table(SPLITS))
    with pytest.raises(ConfigError, match=rf"\Awhere \([^\n]*{error}[^\n]*\Z"):
        open_cache(path).where(condition)


def test_a_column_named_like_one_of_the_index_is_kept_apart(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"], "frames": ["many"]}))
    cache = open_cache(path)
    assert cache["clip-0"].metadata == {"given_frames": "many"}
    assert cache.table["frames"].to_pylist() == cache.index["frames"].to_pylist()


def test_a_column_named_like_one_of_a_list_is_kept_apart(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"], "kept": [1], "path": ["b"]}))
    assert open_cache(path)["clip-0"].metadata == {"given_kept": 1, "given_path": "b"}


def test_names_that_differ_by_case_only_are_one_to_sql_and_one_here(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"], "Take": [1], "Frames": [7]}))
    say_of_cache(path, pa.table({"id": ["clip-1"], "label": ["a"], "TAKE": [2]}))
    cache = open_cache(path)
    assert cache["clip-0"].metadata == {"Take": 1, "given_Frames": 7}
    assert (cache.where("take = 2"), cache.where("given_frames = 7")) == (["clip-1"], ["clip-0"])
    assert cache.where("frames = 7") == []
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"]}), {"take": ["clip-0"]})
    assert open_cache(path)["clip-0"].metadata == {"Take": None, "given_Frames": 7}


@pytest.mark.parametrize("column", [pa.array([[1]]), pa.array([b"x"]), pa.array([{"a": 1}])])
def test_a_column_that_cannot_be_kept_is_refused_and_nothing_is_written(path: Path, column: pa.Array) -> None:
    with pytest.raises(CacheError, match=r"column 'odd' .* must have a printable name and hold text"):
        say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"], "odd": column}))
    assert not (path / TABLE).exists()


@pytest.mark.parametrize(
    "table",
    [
        {"id": ["a", "a"], "label": ["", ""], "uri": ["", ""]},
        {"id": ["a\x1b"], "label": [""], "uri": [""]},
        {"id": ["a"], "label": [""]},
        {"id": ["a"], "label": [1], "uri": [""]},
        {"id": ["a"], "label": [""], "uri": [""], "x": [[1]]},
        {"id": ["a"], "label": [""], "uri": [""], "row": [1]},
    ],
)
def test_a_damaged_table_is_told_in_one_line(path: Path, table: dict[str, list[object]]) -> None:
    pq.write_table(pa.table(table), path / TABLE)
    with pytest.raises(CacheError, match=rf"{TABLE} is damaged \([^\n]*\); put it back, or run"):
        open_cache(path)
    assert not verify_cache(path).complete
    repair_cache(path)
    assert verify_cache(path).complete
    assert len(open_cache(path)) == 5
    assert (path / f"{TABLE}.aside").exists()


def test_a_table_that_was_lost_is_told_until_a_repair(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"]}))
    (path / TABLE).unlink()
    with pytest.raises(CacheError, match=rf"{TABLE} is missing; put it back, or run `codecsieve verify"):
        open_cache(path)
    with pytest.raises(CacheError, match=rf"{TABLE} is missing"):  # nor is another made in its place
        say_of_cache(path, pa.table({"id": ["clip-1"], "label": ["b"]}))
    assert not verify_cache(path).complete
    repair_cache(path)
    assert verify_cache(path).complete
    assert len(open_cache(path)) == 5
    say_of_cache(path, pa.table({"id": ["clip-1"], "label": ["b"]}))
    assert open_cache(path)["clip-1"].label == "b"


def test_the_mark_of_a_table_outlives_packs_and_is_plain_zarr(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"]}))
    compact_cache(path)
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["b"]}))
    ours = zarr.open_group(path, mode="r").attrs["codecsieve"]
    assert (ours["format"], ours["table"]) == (2, True)  # type: ignore[index, call-overload]


def test_a_folder_in_the_table_s_place_is_told(path: Path) -> None:
    (path / TABLE).mkdir()
    with pytest.raises(CacheError, match=TABLE):
        open_cache(path)


def test_a_column_of_whole_numbers_takes_reals_and_any_other_text(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"], "take": [1]}))
    say_of_cache(path, pa.table({"id": ["clip-1"], "label": ["a"], "take": [1.5]}))
    assert open_cache(path).table["take"].to_pylist() == [1.0, 1.5, None, None, None]
    say_of_cache(path, pa.table({"id": ["clip-2"], "label": ["a"], "take": ["last"]}))
    assert open_cache(path)["clip-2"].metadata == {"take": "last"}
    assert open_cache(path)["clip-1"].metadata == {"take": "1.5"}


def test_what_is_blank_stays_unless_it_is_to_go(path: Path) -> None:
    say_of_cache(path, pa.table(SPLITS))
    told = pa.table({"id": ["clip-0", "clip-2"], "label": ["a", "b"], "split": [None, "test"]})
    say_of_cache(path, told)
    assert open_cache(path).table["split"].to_pylist() == ["train", None, "test", None, None]
    say_of_cache(path, told, {"split": ["clip-0"], "unheard of": ["clip-2"]})
    assert open_cache(path).table["split"].to_pylist() == [None, None, "test", None, None]


rows = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from("abcde"), "label": st.sampled_from(["x", "y", None])},
        optional={"n": st.one_of(st.none(), st.integers(0, 9))},
    ),
    max_size=5,
    unique_by=lambda row: str(row["id"]),
)


@given(st.lists(rows, max_size=4))
def test_what_was_said_last_holds(sayings: list[list[dict[str, object]]]) -> None:
    table, wanted = NOTHING, dict[object, dict[str, object]]()
    for told in sayings:
        names = ["id", "label", *(["n"] if any("n" in row for row in told) else [])]
        types = {"id": pa.string(), "label": pa.string(), "n": pa.int64()}
        table = said(table, pa.table({name: pa.array([row.get(name) for row in told], types[name]) for name in names}))
        for row in told:
            news = {name: row.get(name) for name in names if name == "label" or row.get(name) is not None}
            wanted.setdefault(row["id"], {"uri": None}).update(news)
    assert {row["id"]: {k: v for k, v in row.items() if v is not None} for row in table.to_pylist()} == {
        key: {k: v for k, v in row.items() if v is not None} for key, row in wanted.items()
    }


def test_a_table_in_the_place_of_a_part_of_the_index_is_told_in_one_line(path: Path) -> None:
    say_of_cache(path, pa.table({"id": ["clip-0"], "label": ["a"]}))
    (path / "index" / "part-000000.parquet").write_bytes((path / TABLE).read_bytes())
    with pytest.raises(CacheError, match=r"part-000000\.parquet is damaged or of another version"):
        open_cache(path)
