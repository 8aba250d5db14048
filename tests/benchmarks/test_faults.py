"""The attack finds what does not hold, calls it by its name, and repeats it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.faults import (
    caches,
    damage,
    kills,
    metadata,
    questions,
    run,
    runs,
    samples,
    shown,
    store_clips,
    stores,
    videos,
)
from benchmarks.faults.encodes import ENCODES, make_encode
from benchmarks.faults.outcome import Ended, FaultError, Tried, Verdict, check_ended, judge, rows
from benchmarks.faults.pool import run_trials
from benchmarks.faults.s3_line import KEYS
from codecsieve.cache import drop_clips, open_cache
from codecsieve.cache.index import write_part
from codecsieve.cache.location import Location
from codecsieve.errors import CacheError
from codecsieve.pipelines.sieve.clip import sieve_clip

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="runs are watched through /proc, which Linux has")


# --- what a trial came to


def test_a_refusal_in_one_line_that_names_the_file_holds() -> None:
    def refuse() -> str:
        raise CacheError("cannot read /cache/zarr.json: it is a folder; move it away")

    assert judge(refuse, ["/cache"]).outcome == "held"
    assert judge(refuse, ["/elsewhere"]).outcome == "crashed"


@pytest.mark.parametrize("message", ["/cache is\nbroken", "", "/cache \x1b[2J", "/cache " + "x" * 2000])
def test_a_refusal_that_is_not_one_line_for_people_does_not_hold(message: str) -> None:
    class RoughError(CacheError):
        def __str__(self) -> str:
            return message

    def refuse() -> str:
        raise RoughError

    assert judge(refuse, ["/cache"]).outcome == "crashed"


def test_an_exception_out_of_codecsieve_is_a_crash_and_one_of_the_attack_is_raised(tmp_path: Path) -> None:
    def fail_inside() -> str:
        open_cache(None)  # type: ignore[arg-type]
        return ""

    def fail_outside() -> str:
        raise ZeroDivisionError

    crash = judge(fail_inside, [])
    assert crash.outcome == "crashed"
    assert "TypeError in cache/" in crash.said
    with pytest.raises(ZeroDivisionError):
        judge(fail_outside, [])


@pytest.mark.parametrize(
    ("ended", "holds"),
    [
        (Ended(0, "", ""), True),
        (Ended(1, "", "codecsieve: /cache is no cache\n"), True),
        (Ended(1, "", "3 of 3 clips, 2 clips/s\nfailed: /cache/a.mp4: no such file\n"), True),
        (Ended(1, "", ""), False),
        (Ended(1, "", "codecsieve: something\n"), False),
        (Ended(1, "", "codecsieve: /cache\nis no cache\n"), False),
        (Ended(3, "", "codecsieve: /cache is no cache\n"), False),
        (Ended(-9, "", ""), False),
        (Ended(1, "", 'Traceback (most recent call last):\n  File "a", line 1, in f\nKeyError: /cache\n'), False),
        (Ended(0, "\x1b]0;title\x07", ""), False),
    ],
)
def test_how_a_command_may_end(ended: Ended, holds: bool) -> None:
    if holds:
        check_ended(ended, ["/cache"])
    else:
        with pytest.raises(FaultError):
            check_ended(ended, ["/cache"])


def test_the_table_counts_trials_by_kind_and_what_was_damaged_by_its_worst() -> None:
    def tried(name: str, kind: str, outcome: str) -> Tried:
        return Tried(name, kind, "", Verdict(outcome), 0.5)  # type: ignore[arg-type]

    told = [
        tried("c/0/1/read", "read", "held"),
        tried("c/0/1/info", "info", "lost"),
        tried("c/0/2/read", "read", "held"),
    ]
    assert rows(told, "all") == [
        ["info", 1, 0, 0, 1, 0, 0, 0, 0.5],
        ["read", 2, 2, 0, 0, 0, 0, 0, 0.5],
        ["all", 2, 1, 0, 1, 0, 0, 0, 0.5],
    ]


# --- the pool


def prepare() -> Callable[[str], str]:
    def attempt(trial: str) -> str:
        if trial == "hang":
            time.sleep(60)
        if trial.startswith("/") and not Path(trial).exists():
            Path(trial).touch()
            time.sleep(60)
        if trial == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if trial == "eat":
            try:
                bytearray(1 << 31)
            except MemoryError:
                return "refused"
        return trial.upper()

    return attempt


@pytest.mark.benchmark
@LINUX
def test_a_trial_that_hangs_dies_or_eats_memory_costs_itself_only(tmp_path: Path) -> None:
    late = str(tmp_path / "late")
    trials = ["a", "hang", "b", "die", "c", "eat", late]
    answers = {trial: answer for trial, answer, _ in run_trials(prepare, trials, 1.0, 2, 1 << 30)}
    assert [answers[trial] for trial in "abc"] == ["A", "B", "C"]
    assert answers["hang"] == Verdict("hung", "not done after 1 s")
    assert answers["die"] == Verdict("crashed", "the process died (SIGSEGV)")
    assert answers["eat"] == "refused"
    assert answers[late] == late.upper()  # late once, which may be the machine's fault


# --- damage


@pytest.mark.parametrize("harm", damage.BYTES)
def test_damage_is_repeated_by_its_seed_and_takes_any_file(harm: str) -> None:
    data = np.random.default_rng(1).bytes(3000)
    changed = 0
    for seed in range(20):
        one, again = (damage.BYTES[harm](data, np.random.default_rng(seed)) for _ in range(2))
        assert one == again
        changed += one != data
        for small in (b"", b"a", b"abc"):
            damage.BYTES[harm](small, np.random.default_rng(seed))
    assert changed > 15


@pytest.mark.parametrize("place", damage.PLACES)
def test_anything_may_stand_in_place_of_a_file_or_a_folder(place: str, tmp_path: Path) -> None:
    for name in ("file", "folder"):
        path = tmp_path / "cache" / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if name == "folder" else path.write_text("x")
        damage.PLACES[place](path, np.random.default_rng(0))
        assert os.path.lexists(path) == (place != "nothing")


def test_metadata_is_rewritten_as_what_can_be_parsed() -> None:
    document = {"shape": [70, 6], "attributes": {"codecsieve": {"config": {"k_keep": 6}, "config_sha256": "0"}}}
    data, parsed = json.dumps(document).encode(), 0
    for seed in range(60):
        text, words = metadata.rewrite_json(data, np.random.default_rng(seed))
        assert words
        assert text != data
        try:
            parsed += json.loads(text) != document
        except (ValueError, RecursionError):
            continue
    assert parsed > 30


# --- the parts


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> samples.Sample:
    (made,) = samples.make_samples(tmp_path_factory.mktemp("faults") / "whole", ["raw"])
    return made


@pytest.mark.slow
def test_an_undamaged_cache_holds_in_every_question(sample: samples.Sample, copy: Path) -> None:
    for name, question in questions.QUESTIONS["raw"].items():
        assert question(sample, copy), name


@pytest.fixture
def copy(sample: samples.Sample, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample.folder, tmp_path / "cache"))


@pytest.mark.slow
def test_a_reader_that_gives_other_pixels_or_fewer_clips_is_found(
    sample: samples.Sample, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = copy / "patches" / "c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[10] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FaultError) as wrong:
        questions.read(sample, copy, verify=False)
    assert wrong.value.verdict.outcome == "wrong"
    (copy / "index" / "part-000001.parquet").unlink()
    gone = samples.unpublished(sample, copy)
    assert gone == {f"clip-{row}" for row in range(64, 70)}
    monkeypatch.setattr(questions, "unpublished", lambda *_: set())
    with pytest.raises(FaultError) as lost:
        questions.read(sample, copy)
    assert lost.value.verdict.outcome == "lost"


@pytest.mark.slow
def test_a_clip_that_cannot_be_is_found(sample: samples.Sample, tmp_path: Path) -> None:
    video = next((sample.folder.parent / "videos").glob("*.mp4"))
    clip = sieve_clip(video, videos._CONFIG)
    videos._check(clip)
    for odd in (
        {"frames": 1},
        {"fps": float("nan")},
        {"frame_ids": -clip.frame_ids},
        {"positions": clip.positions[:-1]},
    ):
        with pytest.raises(FaultError):
            videos._check(replace(clip, **odd))


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fills memory before it gives it away")
def test_pixels_that_ffmpeg_leaves_unset_are_found(tmp_path: Path) -> None:
    path = make_encode(next(encode for encode in ENCODES if encode.name == "cfhd.mov"), tmp_path, frames=3)
    assert not shown.is_unsteady(path)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        _, (at, size), (other, _) = [(p.pos, p.size) for p in container.demux(video=0) if p.pos and p.size]

    def damaged(kept: float, begins: float) -> Path:
        """A picture that goes on from the middle of another."""
        first, length = at + round(kept * size), size - round(kept * size)
        source = other + round(begins * size)
        path.write_bytes(content[:first] + content[source : source + length] + content[at + size :])
        return path

    assert any(shown.is_unsteady(damaged(kept, begins)) for kept in (0.6, 0.3) for begins in (0.1, 0.2, 0.3))


@pytest.mark.benchmark
@LINUX
def test_a_killed_run_is_finished_and_a_cache_that_differs_is_found(tmp_path: Path) -> None:
    scene = kills.set_scene(tmp_path)
    trial = next(trial for trial in kills.kill_trials(0, 100) if trial.plan == ("KILL", "group", "clip"))
    tried = kills._try(scene, trial)
    assert tried.verdict.outcome == "held", tried
    cache = tmp_path / "undisturbed"
    (cache / "plan.parquet").write_bytes(b"")
    with pytest.raises(FaultError):
        runs.check_content(cache, scene.truth)
    (cache / "plan.parquet").unlink()
    with pytest.raises(FaultError):
        runs.check_content(cache, scene.truth)


@pytest.mark.benchmark
def test_a_slice_of_it_runs_shows_what_it_found_and_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUICK", run.Scale(caches=1, videos=2, kills=0, mishaps=0))
    done = CliRunner().invoke(run.main, ["caches", "videos", "--quick", "--workers", "1"])
    assert "damaged caches │     1 │" in done.output, done.output
    assert "damaged videos │     2 │" in done.output
    assert done.exit_code in (0, 1)
    monkeypatch.setattr(run, "Scale", lambda: run.QUICK)
    first = next(caches.cache_trials(0, 1)).id
    again = CliRunner().invoke(run.main, ["--only", first])
    assert "damaged caches │     1 │" in again.output, again.output
    assert sum(line.startswith(f"{first}: ") for line in again.output.splitlines()) == 1


def test_trials_are_the_same_for_the_same_seed_and_all_kinds_of_kill_occur() -> None:
    assert list(caches.cache_trials(3, 20)) == list(caches.cache_trials(3, 20))
    plans = {trial.plan for trial in kills.kill_trials(0, run.Scale().kills)}
    assert plans == set(kills._COMBINATIONS)


# --- caches in object stores


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "outcome"),
    [
        (lambda cache: drop_clips(cache, ["clip-3"]), "lost"),
        (lambda cache: store_clips.write(cache, ["clip-70"]), "wrong"),
        (lambda cache: (cache / "index" / "part-000001.parquet").unlink(), "lost"),
        (lambda cache: (cache / "scores" / "c.0.0").unlink(), "lost"),
        (lambda cache: write_part(Location(cache), 1, []), "lost"),
    ],
)
def test_a_cache_that_is_not_whole_does_not_pass(harm: Callable[[Path], Any], outcome: str, tmp_path: Path) -> None:
    ids = store_clips.ids_of(range(70))
    store_clips.write(tmp_path / "cache", ids)
    store_clips.check_whole(tmp_path / "cache", ids)
    harm(tmp_path / "cache")
    with pytest.raises(FaultError) as fault:
        store_clips.check_whole(tmp_path / "cache", ids)
    assert fault.value.verdict.outcome == outcome


@pytest.mark.benchmark
def test_two_writers_that_race_for_shards_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore", reason="object stores need obstore")
    pytest.importorskip("moto", reason="the S3 server is moto's")
    for name in [*KEYS, "AWS_ENDPOINT_URL"]:
        monkeypatch.setenv(name, "")  # which the program sets
    done = CliRunner().invoke(stores.main, ["race", "--only", "*/0"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "1 of 1 trials" in done.output
