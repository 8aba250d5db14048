"""Parts of one cache, written side by side: whole shards, none twice, and the bytes of one run."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import pytest
from cache_cases import CONFIG, LAYOUT, fill, make_clip, make_record, names, same_cache
from forked import Process, processes
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import CHANGES, count_calls, kill_at

from codecsieve.cache import CacheError, CacheWriter, Part, open_cache, verify_cache
from codecsieve.errors import ConfigError

CLIPS = names(300)  # five shards


def fill_part(path: Path, number: int, of: int, count: int = 300) -> list[str]:
    return fill(path, names(count), part=Part(number, of))


@pytest.mark.slow
def test_parts_of_one_cache_are_one_run_s_cache(tmp_path: Path) -> None:
    made = [clip for number in (3, 1, 2) for clip in fill_part(tmp_path / "parts", number, 3)]
    assert sorted(made) == sorted(CLIPS)
    fill(tmp_path / "one", CLIPS)
    assert same_cache(tmp_path / "parts", tmp_path / "one")
    assert fill(tmp_path / "parts", CLIPS) == []
    assert not list((tmp_path / "parts").glob(".lock-*"))


@pytest.mark.slow
def test_runs_of_parts_begin_and_work_at_the_same_time(tmp_path: Path) -> None:
    running = [Process(target=fill_part, args=(tmp_path / "parts", number, 4)) for number in range(1, 5)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * 4
    fill(tmp_path / "one", CLIPS)
    assert same_cache(tmp_path / "parts", tmp_path / "one")


def test_a_part_plans_more_clips_while_another_works(tmp_path: Path) -> None:
    with CacheWriter.open(tmp_path, LAYOUT, CONFIG, part=Part(1, 2)) as first:
        work = first.plan(names(130))
        assert [one.shard for one in work] == [0, 2]
        fill(tmp_path, CLIPS, part=Part(2, 2))
        for one in work:
            first.write_shard(one.shard, {i: make_clip(i) for i in one.ids}, [make_record(i) for i in one.ids])
        assert [one.shard for one in first.plan(CLIPS)] == [2, 4]
    assert len(fill(tmp_path, CLIPS)) == 62 + 44
    assert verify_cache(tmp_path).complete


def test_a_part_sees_its_own_records_only_and_what_is_said_of_all(tmp_path: Path) -> None:
    fill(tmp_path, CLIPS)
    with (
        CacheWriter.open(tmp_path, LAYOUT, CONFIG, part=Part(2, 2)) as second,
        CacheWriter.open(tmp_path, LAYOUT, CONFIG, part=Part(1, 2)) as first,
    ):
        second.look_at(CLIPS)
        assert second.index()["id"].to_pylist() == second.own(CLIPS) == [*CLIPS[64:128], *CLIPS[192:256]]
        first.say(pa.table({"id": ["clip-0"], "label": ["zero"]}))
        second.say(pa.table({"id": ["clip-64"], "label": ["four"]}))
    assert [open_cache(tmp_path)[clip].label for clip in ("clip-0", "clip-64")] == ["zero", "four"]


def hold(path: Path, part: Part, ready: Connection) -> None:
    with CacheWriter.open(path, LAYOUT, CONFIG, part=part):
        ready.send(None)
        ready.recv()


@pytest.mark.parametrize(
    ("held", "asked", "said"),
    [
        (Part(1, 2), Part(1, 2), "is being written by process"),
        (Part(1, 2), Part(1, 1), "is being written by another process"),
        (Part(1, 1), Part(1, 2), "is being written by process"),
        (Part(1, 2), Part(2, 3), "is being written in 2 parts, not 3: their shards overlap; use --part .../2"),
    ],
)
def test_what_would_write_the_same_shards_is_refused(tmp_path: Path, held: Part, asked: Part, said: str) -> None:
    ours, theirs = processes.Pipe()
    process = Process(target=hold, args=(tmp_path, held, theirs))
    process.start()
    ours.recv()
    with pytest.raises(CacheError, match=said):
        CacheWriter.open(tmp_path, LAYOUT, CONFIG, part=asked)
    ours.send(None)
    process.join()
    CacheWriter.open(tmp_path, LAYOUT, CONFIG, part=asked).close()


@pytest.mark.parametrize("part", [Part(1, 1), Part(1, 2)])
def test_a_cache_that_cannot_be_opened_is_not_held(tmp_path: Path, part: Part) -> None:
    fill(tmp_path, names(2))
    plan = (tmp_path / "plan.parquet").read_bytes()
    (tmp_path / "plan.parquet").write_bytes(b"")
    with pytest.raises(CacheError, match=r"plan.parquet is damaged") as caught:  # noqa: F841 - its frames live on
        CacheWriter.open(tmp_path, LAYOUT, CONFIG, part=part)
    (tmp_path / "plan.parquet").write_bytes(plan)
    CacheWriter.open(tmp_path, LAYOUT, CONFIG).close()


def test_a_part_of_another_config_is_refused(tmp_path: Path) -> None:
    fill_part(tmp_path, 1, 2)
    with pytest.raises(CacheError, match=r"was made with fuse=weighted, you asked max"):
        fill(tmp_path, CLIPS, config=CONFIG | {"fuse": "max"}, part=Part(2, 2))


@pytest.mark.parametrize("numbers", [(0, 1), (3, 2), (-1, 4)])
def test_a_part_that_there_is_not_is_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"part .* must be one of"):
        Part(*numbers)


@pytest.mark.slow
def test_a_part_that_is_killed_is_finished_by_the_next_and_harms_no_other(tmp_path: Path) -> None:
    fill(tmp_path / "one", names(130))
    for call in range(count_calls(CHANGES, fill_part, tmp_path / "counted", 1, 2, 130)):
        path = tmp_path / f"killed-{call}"
        kill_at(call, fill_part, path, 1, 2, 130)
        fill_part(path, 2, 2, 130)
        fill_part(path, 1, 2, 130)
        fill(path, names(130))  # clears half-written files away
        assert same_cache(path, tmp_path / "one"), f"killed at change {call}"


@pytest.mark.slow
@settings(max_examples=8)
@given(st.integers(1, 7), st.randoms(use_true_random=False), st.sets(st.sampled_from(CLIPS), max_size=9))
def test_any_number_of_parts_in_any_order_is_one_run(
    tmp_path_factory: pytest.TempPathFactory, of: int, random: object, failing: set[str]
) -> None:
    path = tmp_path_factory.mktemp("parts")
    numbers = list(range(1, of + 1))
    random.shuffle(numbers)  # type: ignore[attr-defined]
    for number in numbers:
        fill(path / "parts", CLIPS, failing, part=Part(number, of))
    fill(path / "one", CLIPS, failing)
    assert same_cache(path / "parts", path / "one")
