"""The commands: what they print, where, and with which exit status."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from codecsieve.cache import open_cache
from codecsieve.cli import main
from codecsieve.commands.console import Meter
from codecsieve.pipelines.config import DEFAULT_PRESET, METHOD, PRESETS, SieveConfig
from codecsieve.pipelines.look import pictures
from codecsieve.pipelines.look.pictures import DrawnClip

MakeVideo = Callable[..., Path]
SMALL = ["--num-frames", "8", "--input-size", "56", "--k-keep", "16", "--workers", "0"]


def test_without_a_command_help_is_shown() -> None:
    for group in ([], ["serve", "keys"]):
        told = CliRunner().invoke(main, group, prog_name="codecsieve")
        assert "\nCommands:\n" in told.output, told.output
        assert "\\n" not in told.output


def run(*arguments: object) -> Result:
    """Run a command in this process; whatever is not one line and an exit status is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="codecsieve")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_apart(*arguments: object, small_files: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, where no file may be larger than 30 KB if asked."""
    program = "import sys; from codecsieve.cli import main; main(prog_name='codecsieve')"
    if small_files:
        program = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (30000, r.RLIM_INFINITY)); {program}"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def videos(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a.mp4", seed=1)
    make_video(folder / "b.webm", codec="libvpx-vp9", seed=2)
    return folder


@pytest.fixture(scope="module")
def cache(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good clips and a missing one."""
    path = tmp_path_factory.mktemp("cache") / "cache"
    gone = path.with_name("gone.mp4")
    gone.symlink_to("nowhere.mp4")
    assert run("precompute", videos, gone, "--out", path, *SMALL).exit_code == 1
    return path


# --- help


def test_help_comes_at_once() -> None:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        loaded = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "codecsieve", "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5
    assert not re.search(r"\| +(av|numpy|numba|zarr|pyarrow)$", loaded, re.MULTILINE)


@pytest.mark.parametrize("command", ["precompute", "info", "inspect", "transcode", "describe"])
def test_each_command_has_help_that_ends_with_an_example(command: str) -> None:
    result = run(command, "-h")
    assert result.exit_code == 0
    assert f"Example:\n    codecsieve {command} " in result.stdout[-200:]


def test_the_help_tells_the_defaults_that_are_used() -> None:
    text = " ".join(run("precompute", "--help").stdout.split())
    for field in fields(SieveConfig):
        option = f"--{field.name.replace('_', '-')}"
        usual = PRESETS[DEFAULT_PRESET].get(field.name, field.default)
        default = field.metadata["new"] or ("no" if usual is False else str(usual).removesuffix(".0"))
        assert re.search(rf"{option} [^\[]*\[default: {re.escape(default)}\]", text), option


# --- precompute


def test_options_may_be_spelled_either_way(videos: Path, tmp_path: Path) -> None:
    spelled = [
        "--Num_Frames",
        "8",
        "--input_size=56",
        "--K_keep",
        "16",
        "--mv_compensate",
        "none",
        "--workers",
        "0",
    ]
    assert run("precompute", videos, "--out", tmp_path / "cache", *spelled).exit_code == 0
    dashed = [*SMALL, "--mv-compensate", "none"]
    again = run("precompute", videos, "--out", tmp_path / "cache", *dashed)
    assert again.exit_code == 0
    assert "2, 0 of them new" in again.stdout


def test_the_summary_counts_clips_by_codec_and_signals(videos: Path, tmp_path: Path) -> None:
    result = run("precompute", videos, videos / "a.mp4", "--out", tmp_path / "cache", *SMALL)
    assert result.exit_code == 0
    table = dict(re.findall(r"^ +(\S.*?\S) {2,}(\S.*?) *$", result.stdout, re.MULTILINE))
    assert table["in the cache"] == "2, 2 of them new"
    assert (table["h264, bitstream"], table["vp9, search"]) == ("1", "1")
    assert (table["failed"], table["repeats left out"]) == ("0", "1")
    assert result.stderr.startswith("2 of 2 clips, ")


def test_failures_are_listed_and_the_status_says_so(videos: Path, tmp_path: Path) -> None:
    gone = [tmp_path / f"gone-{number}.mp4" for number in range(22)]
    for path in gone:
        path.symlink_to("nowhere.mp4")
    result = run("precompute", videos, *gone, "--out", tmp_path / "cache", "--quiet", *SMALL)
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[:20] == [f"failed: {path}: no such file; check the path" for path in gone[:20]]
    assert lines[20:] == [f"… and 2 more: codecsieve info {tmp_path / 'cache'} --failed"]
    assert len(open_cache(tmp_path / "cache")) == 2


def test_failed_clips_are_tried_again_only_when_asked(videos: Path, make_video: MakeVideo, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path,id\n{tmp_path / 'late.mp4'},late\n")
    (tmp_path / "late.mp4").symlink_to(tmp_path / "arrived.mp4")
    command = ["precompute", manifest, "--out", tmp_path / "cache", *SMALL]
    assert run(*command).exit_code == 1
    make_video(tmp_path / "arrived.mp4")
    assert run(*command).exit_code == 1
    assert run(*command, "--retry-failed").exit_code == 0
    assert open_cache(tmp_path / "cache").clip_ids == ["late"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--k-keep", "0"], r"codecsieve: k_keep \(0\) must be > 0\n"),
        (
            ["--signals", "psychic"],
            r"codecsieve: signals \('psychic'\) must be one of auto, bitstream, search, difference, bits\n",
        ),
        (["--k-keep", "many"], "Invalid value for '--k-keep'"),
        (["--colour", "red"], "No such option"),
        (["--workers", "-1"], r"workers \(-1\) must be >= 0"),
    ],
)
def test_options_that_make_no_sense_are_status_2(videos: Path, tmp_path: Path, options: list[str], says: str) -> None:
    result = run("precompute", videos, "--out", tmp_path / "cache", *options)
    assert result.exit_code == 2
    assert re.search(says, result.stderr)
    assert not (tmp_path / "cache").exists()


def test_a_manifest_with_wrong_columns_is_status_2_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,class\na.mp4,1\n")
    result = run("precompute", tmp_path / "list.csv", "--out", tmp_path / "cache", *SMALL)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"codecsieve: {tmp_path / 'list.csv'} line 1: no column 'path'")
    assert result.stderr.count("\n") == 1


