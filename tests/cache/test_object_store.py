"""A cache in an object store, against moto's S3 server: the clips of a local one, whatever the line does, whoever else
writes, and wherever a process is killed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from buckets import bucket
from cache_cases import CONFIG, LAYOUT, fill, make_clip, make_record, names
from forked import Process
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.faults.s3_line import KEYS, Fault, Line, environment
from codecsieve import objects
from codecsieve.cache import (
    CacheError,
    CacheWriter,
    Layout,
    Part,
    compact_cache,
    drop_clips,
    lease,
    merge_caches,
    open_cache,
    repair_cache,
    say_of_cache,
    verify_cache,
    writer,
)
from codecsieve.cache.location import Location
from codecsieve.errors import CodecsieveError, ConfigError
from codecsieve.files import HeldError, lock
from codecsieve.objects import ChangedError, Objects, Version

pytest.importorskip("obstore", reason="object stores need obstore")
pytest.importorskip("moto", reason="the S3 server is moto's")


@pytest.fixture(scope="module")
def server() -> Iterator[Line]:
    with bucket("bucket") as line:
        yield line


@pytest.fixture
def line(server: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    server.seen.clear()
    server.log.clear()
    yield server
    server.fault = lambda method, path: ""


_numbers = iter(range(1 << 30))


@pytest.fixture
def url(line: Line) -> str:
    return new_url()


def new_url() -> str:
    return f"s3://bucket/caches/{next(_numbers)}"


def content(path: str | Path) -> dict[str, dict[str, Any]]:
    """What a cache has of each clip, by id: its pixels, and what the index says, but for the time it took."""
    cache = open_cache(path)
    cache.verify()
    rows = {row["id"]: {k: v for k, v in row.items() if k != "seconds"} for row in cache.table.to_pylist()}
    for clip in cache:
        np.testing.assert_array_equal(clip.patches, make_clip(clip.clip_id).patches)
        np.testing.assert_array_equal(clip.scores, make_clip(clip.clip_id).scores)
    return rows


def without_rows(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {clip_id: {k: v for k, v in row.items() if k != "row"} for clip_id, row in rows.items()}


def files_of(url: str) -> dict[str, bytes]:
    bucket = Location.of(url).bucket
    assert bucket is not None
    return {name: bytes(bucket.objects.read(name)[0]) for name, _ in bucket.objects.walk()}


# --- the same as in a folder


@pytest.mark.slow
def test_files_are_those_of_a_folder(url: str, tmp_path: Path) -> None:
    for path in (url, tmp_path):
        assert fill(path, names(70), failing={"clip-3"}) == names(70)
        assert fill(path, names(130), failing={"clip-3"}) == names(130)[70:]
        assert fill(path, names(130), retry_failed=True) == ["clip-3"]
    local = {str(f.relative_to(tmp_path)): f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    del local[".lock"]
    stored = files_of(url)
    assert stored.keys() == local.keys()
    assert {n: d for n, d in stored.items() if "index" not in n} == {n: d for n, d in local.items() if "index" not in n}
    assert content(url) == content(tmp_path)
    assert verify_cache(url).complete


@pytest.mark.slow
def test_every_form_reads_the_same(url: str, tmp_path: Path) -> None:
    fill(url, names(70))
    wanted = ["clip-69", "clip-3", "clip-3", "clip-4", "clip-5", "clip-0"]
    forms: list[Any] = [
        open_cache(url).read(wanted),
        open_cache(url, form="zarr").read(wanted),
        open_cache(url, cache_shards=tmp_path / "copies").read(wanted),
    ]
    for batch in forms:
        assert list(batch.clip_ids) == wanted
        for pixels, clip_id in zip(batch.patches, wanted, strict=True):
            np.testing.assert_array_equal(pixels, make_clip(clip_id).patches)


@pytest.mark.slow
def test_a_url_s_key_is_taken_as_it_is(line: Line, tmp_path: Path) -> None:
    url = "s3://bucket/caches/100% \u00fc #1? %20+&=/cache"
    fill(url, names(3))
    assert any(path.endswith("?%20%25%20%C3%BC") or "%2520" in path for _, path, _ in line.log)
    for options in ({}, {"form": "zarr"}, {"cache_shards": tmp_path}):
        assert open_cache(url, **options).read(["clip-2"]).clip_ids == ("clip-2",)
    assert "caches/100% \u00fc #1? %20+&=/cache/zarr.json" in [name for name, _ in Objects("s3://bucket").walk()]


@pytest.mark.slow
def test_a_shard_that_was_replaced_is_read_anew_even_where_the_store_takes_no_conditions(line: Line) -> None:
    layout, url = Layout(num_frames=4, k_keep=64, patch=14), new_url()  # 2.4 MB of patches a shard: read by ranges
    fill(url, names(64)[32:], layout=layout)
    cache = open_cache(url)
    cache.read(["clip-63"])
    line.fault = lambda method, path: "unconditional" if method == "GET" else ""
    drop_clips(url, ["clip-40"])  # and every chunk behind it lies elsewhere
    for clip_id in ("clip-63", "clip-41"):
        np.testing.assert_array_equal(cache[clip_id].patches, make_clip(clip_id, layout).patches)


def test_options_say_what_the_environment_does_not(url: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(url, names(3))
    for name in environment(line):
        monkeypatch.delenv(name)
    told = {"endpoint": line.endpoint, "access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
    cache = open_cache(url, storage_options=told)
    assert len(cache) == 3
    assert "secret" not in repr(cache._location)


@pytest.mark.slow
def test_a_batch_takes_few_requests(url: str, line: Line) -> None:
    layout = Layout(num_frames=4, k_keep=64, patch=14)  # 2.4 MB of patches a shard: read by ranges
    fill(url, names(256), layout=layout)
    cache = open_cache(url)
    cache.read(range(0, 256, 64))  # the indices of all shards
    line.log.clear()
    scattered = list(range(0, 256, 2))
    cache.read(scattered)
    assert len(line.log) == len(scattered)
    assert all(method == "GET" and "/patches/" in path and bounds for method, path, bounds in line.log)
    line.log.clear()
    cache.read(range(128))  # together: one range a shard
    assert len(line.log) == 2


@pytest.mark.slow
def test_resuming_asks_little_and_writes_nothing(url: str, line: Line) -> None:
    fill(url, names(130))
    line.log.clear()
    assert fill(url, names(130)) == []
    assert [path for method, path, _ in line.log if method == "PUT" and ".lock" not in path] == []


# --- copies on the disk


def test_no_copy_is_renamed_while_others_look_for_room(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They might see it under neither name, and take its room for free."""
    fill(url, names(3))
    copies, real = tmp_path / "copies", os.replace
    renamed: list[None] = []

    def replace(source: Path, target: Path) -> None:
        with pytest.raises(HeldError):
            lock(copies / ".lock", copies)
        renamed.append(real(source, target))

    cache = open_cache(url, cache_shards=copies)
    monkeypatch.setattr(os, "replace", replace)
    cache.read(range(3))
    assert renamed


