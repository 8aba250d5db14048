"""Killed or out of room at any moment: nothing published is lost, a second run ends with the same bytes."""

from __future__ import annotations

import errno
import os
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from cache_cases import LAYOUT, array_files, assert_published_clips_are_whole, fill, names, same_cache
from forked import Process, processes
from kills import CHANGES, count_calls, each_call, kill_at

from codecsieve.errors import CacheError

pytestmark = pytest.mark.slow

REFUSALS = ("mkdir", "replace", "fsync")  # where a full disk or a broken one can say no


def grow(path: Path) -> None:
    """A run with a failed clip, then one that retries it and adds a clip to the shard."""
    fill(path, names(2), failing={"clip-0"})
    fill(path, names(3), retry_failed=True)


def grow_in_little_room(path: Path, file_bytes: int, answer: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
    try:
        grow(path)
    except CacheError as error:
        answer.send(str(error))


def fill_forever(path: Path) -> None:
    for count in range(64, 1 << 20, 64):
        fill(path, names(count))


def test_killed_before_any_change_a_second_run_finishes_with_the_same_bytes(tmp_path: Path) -> None:
    calls = count_calls(CHANGES, grow, tmp_path / "whole")
    assert calls > 20
    for call in range(calls):
        cache = tmp_path / f"killed-{call}"
        kill_at(call, grow, cache)
        assert_published_clips_are_whole(cache)
        grow(cache)
        assert same_cache(cache, tmp_path / "whole"), f"killed at change {call}"


def test_out_of_room_at_any_step_is_one_line_and_a_second_run_finishes(tmp_path: Path) -> None:
    for call in range(count_calls(REFUSALS, grow, tmp_path / "whole")):
        cache = tmp_path / f"full-{call}"

        def refuse(number: int, call: int = call) -> None:
            if number == call:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with (
            each_call(REFUSALS, refuse),
            pytest.raises(CacheError, match=r"^cannot write .*full-.*: No space left on device; make room"),
        ):
            grow(cache)
        assert not list(cache.rglob("*.partial"))
        assert_published_clips_are_whole(cache)
        grow(cache)
        assert same_cache(cache, tmp_path / "whole"), f"full at step {call}"


@pytest.mark.parametrize("file_bytes", [100, 1100, 1150, 2000])
def test_a_file_that_does_not_fit_is_one_line_that_names_it(tmp_path: Path, file_bytes: int) -> None:
    cache = tmp_path / "cache"
    ours, theirs = processes.Pipe(duplex=False)
    process = Process(target=grow_in_little_room, args=(cache, file_bytes, theirs))
    process.start()
    process.join()
    theirs.close()
    message = ours.recv()
    assert message.startswith(f"cannot write {cache}/")
    assert "File too large; make room" in message
    assert not list(cache.rglob("*.partial"))
    grow(cache)
    grow(tmp_path / "whole")
    assert same_cache(cache, tmp_path / "whole")


def test_killed_at_a_moment_of_its_own_everything_published_is_whole(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = Process(target=fill_forever, args=(cache,))
    process.start()
    parts = []
    patience = time.monotonic() + 60
    while len(parts) < 4 and time.monotonic() < patience:
        time.sleep(0.01)
        parts = list((cache / "index").glob("part-*.parquet"))
    process.kill()
    process.join()
    assert len(parts) >= 4
    assert_published_clips_are_whole(cache)
    planned = names(64 * (len(list((cache / "index").glob("part-*.parquet"))) + 1))
    fill(cache, planned)
    fill(tmp_path / "whole", planned)
    assert same_cache(cache, tmp_path / "whole")


def test_what_a_killed_run_left_of_a_clip_that_now_fails_is_removed(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2))
    (tmp_path / "cache" / "index" / "part-000000.parquet").unlink()
    fill(tmp_path / "cache", names(2), failing=names(2))
    fill(tmp_path / "clean", names(2), failing=names(2))
    assert same_cache(tmp_path / "cache", tmp_path / "clean")


def test_half_written_files_are_cleared_away_on_opening(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2))
    for folder in ("", "index", *(array.name for array in LAYOUT.arrays())):
        (tmp_path / "cache" / folder / "c.0.partial").write_bytes(b"half")
    fill(tmp_path / "cache", names(2))
    assert not [name for name in array_files(tmp_path / "cache") if name.endswith(".partial")]
    assert not list((tmp_path / "cache" / "index").glob("*.partial"))