def test_a_defect_keeps_its_traceback(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise ValueError("operands could not be broadcast")

    monkeypatch.setattr("codecsieve.pipelines.inputs.clips.read_ranges", stumble)
    with pytest.raises(ValueError, match="broadcast"):
        run("precompute", videos, "--out", tmp_path / "cache")


def test_a_cache_of_another_config_is_one_line(videos: Path, cache: Path) -> None:
    result = run("precompute", videos, "--out", cache, *SMALL, "--anchors", "1")
    assert result.exit_code == 1
    assert re.fullmatch(r"codecsieve: cache .* was made with anchors=0, you asked 1; .*\n", result.stderr)


def test_a_place_that_cannot_be_written_is_one_line(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("precompute", videos, "--out", tmp_path / "file" / "cache", *SMALL)
    assert result.exit_code == 1
    assert re.fullmatch(r"codecsieve: cannot write .*/file/cache.*Not a directory; .*\n", result.stderr)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_a_second_run_finishes(videos: Path, tmp_path: Path) -> None:
    config = ["--num-frames", "8", "--input-size", "112", "--k-keep", "64", "--workers", "1", "--quiet"]
    command = ["precompute", videos, "--out", tmp_path / "cache", *config]
    full = run_apart(*command, small_files=True)
    assert full.returncode == 1
    assert re.fullmatch(r"codecsieve: cannot write .*/cache/.*: File too large; make room .*\n", full.stderr)
    assert run(*command).exit_code == 0
    assert len(open_cache(tmp_path / "cache")) == 2


@pytest.mark.slow
def test_bad_files_leave_no_traceback_on_any_stream(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    result = run_apart("precompute", tmp_path, videos, "--out", tmp_path / "cache", *SMALL, "--workers", "2")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stderr.count("failed: ") == 2
    assert "2, 2 of them new" in result.stdout


# --- info


def test_info_tells_what_is_in_a_cache(cache: Path) -> None:
    facts = json.loads(run("info", cache, "--json").stdout)
    assert (facts["clips"], facts["failed"], facts["frames"]) == (2, 1, 48)
    assert facts["kinds"] == {"h264, bitstream": 1, "vp9, search": 1}
    assert (facts["config"]["k_keep"], facts["config"]["method"]) == (16, METHOD)
    shown = run("info", cache).stdout
    assert "k_keep" in shown
    assert "h264, bitstream" in shown


def test_info_lists_failed_clips_with_their_reason(cache: Path) -> None:
    line = run("info", cache, "--failed").stdout
    assert re.fullmatch(rf"path-\w{{16}}  {cache.with_name('gone.mp4')}: no such file; check the path\n", line)
    (row,) = json.loads(run("info", cache, "--failed", "--json").stdout)
    assert row["uri"] == str(cache.with_name("gone.mp4"))


def test_info_on_no_cache_is_one_line(tmp_path: Path) -> None:
    result = run("info", tmp_path)
    assert result.exit_code == 1
    assert re.fullmatch(r"codecsieve: .*\n", result.stderr)


@pytest.mark.parametrize(
    ("name", "obstacle"),
    [
        ("index", "loop"),
        ("index", "forbidden"),
        *itertools.product(["index/part-000000.parquet", "table.parquet"], ["folder", "loop", "forbidden"]),
    ],
)
@pytest.mark.parametrize("command", [["info"], ["list"], ["inspect", "x", "--out", "x.png"], ["precompute"]])
def test_an_index_that_cannot_be_read_is_one_line(
    cache: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    obstacle: str,
    command: list[str],
) -> None:
    copy = tmp_path / "cache"
    shutil.copytree(cache, copy)
    path = copy / name
    if obstacle == "forbidden":
        path.touch()  # a table is there only where there is something to tell; permissions do not keep root out
        for function in ("open", "listdir"):
            monkeypatch.setattr(os, function, _forbidding(getattr(os, function), path))
    else:
        if path.exists():
            path.rename(tmp_path / "away")
        path.mkdir() if obstacle == "folder" else path.symlink_to(path)
    first, *rest = command
    result = run(first, *([videos, "--out", copy, *SMALL] if first == "precompute" else [copy, *rest]))
    assert result.exit_code == 1
    assert re.fullmatch(rf"codecsieve: .*{path}.*\n", result.stderr)


def _forbidding(real: Callable[..., Any], path: Path) -> Callable[..., Any]:
    def forbidden(asked: Any, *rest: Any, **named: Any) -> Any:
        if str(asked) == str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(asked))
        return real(asked, *rest, **named)

    return forbidden


# --- inspect


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".gif", ".mp4"])
def test_inspect_draws_a_clip(cache: Path, tmp_path: Path, suffix: str) -> None:
    clip_id = open_cache(cache).clip_ids[0]
    result = run("inspect", cache, clip_id[:5], "--out", tmp_path / f"x{suffix}")
    assert result.exit_code == 0
    assert (tmp_path / f"x{suffix}").stat().st_size > 1000
    assert clip_id in result.stdout