@pytest.mark.slow
def test_copies_are_bounded_and_never_out_of_date(url: str, tmp_path: Path, line: Line) -> None:
    fill(url, names(256))
    copies, room = tmp_path / "copies", 20_000  # a shard has 5.1 kB of each array
    cache = open_cache(url, cache_shards=copies, cache_size=room)
    for _ in range(2):
        cache.read(random.sample(range(256), 256))
        assert 0 < sum(file.stat().st_size for file in copies.iterdir() if file.name != ".lock") <= room
    drop_clips(url, ["clip-0"])
    fill(url, ["clip-300"])  # takes the row that is free
    again = open_cache(url, cache_shards=copies, cache_size=room)
    np.testing.assert_array_equal(again["clip-300"].patches, make_clip("clip-300").patches)


@pytest.mark.slow
def test_copies_whose_making_broke_off_are_made_again(
    url: str, tmp_path: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_PAUSE", 0.0)
    fill(url, names(130))
    cache, numbers = open_cache(url, cache_shards=tmp_path), iter(range(1 << 30))
    line.fault = lambda method, path: "cut" if method == "GET" and next(numbers) % 2 else ""
    for clip, clip_id in zip(cache.read(range(130)).patches, names(130), strict=True):
        np.testing.assert_array_equal(clip, make_clip(clip_id).patches)
    assert len(list(tmp_path.glob("*.shard"))) == 12
    assert not list(tmp_path.glob("*.partial"))


def read_all(url: str, copies: Path, seed: int) -> None:
    cache = open_cache(url, cache_shards=copies, cache_size="30 KB")
    for _ in range(2):
        batch = cache.read(random.Random(seed).sample(range(256), 256))
        for pixels, clip_id in zip(batch.patches, batch.clip_ids, strict=True):
            np.testing.assert_array_equal(pixels, make_clip(clip_id).patches)


@pytest.mark.slow
def test_copies_are_shared_by_processes(url: str, tmp_path: Path) -> None:
    fill(url, names(256))
    run_all([(read_all, (url, tmp_path, seed)) for seed in range(3)])
    assert not list(tmp_path.glob("*.partial"))
    assert sum(file.stat().st_size for file in tmp_path.glob("*.shard")) <= 30_000


@pytest.mark.parametrize("folder", ["s3://bucket/copies", Path("s3://bucket/copies"), "file:///copies"])
def test_copies_lie_on_this_machine(folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"cache_shards .* must be a folder on this machine, not a URL"):
        open_cache("s3://bucket/cache", cache_shards=folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["lots", -1, "5 QB"])
def test_a_size_that_is_none_is_refused(size: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cache_size .* must be a size"):
        open_cache(tmp_path, cache_shards=tmp_path, cache_size=size)


# --- several writers


def run_all(jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
    running = [Process(target=act, args=arguments) for act, arguments in jobs]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * len(running)


@pytest.mark.slow
def test_four_writers_of_one_cache_lose_nothing_and_make_nothing_twice(url: str) -> None:
    run_all([(fill, (url, names(200))) for _ in range(4)])
    assert content(url).keys() == set(names(200))
    assert verify_cache(url).complete


@pytest.mark.slow
def test_writers_of_other_clips_and_parts_share_a_cache(url: str) -> None:
    run_all([
        (fill, (url, names(100))),
        (fill, (url, names(200)[90:])),
        (fill_part, (url, 1, 2)),
        (fill_part, (url, 2, 2)),
    ])  # fmt: skip
    assert fill(url, names(200)) == []
    assert content(url).keys() == set(names(200))
    assert verify_cache(url).complete


def fill_part(url: str, number: int, of: int) -> None:
    fill(url, names(200), part=Part(number, of))


@pytest.mark.slow
def test_of_two_conditional_puts_one_is_done_200_times(url: str) -> None:
    both = [Objects(url) for _ in range(2)]

    def put(which: int, number: int, replacing: Version | None) -> bool:
        with suppress(ChangedError):
            both[which].put(f"{number}", [b"%d" % which], replacing)
            return True
        return False

    with ThreadPoolExecutor(2) as threads:
        for number in range(100):
            first: Version | None = None
            for _ in range(2):
                done = list(threads.map(put, (0, 1), (number, number), (first, first)))
                data, _ = both[0].read(f"{number}")
                assert sorted(done) == [False, True]
                assert done[int(bytes(data))]
                first = both[0].overwrite(f"{number}", [b"between"])


@pytest.mark.slow
def test_of_two_writers_of_a_shard_one_publishes(url: str) -> None:
    """Each knows of no part of the index, and each has put its shard: whoever comes second keeps what is there."""
    writers = [CacheWriter.open(url, LAYOUT, CONFIG) for _ in range(2)]
    count = 20
    ids = [f"clip-{number}" for number in range(count * 64)]
    shards = [ids[64 * shard : 64 * shard + 2] for shard in range(count)]
    with writers[0], writers[1]:
        for writer in writers:
            writer.plan(ids)

        def write(which: int, shard: int) -> pa.Table:
            seconds = [make_record(clip_id) for clip_id in shards[shard]]
            writers[which].write_shard(shard, {i: make_clip(i) for i in shards[shard]}, seconds)
            return writers[which]._parts[shard]

        with ThreadPoolExecutor(2) as threads:
            for shard in range(count):
                one, other = threads.map(write, (0, 1), (shard, shard))
                assert one.equals(other), shard  # to the seconds, which the two have measured otherwise
    cache = open_cache(url)
    assert len(cache) == 2 * count
    cache.verify()


@pytest.mark.slow
def test_a_shard_gains_what_each_of_two_writers_has(url: str) -> None:
    """One plans the clips of another, puts its shard in the place of the other's, and is asleep before its part."""
    with CacheWriter.open(url, LAYOUT, CONFIG) as one, CacheWriter.open(url, LAYOUT, CONFIG) as other:
        one.plan(["clip-0", "clip-1"])
        other.plan(["clip-0", "clip-1", "clip-2"])
        other.write_shard(0, {"clip-2": make_clip("clip-2")}, [make_record("clip-2")])
        mine = {"clip-0": make_clip("clip-0")}
        one.write_shard(0, mine, [make_record("clip-0"), make_record("clip-1", failed=True)])
        assert open_cache(url).clip_ids == ["clip-0", "clip-2"]
        other.write_shard(0, {"clip-1": make_clip("clip-1")}, [make_record("clip-1")])  # which did not fail for it
        assert other.index()["id"].to_pylist() == ["clip-0", "clip-1", "clip-2"]
    assert content(url).keys() == {"clip-0", "clip-1", "clip-2"}


@pytest.mark.slow
def test_what_another_plans_and_publishes_while_one_opens_is_no_contradiction(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(url, names(3))
    readers: list[Callable[..., Any]] = [writer.read_plan, writer.last_shards, writer.read_records]
    for read in readers:
        other = iter([names(6)])

        def first(*asked: Any, read: Callable[..., Any] = read, other: Iterator[list[str]] = other) -> Any:
            there = read(*asked)
            for ids in other:  # once, and itself undisturbed
                fill(url, ids)
            return there

        with monkeypatch.context() as patch:
            patch.setattr(writer, read.__name__, first)
            assert set(fill(url, names(9))) >= set(names(9)[6:])
        assert content(url).keys() == set(names(9))
        drop_clips(url, names(9)[3:])
    assert verify_cache(url).complete


@pytest.mark.slow
def test_labels_of_two_writers_are_both_kept(url: str) -> None:
    fill(url, names(3))
    with CacheWriter.open(url, LAYOUT, CONFIG) as one, CacheWriter.open(url, LAYOUT, CONFIG) as other:
        one.say(pa.table({"id": ["clip-0"], "label": ["zero"]}))
        other.say(pa.table({"id": ["clip-1"], "label": ["one"]}))
        say_of_cache(url, pa.table({"id": ["clip-2"], "label": ["two"]}))
    assert open_cache(url).labels == ["zero", "one", "two"]


# --- who takes something away


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TTL", 3.0)  # less, and a busy machine is taken for dead
    monkeypatch.setattr(lease, "BEAT", 0.2)
    monkeypatch.setattr(lease, "_LOOK", 0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_who_takes_something_away_must_be_alone(url: str) -> None:
    fill(url, names(3))
    with CacheWriter.open(url, LAYOUT, CONFIG):
        for act in (compact_cache, repair_cache, lambda path: drop_clips(path, ["clip-0"])):
            with pytest.raises(CacheError, match=rf"is being written by process {os.getpid()} on .*; wait for it"):
                act(url)
    assert drop_clips(url, ["clip-0"]).clips == 1
    assert open_cache(url).clip_ids == names(3)[1:]


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("days", [-20_000, 20_000])
def test_who_is_alive_is_told_by_the_store_s_clock(url: str, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Objects.entries

    def entries(self: Objects, folder: str) -> dict[str, objects.Stat]:
        skew = timedelta(days=days)
        return {name: replace(stat, modified=stat.modified + skew) for name, stat in real(self, folder).items()}

    monkeypatch.setattr(Objects, "entries", entries)
    fill(url, names(3))
    with CacheWriter.open(url, LAYOUT, CONFIG), pytest.raises(CacheError, match="is being written by process"):
        compact_cache(url)
    assert compact_cache(url).parts == 1


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_dead_process_s_hold_ends_and_is_removed(url: str) -> None:
    fill(url, names(3))
    bucket = Location.of(url).bucket
    assert bucket is not None
    bucket.objects.overwrite(".lock-alone-0123", [b"process 1 on nowhere"])
    began = time.monotonic()
    assert fill(url, names(4)) == ["clip-3"]
    assert 0.5 < time.monotonic() - began < 20
    assert not [name for name in files_of(url) if name.startswith(".lock")]


def test_a_process_that_slept_too_long_writes_no_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with CacheWriter.open(url, LAYOUT, CONFIG) as writer:
        (work,) = writer.plan(names(2))
        monkeypatch.setattr(lease, "_awake", lambda: time.monotonic() + 1e6)
        with pytest.raises(CacheError, match="was asleep, or the store out of reach"):
            writer.write_shard(0, {i: make_clip(i) for i in work.ids}, [make_record(i) for i in work.ids])
    assert len(open_cache(url)) == 0


@pytest.mark.slow
def test_a_lease_that_others_removed_is_lost(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    with CacheWriter.open(url, LAYOUT, CONFIG) as writer:
        (work,) = writer.plan(names(1))
        Objects(url).remove([name for name in files_of(url) if name.startswith(".lock")])
        time.sleep(0.5)
        with pytest.raises(CacheError, match="was asleep, or the store out of reach"):
            writer.write_shard(0, {i: make_clip(i) for i in work.ids}, [make_record(i) for i in work.ids])


# --- stores that are not as S3


def test_a_store_that_takes_a_conditional_put_for_a_plain_one_is_not_written(line: Line, url: str) -> None:
    line.fault = lambda method, path: "unconditional" if method == "PUT" else ""
    with pytest.raises(CacheError, match=rf"^cannot write {url}: its store .* make the cache in a folder, and copy it"):
        fill(url, names(1))
    assert not files_of(url)


def test_a_store_that_heeds_only_whether_there_is_something_is_not_written(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as knows `If-None-Match: *` only."""
    real = Objects.put

    def put(self: Objects, key: str, parts: Any, replacing: Version | None) -> Version:
        return real(self, key, parts, None) if replacing is None else self.overwrite(key, parts)

    monkeypatch.setattr(Objects, "put", put)
    with pytest.raises(CacheError, match="make the cache in a folder, and copy it there"):
        fill(url, names(1))
    assert not files_of(url)


@pytest.mark.slow
def test_a_store_that_knows_versions_without_quotes_is_written(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceph's, and what is made of it."""
    real = Objects._put

    def put(self: Objects, key: str, parts: Any, mode: Any) -> Version:
        if isinstance(mode, dict):
            etag = mode["e_tag"]
            mode = {**mode, "e_tag": '"another"' if etag.startswith('"') else f'"{etag}"'}
        return real(self, key, parts, mode)

    monkeypatch.setattr(Objects, "_put", put)
    fill(url, names(3))
    assert fill(url, names(70)) == names(70)[3:]
    drop_clips(url, ["clip-1"])
    assert content(url).keys() == set(names(70)) - {"clip-1"}


# --- what goes wrong


@pytest.mark.slow
def test_whatever_the_line_does_the_cache_is_whole(line: Line) -> None:
    url, chance = new_url(), random.Random(5)

    def fault(method: str, path: str) -> Fault:
        kinds: list[Fault] = ["500", "late 500", "slow", "cut", "lost"]
        return chance.choice(kinds) if chance.random() < 0.15 else ""

    line.fault = fault
    for count in (70, 130):
        fill(url, names(count))
        read = open_cache(url).read(range(count))
        assert list(read.clip_ids) == names(count)
    compact_cache(url)
    drop_clips(url, ["clip-1"])
    line.fault = lambda method, path: ""
    assert content(url).keys() == set(names(130)) - {"clip-1"}
    assert verify_cache(url).complete


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["lost", "late 500"])
def test_a_put_whose_answer_is_lost_is_not_taken_for_another_s(line: Line, url: str, broken: Fault) -> None:
    lost: set[str] = set()

    def fault(method: str, path: str) -> Fault:
        if method == "PUT" and path not in lost and ".lock" not in path:
            lost.add(path)
            return broken
        return ""

    line.fault = fault
    assert fill(url, names(70)) == names(70)
    assert len(lost) > 10
    assert verify_cache(url).complete


@pytest.mark.parametrize(
    ("where", "fault", "said"),
    [
        ("s3://no-such-bucket/cache", "", r"cannot (read|write) s3://no-such-bucket/cache\S*: there is no such bucket"),
        ("", "denied", r"cannot write s3://bucket/\S*: the store answered 403 Forbidden \(AccessDenied\); check the b"),
        (
            "",
            "full",
            r"cannot write s3://bucket/\S*: the bucket is full \(the store answered 507 .*\(XMinioStorageFull",
        ),
    ],
)
def test_a_bucket_that_is_missing_or_read_only_or_full_is_one_line(
    line: Line, url: str, where: str, fault: Fault, said: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(objects, "_RETRIES", {**objects._RETRIES, "max_retries": 1})
    line.fault = lambda method, path: fault if method == "PUT" else ""
    with pytest.raises(CacheError, match=said) as caught:
        fill(where or url, names(2))
    told = str(caught.value) + repr(caught.value.__cause__) + caplog.text
    assert "\n" not in str(caught.value)
    assert not any(secret in told for secret in (KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]))


def test_reading_what_is_no_cache_is_one_line(url: str) -> None:
    with pytest.raises(CacheError, match=rf"{url} is not a cache: it has no zarr.json"):
        open_cache(url)
    Location.of(url).publish("something", [b"else"])
    with pytest.raises(CacheError, match="is not empty and not a cache; use another --out"):
        fill(url, names(1))


@pytest.mark.parametrize("url", ["s3://user:password@bucket/cache", "s3://bucket/cache?X-Amz-Signature=password"])
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="must not hold a") as caught:
        open_cache(url)
    assert "password" not in re.sub("user or password|query or signature", "", str(caught.value))


@pytest.mark.parametrize("url", ["s3://bucket/a//b", "s3://bucket//a", "s3://bucket/a/../b", "gs://bucket/./a"])
def test_a_url_that_obstore_would_take_for_another_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="must not have an empty part"):
        open_cache(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("az://box/cache", {"AZURE_STORAGE_SAS_TOKEN": "sv=2020&sig=telltale"}),
        ("az://box/cache", {"AZURE_STORAGE_ACCOUNT_KEY": "telltale"}),
        ("az://box/cache", {"AZURE_STORAGE_ACCOUNT_KEY": "dGVsbHRhbGU="}),
        ("az://box/cache", {"AZURE_STORAGE_CLIENT_SECRET": "telltale", "AZURE_STORAGE_CLIENT_ID": "a",
                            "AZURE_STORAGE_TENANT_ID": "b", "AZURE_STORAGE_AUTHORITY_HOST": "http://127.0.0.1:1"}),
        ("gs://box/cache", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"private_key": "telltale"}'}),
        ("gs://box/cache", {"GOOGLE_SERVICE_ACCOUNT_KEY": "telltale"}),
        ("s3://box/cache", {"AWS_SESSION_TOKEN": "telltale"}),
    ],
)  # fmt: skip
def test_no_store_s_keys_are_in_what_is_said(
    url: str, told: dict[str, str], line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(objects, "_RETRIES", {**objects._RETRIES, "max_retries": 0})
    monkeypatch.setattr(objects, "_PAUSE", 0.0)
    given = {
        "AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ENDPOINT": line.endpoint, **told,
        "GOOGLE_BASE_URL": line.endpoint, "AWS_SECRET_ACCESS_KEY": "telltale",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    line.fault = lambda method, path: "lost"
    with pytest.raises(CodecsieveError) as caught:
        open_cache(url)
    assert "\n" not in str(caught.value)
    text = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(Location.of(url))
    assert not any(secret in text for secret in ("telltale", "dGVsbHRhbGU"))


@pytest.mark.slow
def test_lost_and_damaged_objects_are_found_and_made_again(url: str) -> None:
    fill(url, names(130))
    bucket = Location.of(url).bucket
    assert bucket is not None
    objects = bucket.objects
    objects.remove(["scores/c.0.0", "plan.parquet", "positions/zarr.json"])
    (patches,) = [name for name, _ in objects.walk() if name.startswith("patches/c.1.")]
    objects.overwrite(patches, [bytes(objects.read(patches)[0])[:-1]])
    objects.overwrite("index/part-000002.parquet", [b"nothing"])
    found = repair_cache(url)
    assert len(found.damages) >= 5
    assert not verify_cache(url).damages
    assert sorted(fill(url, names(130))) == sorted(names(130))
    assert content(url).keys() == set(names(130))
    assert verify_cache(url).complete


# --- killed


def work_for_ever(url: str) -> None:
    for count in range(64, 1 << 20, 40):
        fill(url, names(count), failing={"clip-7"})


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_writers_killed_at_any_instant_lose_nothing_that_is_published(url: str) -> None:
    chance = random.Random(11)
    fill(url, names(64), failing={"clip-7"})
    known = set(open_cache(url).clip_ids)
    for _ in range(5):
        running = [Process(target=work_for_ever, args=(url,)) for _ in range(2)]
        for process in running:
            process.start()
        time.sleep(chance.uniform(0.3, 2.5))
        for process in running:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        now = set(open_cache(url).clip_ids)
        assert known <= now
        known = now
        assert not verify_cache(url).damages
    count = 64 * (len(known) // 64 + 3)
    fill(url, names(count), retry_failed=True)
    assert content(url).keys() >= set(names(count))
    assert verify_cache(url).complete


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("act", [compact_cache, drop_clips, merge_caches])
def test_what_takes_away_or_merges_is_finished_after_a_kill(act: Callable[..., Any], line: Line) -> None:
    """Killed at some of its changes: all are puts and deletes, so what lies between two of them is the same. At each of
    them it is by `python -m benchmarks.faults.stores`.
    """
    other = new_url()
    fill(other, names(80)[60:])
    rest: tuple[Any, ...] = {compact_cache: (), drop_clips: (names(130)[:3],), merge_caches: ([other],)}[act]
    whole = new_url()
    fill(whole, names(70))
    line.log.clear()
    act(whole, *rest)
    changes = sum(method in ("PUT", "POST", "DELETE") and ".lock" not in path for method, path, _ in line.log)
    wanted = content(whole)
    for number in sorted(random.Random(3).sample(range(changes), min(changes, 2))):
        url = new_url()
        fill(url, names(70))
        process = Process(target=act, args=(url, *rest))
        seen = iter(range(1 << 30))

        def fault(method: str, path: str, number: int = number, process: Any = process, seen: Any = seen) -> Fault:
            if method in ("PUT", "POST", "DELETE") and ".lock" not in path and next(seen) == number:
                os.kill(process.pid, signal.SIGKILL)
                return "500"
            return ""

        line.fault = fault
        process.start()
        process.join()
        line.fault = lambda method, path: ""
        assert process.exitcode == -signal.SIGKILL, number
        CacheWriter.open(url, LAYOUT, CONFIG).close()  # which finishes a drop
        act(url, *([i for i in rest[0] if i in open_cache(url)],) if act is drop_clips else rest)
        assert content(url) == wanted, number
        assert verify_cache(url).complete


# --- any interleaving


CLIPS = names(100)
ACTS = st.one_of(
    st.tuples(st.just("fill"), st.lists(st.sampled_from(CLIPS), min_size=1, max_size=90, unique=True)),
    st.tuples(st.just("part"), st.integers(1, 3)),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("drop"), st.lists(st.sampled_from(CLIPS), min_size=1, max_size=5, unique=True)),
    st.tuples(st.just("merge"), st.lists(st.sampled_from(CLIPS), min_size=1, max_size=20, unique=True)),
)


def do(path: str | Path, act: str, told: Any, beside: str | Path) -> None:
    if act == "fill":
        fill(path, told)
    elif act == "part":
        fill(path, CLIPS[:90], part=Part(told, 3))
    elif act == "compact":
        compact_cache(path)
    elif act == "drop":
        planned = set(open_cache(path).clip_ids)
        drop_clips(path, [clip_id for clip_id in told if clip_id in planned])
    else:
        fill(beside, told)
        merge_caches(path, [beside])


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(st.lists(ACTS, min_size=1, max_size=4))
def test_whatever_is_done_a_bucket_has_the_clips_of_a_folder(
    server: Line, tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, Any]]
) -> None:
    url, path = new_url(), tmp_path_factory.mktemp("cache") / "cache"
    for place in (url, path):
        fill(place, CLIPS[:10])
        for number, (act, told) in enumerate(acts):
            do(place, act, told, f"{place}-{number}")
    assert content(url) == content(path)
    assert verify_cache(url) == verify_cache(path)
