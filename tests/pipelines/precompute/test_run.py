"""A run over many clips: the same bytes however it is run, and nothing lost whatever happens to it."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from children import children_with
from runs import SMALL, start, wait_for_a_shard, write_manifest

import codecsieve.pipelines.precompute.outcome as module
from codecsieve.cache import open_cache
from codecsieve.errors import CacheError, ManifestError
from codecsieve.pipelines.config import METHOD, SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.precompute.summary import Progress, RunSummary

pytestmark = pytest.mark.slow

MakeVideo = Callable[..., Path]
CacheContent = Callable[[Path], dict[str, object]]
ROWS = 300  # four shards and a bit: more than can be done while the first is still on its way to the disk


@pytest.fixture(scope="module")
def clip(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=60)


@pytest.fixture(scope="module")
def manifest(clip: Path) -> Path:
    """Many parts of one clip, and one file that is not there."""
    return write_manifest(clip, ROWS)


@pytest.fixture(scope="module")
def uninterrupted(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("uninterrupted") / "cache"
    precompute(read_inputs([manifest]), cache, SMALL, workers=2)
    return cache


def errors(cache: Path) -> dict[str, str | None]:
    """The error of every clip of the index, by the name of its file."""
    table = open_cache(cache).index
    return {Path(row["uri"]).name: row["error"] for row in table.to_pylist()}


# --- the same bytes


def test_the_number_of_workers_does_not_change_a_byte(
    manifest: Path, uninterrupted: Path, tmp_path: Path, cache_content: CacheContent
) -> None:
    for workers in (0, 1):
        precompute(read_inputs([manifest]), tmp_path / str(workers), SMALL, workers=workers)
        assert cache_content(tmp_path / str(workers)) == cache_content(uninterrupted)


def test_killed_with_all_its_processes_a_second_run_finishes_with_the_same_bytes(
    manifest: Path, uninterrupted: Path, tmp_path: Path, cache_content: CacheContent
) -> None:
    process = start(manifest, tmp_path / "cache", "--workers", "2")
    wait_for_a_shard(tmp_path / "cache")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    inside = len(open_cache(tmp_path / "cache").index)
    assert 64 <= inside < ROWS
    summary = precompute(read_inputs([manifest]), tmp_path / "cache", SMALL, workers=2)
    assert summary.made + summary.skipped == ROWS - 1
    assert summary.skipped >= inside - 1
    assert cache_content(tmp_path / "cache") == cache_content(uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_publishes_what_is_done_and_says_how_to_go_on(
    manifest: Path, uninterrupted: Path, tmp_path: Path, cache_content: CacheContent, number: signal.Signals
) -> None:
    process = start(manifest, tmp_path / "cache", "--workers", "2")
    wait_for_a_shard(tmp_path / "cache")
    os.killpg(process.pid, number)
    _, stderr = process.communicate()
    assert process.returncode == 130
    *progress, last = stderr.splitlines()  # of a slow machine, which is told now and then how far it is
    assert last == "codecsieve: interrupted; run the same command again to go on"
    assert all(re.match(rf"\d+ of {ROWS} clips, ", line) for line in progress)
    inside = len(open_cache(tmp_path / "cache").index)
    assert 64 <= inside < ROWS
    summary = precompute(read_inputs([manifest]), tmp_path / "cache", SMALL, workers=2)
    assert summary.skipped >= inside - 1
    assert cache_content(tmp_path / "cache") == cache_content(uninterrupted)


def test_an_interrupt_keeps_clips_of_a_shard_that_is_not_full(clip: Path, tmp_path: Path) -> None:
    def interrupt(at: Progress) -> None:
        if at.done == 3:
            raise KeyboardInterrupt

    requests = [ClipRequest(str(clip), f"clip-{row}", start=row / 10) for row in range(8)]
    with pytest.raises(KeyboardInterrupt):
        precompute(requests, tmp_path / "cache", SMALL, workers=1, progress=interrupt)
    assert len(open_cache(tmp_path / "cache")) == 3


def test_what_is_in_is_not_made_again_and_more_inputs_make_the_cache_grow(
    clip: Path, tmp_path: Path, cache_content: CacheContent
) -> None:
    requests = [ClipRequest(str(clip), f"clip-{row}", start=row / 10) for row in range(6)]
    first = precompute(requests[:4], tmp_path / "cache", SMALL, workers=0)
    before = cache_content(tmp_path / "cache")
    again = precompute(requests[:4], tmp_path / "cache", SMALL, workers=0)
    assert (first.made, first.skipped, again.made, again.skipped) == (4, 0, 0, 4)
    assert cache_content(tmp_path / "cache") == before
    more = precompute(requests[::-1], tmp_path / "cache", SMALL, workers=0)
    assert (more.made, more.skipped) == (2, 4)
    assert open_cache(tmp_path / "cache").clip_ids == [f"clip-{row}" for row in (0, 1, 2, 3, 5, 4)]


# --- one clip's trouble


def test_a_worker_that_is_killed_costs_one_clip_at_most_which_can_be_tried_again(clip: Path, tmp_path: Path) -> None:
    def kill_a_worker(at: Progress) -> None:
        if at.done == 2:
            children_with("spawn_main")[0].kill()

    requests = [ClipRequest(str(clip), f"clip-{row}", start=row / 10) for row in range(12)]
    summary = precompute(requests, tmp_path / "cache", SMALL, workers=2, progress=kill_a_worker)
    lost = len(summary.failures)
    assert lost <= 1  # none where it had not yet begun its clip
    assert all(failure.error.startswith(f"{clip}: its worker process died (killed") for failure in summary.failures)
    assert (summary.made, summary.complete) == (12 - lost, not lost)
    left = precompute(requests, tmp_path / "cache", SMALL, workers=1)
    assert (left.made, left.skipped, len(left.failures)) == (0, 12 - lost, lost)
    retried = precompute(requests, tmp_path / "cache", SMALL, workers=1, retry_failed=True)
    assert (retried.made, retried.complete) == (lost, True)


def test_a_clip_that_takes_too_long_is_given_up(clip: Path, tmp_path: Path) -> None:
    summary = precompute([ClipRequest(str(clip), "a")], tmp_path / "cache", SMALL, workers=1, clip_timeout=1e-4)
    (failure,) = summary.failures
    assert failure.error.startswith(f"{clip}: took longer than 0.0001 s; ")


def test_a_defect_met_in_one_clip_fails_that_clip_only(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.sieve_clip

    def stumble(path: str, config: SieveConfig, start: float | None, *rest: Any) -> object:
        if start == 0.2:
            raise TypeError("two\nlines")
        return real(path, config, start, *rest)

    monkeypatch.setattr(module, "sieve_clip", stumble)
    requests = [ClipRequest(str(clip), f"clip-{row}", start=row / 10) for row in range(4)]
    summary = precompute(requests, tmp_path / "cache", SMALL, workers=0)
    assert [failure.error for failure in summary.failures] == [f"{clip}: internal error: TypeError: two lines"]
    assert summary.made == 3


def test_fail_fast_stops_and_keeps_what_is_done(clip: Path, tmp_path: Path) -> None:
    paths = [str(clip), str(clip.with_name("gone.mp4")), str(clip)]
    requests = [ClipRequest(path, f"clip-{row}", start=row / 10) for row, path in enumerate(paths)]
    summary = precompute(requests, tmp_path / "cache", SMALL, workers=0, fail_fast=True)
    assert (summary.made, len(summary.failures), summary.not_tried, summary.complete) == (1, 1, 1, False)
    assert open_cache(tmp_path / "cache").clip_ids == ["clip-0"]


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def bad_folder(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    good = make_video(folder / "good.mp4", moving="noise").read_bytes()
    streamable = make_video(folder / "cut_late.mp4", moving="noise", options={"movflags": "+faststart"})
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    sound_only(folder / "sound_only.mp4")
    (folder / "cut_early.mp4").write_bytes(good[: len(good) // 2])
    streamable.write_bytes(good[: good.index(b"moov") - 4] + good[good.index(b"moov") - 4 :][:-7])
    header = good.index(b"stsd")
    (folder / "corrupt_header.mp4").write_bytes(good[: header - 8] + bytes(200) + good[header + 192 :])
    data = good.index(b"mdat") + 4
    garbage = np.random.default_rng(0).bytes(len(good) // 2)
    (folder / "corrupt_data.mp4").write_bytes(good[:data] + garbage + good[data + len(garbage) :])
    return folder


@pytest.fixture(scope="module")
def bad_run(bad_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSummary, Path]:
    cache = tmp_path_factory.mktemp("bad-cache") / "cache"
    (bad_folder / "gone.mp4").symlink_to("nowhere.mp4")
    requests = read_inputs([bad_folder])
    ranges = {
        "zero length": (1.0, 1.0),
        "backwards": (0.5, 0.2),
        "before the start": (-1.0, 1.0),
        "past": (99.0, None),
    }
    for name, (begin, end) in ranges.items():
        (bad_folder / name).symlink_to(bad_folder / "good.mp4")
        requests.append(ClipRequest(str(bad_folder / name), name, start=begin, end=end))
    return precompute(requests, cache, SMALL, workers=2), cache


def test_bad_inputs_do_not_keep_good_ones_out(bad_run: tuple[RunSummary, Path]) -> None:
    summary, cache = bad_run
    assert errors(cache)["good.mp4"] is None
    assert summary.made >= 1
    assert summary.made + len(summary.failures) == len(open_cache(cache).index) == 13


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.mp4", "no such file"),
        ("empty.mp4", "the file is empty"),
        ("text.mp4", "not a readable video"),
        ("sound_only.mp4", "has no video stream"),
        ("cut_early.mp4", "not a readable video"),
        ("corrupt_header.mp4", ""),
        ("zero length", r"end \(1.0\) must be > start \(1.0\)"),
        ("backwards", r"end \(0.2\) must be > start \(0.5\)"),
        ("before the start", r"start \(-1.0\) must be"),
        ("past", "no frame between 99 s and its end"),
    ],
)
def test_a_bad_input_is_one_line_that_names_the_file(
    bad_run: tuple[RunSummary, Path], bad_folder: Path, name: str, says: str
) -> None:
    error = errors(bad_run[1])[name]
    assert error is not None
    assert error.startswith(f"{bad_folder / name}: ")
    assert "\n" not in error
    assert "internal error" not in error
    assert re.search(says, error)


def test_a_file_with_damaged_data_is_in_or_tells_why_not(bad_run: tuple[RunSummary, Path]) -> None:
    for name in ("corrupt_data.mp4", "cut_late.mp4"):
        error = errors(bad_run[1])[name]
        assert error is None or (name in error and "internal error" not in error)


def test_every_real_video_gives_a_row_with_a_frame_to_it(shared: Path, tmp_path: Path) -> None:
    requests = read_inputs([shared / "videos"])
    summary = precompute(requests, tmp_path / "cache", SieveConfig(num_frames=8, k_keep=64), workers=1)
    assert summary.complete
    assert summary.made == len(requests) >= 20
    distinct_frames = [row["distinct_frames"] for row in open_cache(tmp_path / "cache").index.to_pylist()]
    assert min(distinct_frames) >= 1


# --- the cache as a whole


def test_labels_ranges_and_facts_are_in_the_index(clip: Path, tmp_path: Path) -> None:
    (request,) = read_inputs([clip])
    precompute([request], tmp_path / "cache", SMALL, workers=0)
    (row,) = open_cache(tmp_path / "cache").index.to_pylist()
    facts = {"codec": "h264", "width": 96, "height": 64, "fps": 25.0, "frames": 60, "distinct_frames": 8}
    expected = facts | {"signals": "bitstream", "uri": str(clip), "fingerprint": request.fingerprint}
    assert {name: row[name] for name in expected} == expected
    assert row["seconds"] > 0


def test_a_cache_of_indices_keeps_no_pixels(clip: Path, tmp_path: Path) -> None:
    requests = read_inputs([clip])
    for store in ("patches", "indices"):
        precompute(requests, tmp_path / store, SMALL, workers=0, store=store)
    whole, sparse = open_cache(tmp_path / "patches")[0], open_cache(tmp_path / "indices")[0]
    assert sparse.pixels is None
    np.testing.assert_array_equal(sparse.positions, whole.positions)


def test_repeats_are_counted_and_made_once(clip: Path, tmp_path: Path) -> None:
    requests = read_inputs([clip, clip])
    summary = precompute(requests, tmp_path / "cache", SMALL, workers=0)
    assert (summary.made, summary.duplicates, summary.complete) == (1, 1, True)


@pytest.mark.parametrize("change", [{"fingerprint": "other"}, {"start": 0.5}])
def test_a_clip_that_is_in_as_something_else_is_refused(clip: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    request = ClipRequest(str(clip), "a", label="cat", fingerprint="content")
    precompute([request], tmp_path / "cache", SMALL, workers=0)
    ((name, value),) = change.items()
    with pytest.raises(ManifestError, match=rf"clip a \(.*clip\.mp4\) is in the cache with {name} .*{value}"):
        precompute([dataclasses.replace(request, **change)], tmp_path / "cache", SMALL, workers=0)


def test_a_cache_of_another_config_is_refused(clip: Path, tmp_path: Path) -> None:
    precompute(read_inputs([clip]), tmp_path / "cache", SMALL, workers=0)
    other = dataclasses.replace(SMALL, k_keep=17)
    with pytest.raises(CacheError, match="was made with k_keep=16, you asked 17"):
        precompute(read_inputs([clip]), tmp_path / "cache", other, workers=0)


def test_a_cache_of_another_method_is_refused(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precompute(read_inputs([clip]), tmp_path / "cache", SMALL, workers=0)
    monkeypatch.setattr("codecsieve.pipelines.config.METHOD", METHOD + 1)
    with pytest.raises(CacheError, match=rf"was made with method={METHOD}, you asked {METHOD + 1}; use another"):
        precompute(read_inputs([clip]), tmp_path / "cache", SMALL, workers=0)


def test_only_a_camera_that_is_fitted_otherwise_is_of_another_method(clip: Path, tmp_path: Path) -> None:
    """Caches of `median` are gone on with, those of `similarity` say that they are of before."""
    for mode, method in (("median", METHOD), ("rigid", METHOD), ("similarity", METHOD + 1)):
        config = dataclasses.replace(SMALL, mv_compensate=mode)
        precompute(read_inputs([clip]), tmp_path / mode, config, workers=0)
        assert open_cache(tmp_path / mode).config["method"] == method


def test_progress_begins_once_everything_is_compiled(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[object] = []
    monkeypatch.setattr("codecsieve.pipelines.precompute.crew.warm_up", lambda: said.append("compiled"))
    for _ in range(2):
        precompute(read_inputs([clip]), tmp_path / "cache", SMALL, workers=0, progress=lambda at: said.append(at.done))
    assert said == ["compiled", 0, 1, 0]


def test_no_clips_and_options_out_of_range_are_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no clip in the inputs"):
        precompute([], tmp_path / "cache", SMALL)
    with pytest.raises(ValueError, match=r"workers \(-1\) must be >= 0"):
        precompute(read_inputs([clip]), tmp_path / "cache", SMALL, workers=-1)
    with pytest.raises(ValueError, match=r"clip_timeout \(0\) must be > 0"):
        precompute(read_inputs([clip]), tmp_path / "cache", SMALL, clip_timeout=0)
    assert not (tmp_path / "cache").exists()


def test_little_room_is_told_before_the_work_begins(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    precompute(read_inputs([clip]), tmp_path / "cache", SMALL, workers=0)
    assert "0.0 GB are free" in caplog.text