def test_a_picture_is_titled_by_its_file(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[DrawnClip] = []
    monkeypatch.setattr(pictures, "save_picture", lambda _out, clip, _slots: drawn.append(clip))
    assert run("inspect", cache, "a.mp4", "--out", tmp_path / "x.png").exit_code == 0
    (clip,) = drawn
    positions = open_cache(cache)["a.mp4"].positions
    assert (clip.title, clip.policy, clip.codec) == ("a.mp4", "saliency", "h264")
    assert np.argwhere(clip.kept).tolist() == positions.tolist()


def test_a_clip_whose_positions_are_times_has_a_picture(videos: Path, tmp_path: Path) -> None:
    times = ["--policy", "sampling", "--target-frames", "64"]
    assert run("precompute", videos / "a.mp4", "--out", tmp_path / "cache", *SMALL, *times).exit_code == 0
    assert run("inspect", tmp_path / "cache", "a.mp4", "--out", tmp_path / "x.png").exit_code == 0


def test_inspect_refuses_a_suffix_before_it_decodes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codecsieve.pipelines.look.draw.draw_clip", None)
    result = run("inspect", cache, open_cache(cache).clip_ids[0], "--out", tmp_path / "x.bmp")
    assert result.exit_code == 2
    assert result.stderr.endswith("x.bmp: a picture's suffix must be one of .png, .gif, .mp4\n")


@pytest.mark.parametrize(
    ("clip_id", "options", "says"),
    [
        ("zzz", [], "'zzz' is no clip's id, the beginning of one, or a clip's file; see `codecsieve list "),
        ("", [], "'' names no clip"),
        ("path", [], "has no clip path-[0-9a-f]*: it failed (.*no such file"),
        (
            "FIRST",
            ["--video", "gone.mp4"],
            "gone.mp4: no such file; say where the clip's video is now with --video",
        ),
        ("FIRST", ["--video", __file__], "its content differs"),
        ("FIRST", ["--out", "x.bmp"], "suffix must be one of .png, .gif, .mp4"),
    ],
)
def test_inspect_says_what_is_wrong(cache: Path, tmp_path: Path, clip_id: str, options: list[str], says: str) -> None:
    clip_id = open_cache(cache).clip_ids[0] if clip_id == "FIRST" else clip_id
    result = run("inspect", cache, clip_id, "--out", tmp_path / "x.png", *options)
    assert result.exit_code in (1, 2)
    assert re.match(f"codecsieve: .*{says.replace('(', '[(]')}", result.stderr)
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_inspect_finds_a_video_that_moved_where_it_is_told(make_video: MakeVideo, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    run("precompute", video, "--out", tmp_path / "cache", *SMALL)
    video.rename(tmp_path / "b.mp4")
    clip_id = open_cache(tmp_path / "cache").clip_ids[0]
    lost = run("inspect", tmp_path / "cache", clip_id, "--out", tmp_path / "x.png")
    assert lost.exit_code == 1
    found = run("inspect", tmp_path / "cache", clip_id, "--out", tmp_path / "x.png", "--video", tmp_path / "b.mp4")
    assert found.exit_code == 0


# --- transcode and describe


def test_transcode_makes_its_outputs_once_and_lists_what_failed(videos: Path, tmp_path: Path) -> None:
    command = [
        "transcode",
        videos,
        videos / "gone.mp4",
        "--out",
        tmp_path,
        "--preset",
        "ultrafast",
        "--workers",
        "1",
    ]
    first = run(*command)
    assert first.exit_code == 1
    assert re.search(r"failed: .*gone\.mp4: ", first.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}
    assert re.search(r"there already +2\b", run(*command).stdout)
    refused = run("transcode", videos, "--out", tmp_path, "--crf", "99")
    assert (refused.exit_code, refused.stderr) == (2, "codecsieve: crf (99) must be in 0..51\n")


def test_describe_tells_which_signals_and_why(videos: Path) -> None:
    facts = json.loads(run("describe", videos / "b.webm", "--json").stdout)
    assert (facts["codec"], facts["signals"], facts["frames"]) == ("vp9", "search", 24)
    assert re.search(r"signals +bitstream", run("describe", videos / "a.mp4").stdout)
    missing = run("describe", videos / "gone.mp4")
    assert missing.exit_code == 1
    assert missing.stderr == f"codecsieve: {videos / 'gone.mp4'}: no such file; check the path\n"


def test_the_clock_of_a_run_starts_when_its_first_clip_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("codecsieve.commands.console.time", SimpleNamespace(monotonic=lambda: now))
    with Meter("clips") as meter:
        for seconds, done in [(100.0, 0), (104.0, 2), (112.0, 4), (116.0, 8)]:
            now = seconds
            meter.update(done, 8, failed=0)
    assert capsys.readouterr().err == "4 of 8 clips, 0.3 clips/s, 0:00:12 left\n8 of 8 clips, 0.5 clips/s\n"


@pytest.mark.parametrize(("what", "unit"), [("clips", "clips"), ("clips put into the cache", "clips")])
@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_narrow_terminal_keeps_what_is_done_and_how_much_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, unit: str, columns: int
) -> None:
    now = 100.0
    monkeypatch.setattr("codecsieve.commands.console.time", SimpleNamespace(monotonic=lambda: now))
    for name, value in (("COLUMNS", str(columns)), ("FORCE_COLOR", "1"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    with Meter(what) as meter:
        meter.update(0, 4096, failed=0)
        now = 110.0
        meter.update(12, 4096, failed=3)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*\w", "", capsys.readouterr().err))]
    last = [line for line in lines if line][-1]
    assert len(last) <= columns
    assert " 12/4096 " in last
    if columns == 200:
        assert last.endswith(f" 12/4096 1.2 {unit}/s, 0:56:43 left, 3 failed")


def test_an_interrupt_while_the_program_is_loaded_is_one_line() -> None:
    program = (
        "import builtins, runpy, sys\n"
        "real = builtins.__import__\n"
        "def loading(name, *rest, **named):\n"
        "    if name == 'click': raise KeyboardInterrupt\n"
        "    return real(name, *rest, **named)\n"
        "builtins.__import__ = loading\n"
        "runpy.run_module('codecsieve.__main__', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "codecsieve: interrupted; run the same command again\n")
