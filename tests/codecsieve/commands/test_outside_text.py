"""What comes from outside (names of files, labels, ids, errors) through every command: a terminal shows it, no more."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import codecsieve.commands
from codecsieve.cache import open_cache
from codecsieve.cli import main
from codecsieve.commands.console import Meter, print_facts, print_rows
from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.manifest import read_rows

MakeVideo = Callable[..., Path]
SMALL = ["--num-frames", "8", "--input-size", "56", "--k-keep", "16", "--workers", "0"]
EVIL = "\x1b[2J\x1b]0;owned\x07\u202egpj\u2028\x9b31m"
NAMES = [f"a{EVIL}.mp4", "new\nline.mp4", os.fsdecode(b"bytes\xff.mp4"), "[bold]rich.mp4", "кадр e\u0301 🎬.mp4"]


def run(*arguments: object) -> Result:
    """Run a command in this process; whatever is not one line and an exit status is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="codecsieve")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    check_shown(result.stdout + result.stderr)
    return result


def check_shown(output: str) -> None:
    """Nothing but line breaks in it that a terminal would act on."""
    found = {c for c in output if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
    assert not found, f"{found} reached the terminal in {output!r}"


@pytest.fixture(scope="module")
def folder(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good videos and bad ones, all with names that mean harm."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(NAMES):
        make_video(folder / "plain.mp4", seed=number).rename(folder / name)
        (folder / f"bad {name}").write_text(f"no video {number}")
    return folder


@pytest.fixture(scope="module")
def cache(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(f"cache {EVIL}") / "cache"
    result = run("precompute", folder, "--out", path, *SMALL)
    assert result.exit_code == 1
    assert result.stderr.count("failed: ") == len(NAMES)
    return path


def test_failures_of_a_run_are_a_line_each(folder: Path, cache: Path) -> None:
    lines = run("precompute", folder, "--out", cache, *SMALL, "--quiet").stderr.splitlines()
    assert len(lines) == len(NAMES)
    assert all(line.startswith(f"failed: {folder}/bad ") for line in lines)
    assert rf"{folder}/bad a\x1b[2J\x1b]0;owned\x07\u202egpj\u2028\x9b31m.mp4: " in "\n".join(lines)
    assert rf"{folder}/bad new\nline.mp4: not a readable video" in "\n".join(lines)


def test_the_index_keeps_one_line_and_the_true_path(folder: Path, cache: Path) -> None:
    rows = [row for row in open_cache(cache).index.to_pylist() if row["status"] == "failed"]
    for row in rows:
        check_shown(row["error"])
        assert len(row["error"]) < 500
        assert row["uri"] in {str(folder / f"bad {name}") for name in NAMES} or "bytes" in row["uri"]


def test_info_of_such_a_cache(cache: Path) -> None:
    assert run("info", cache).exit_code == 0
    assert len(run("info", cache, "--failed").stdout.splitlines()) == len(NAMES)
    assert len(json.loads(run("info", cache, "--failed", "--json").stdout)) == len(NAMES)
    assert run("verify", cache).exit_code == 0


@pytest.mark.slow
def test_inspect_and_describe_of_such_videos(folder: Path, cache: Path, tmp_path: Path) -> None:
    for clip_id in open_cache(cache).clip_ids[:2]:
        assert run("inspect", cache, clip_id, "--out", tmp_path / "x.png").exit_code == 0
    for name in NAMES:
        assert run("describe", folder / name).exit_code == 0
        assert json.loads(run("describe", folder / name, "--json").stdout)
        assert run("describe", folder / f"bad {name}").exit_code == 1
        assert run("describe", folder / f"none {name}").exit_code == 1
        assert run("inspect", cache, f"none {name}", "--out", tmp_path / "x.png").exit_code == 1
        assert run("inspect", cache, "0", "--out", tmp_path / name.replace(".mp4", ".bmp")).exit_code == 2
        assert run("info", folder / name).exit_code == 1


@pytest.mark.slow
def test_transcode_of_such_videos(folder: Path, tmp_path: Path) -> None:
    result = run("transcode", folder, "--out", tmp_path / f"out{EVIL}", "--preset", "ultrafast", "--workers", "1")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if not line.split(" ")[0].isdigit()]
    assert lines
    assert all(line.startswith("failed: ") for line in lines)


def test_labels_and_ids_that_mean_harm(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / f"{EVIL}.csv"
    manifest.write_text(f"path,label,id\n{folder / NAMES[3]},{EVIL}[red],one\n{tmp_path / 'gone.mp4'},{EVIL},two\n")
    assert run("precompute", manifest, "--out", tmp_path / "cache", *SMALL).exit_code == 1
    assert run("info", tmp_path / "cache").exit_code == 0
    manifest.write_text(f"path,label,id\n{folder / NAMES[3]},other,one\n")
    other = run("precompute", manifest, "--out", tmp_path / "cache", *SMALL)
    assert re.search("with another label than before +1 ", other.stdout)
    assert open_cache(tmp_path / "cache").labels == ["other"]
    for shown in ([], ["--csv"], ["--json"], ["--where", "label = 'other'"]):
        assert run("list", tmp_path / "cache", *shown).exit_code == 0
    manifest.write_text(f"path,id\na.mp4,{EVIL}\n")
    assert run("precompute", manifest, "--out", tmp_path / "cache", *SMALL).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [EVIL],
        ["precompute", f"--{EVIL}"],
        ["precompute", "x", "--out", "y", "--k-keep", EVIL],
        ["precompute", "x", "--out", "y", "--signals", EVIL],
        ["precompute", "x", "--out", "y", "--preset", EVIL],
        ["precompute", "x", "--out", "y", "--device", EVIL],
        ["info", "x", EVIL],
        ["info", EVIL],
        ["transcode", EVIL, "--out", "x", "--preset", EVIL],
    ],
)
@pytest.mark.parametrize("times", [1, 1000])
def test_what_is_typed_is_repeated_printably_and_briefly(
    arguments: list[str], times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").touch()
    result = run(*(argument.replace(EVIL, EVIL * times) for argument in arguments))
    assert result.exit_code in (1, 2)
    assert len(result.stderr) < 800
    assert "\\x1b[2j" in result.stderr.lower()


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_what_is_logged_is_a_printable_line(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def log(*_: object, **__: object) -> None:
        logging.getLogger("somebodys.library").log(level, "cannot read %s\nat all", EVIL)

    monkeypatch.setitem(main.commands, "describe", click.Command("describe", callback=log))
    result = run("describe")
    assert result.stderr.startswith("cannot read \\x1b[2J")
    assert result.stderr.endswith(" at all\n")
    assert result.stderr.count("\n") == 1


def test_tables_and_progress_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter(f"{EVIL}[red]") as meter:
        meter.update(1, 1, 0)
    print_facts(EVIL, [(EVIL, EVIL), ("[red]x", "[red]x")])
    print_rows(EVIL, ["clip", EVIL], [[EVIL, 1.0]])
    shown = capsys.readouterr()
    check_shown(shown.out + shown.err)
    assert "[red]x" in shown.out


@pytest.mark.slow
def test_a_terminal_that_knows_no_unicode_is_no_traceback(folder: Path, cache: Path) -> None:
    for arguments in (["describe", folder / NAMES[4]], ["info", cache, "--failed"], ["info", "ж" * 300]):
        done = subprocess.run(
            [sys.executable, "-m", "codecsieve", *map(str, arguments)],
            capture_output=True, text=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        check_shown(done.stdout + done.stderr)


PRINTS = {"echo", "secho", "print", "pprint", "Console", "stdout", "stderr", "basicConfig"}


def test_no_command_shows_anything_past_the_console() -> None:
    """All that is shown goes through `console`; `group` has its own lines, as it must not import rich."""
    for source in Path(codecsieve.commands.__file__).parent.glob("*.py"):
        if source.name in ("console.py", "group.py"):
            continue
        for node in ast.walk(ast.parse(source.read_text())):
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            assert name not in PRINTS, f"{source.name} line {node.lineno} shows something past console.py"


# --- manifests


def refusal(manifest: Path, tmp_path: Path) -> str:
    result = run("precompute", manifest, "--out", tmp_path / "cache", *SMALL)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 700
    assert not (tmp_path / "cache").exists()
    return result.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x" * 3_000_000, "line 1: has more than 1048576 characters, beginning 'xxx"),
        ("path,label\na.mp4," + "x" * 3_000_000, "line 2: has more than 1048576 characters"),
        ("path,label\na.mp4," + "x" * 300_000, "line 2: field larger than field limit"),
        ('path,label\na.mp4,"' + "x\n" * 300_000, "field larger than field limit"),
        ("path,id\na.mp4," + "\x07" * 100_000, "line 2: id ("),
        (
            ",".join(f"c{number}" for number in range(100_000)) + "\n1,2",
            "line 1: no column 'path' among c0, ",
        ),
        (
            "path," + ",".join(f"c{number}" for number in range(100_000)) + "\n1,2",
            "line 1: 100001 columns, of which at most 1000 are kept",
        ),
        (" ".join(["word"] * 100_000) + ",1,2,3,4,5,6\n", "line 1: "),
        ("path,start\na.mp4," + "9" * 100_000 + "x", "line 2: start ("),
        (f"path,id\na.mp4,{'i' * 100_000}\nb.mp4,{'i' * 100_000}\n", "line 3: id iii"),
    ],
)
def test_a_manifest_that_is_no_manifest_is_refused_in_few_words(content: str, says: str, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(content)
    (tmp_path / "a.mp4").touch()
    line = refusal(manifest, tmp_path)
    assert line.startswith(f"codecsieve: {manifest}")
    assert says in line


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_that_is_no_file_is_not_opened(suffix: str, tmp_path: Path) -> None:
    manifest = tmp_path / f"list{suffix}"
    os.mkfifo(manifest)
    assert refusal(manifest, tmp_path) == f"codecsieve: {manifest}: is a FIFO; a manifest must be a file\n"
    manifest.unlink()
    manifest.symlink_to("/dev/zero")
    assert "is a device" in refusal(manifest, tmp_path)


def test_a_path_that_no_file_can_have_is_a_clip_that_fails(folder: Path, tmp_path: Path) -> None:
    good, long = folder / NAMES[3], "x" * 5000
    (tmp_path / "list.csv").write_text(f"path,label\nn\0ul.mp4,1\n{good},2\n{long}.mp4,3\n{'y/' * 2500}z.mp4,4\n")
    pq.write_table(pa.table({"path": ["n\0ul.mp4", str(good), long + ".mp4"]}), tmp_path / "list.parquet")
    for manifest, failures in (("list.csv", 3), ("list.parquet", 2)):
        out = tmp_path / f"cache of {manifest}"
        result = run("precompute", tmp_path / manifest, "--out", out, *SMALL, "--quiet")
        assert result.exit_code == 1
        lines = result.stderr.splitlines()
        assert len(lines) == failures
        odd, *others = lines
        assert odd == rf"failed: {tmp_path}/n\x00ul.mp4: holds a NUL character which no file's name can; check the path"
        assert all(len(line) < 300 for line in lines)
        assert all(re.search(r": cannot be reached \(File name too long\); |: no such file; ", line) for line in others)
        assert len(open_cache(out)) == 1
        (row, *_) = [row for row in open_cache(out).index.to_pylist() if row["status"] == "failed"]
        assert row["id"].startswith("path-")
        assert row["fingerprint"] == ""
        assert run("info", out, "--failed").exit_code == 0


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"path": [b"a.mp4"]}),
        pa.table({"path": [["a.mp4"]]}),
        pa.table({"path": [{"a": 1}]}),
        pa.table({"path": [1]}),
        pa.table({"path": ["a.mp4"], "label": [["x"] * 1000]}),
        pa.table({"path": ["a.mp4"], "id": [b"\xff"]}),
        pa.table({"path": ["a.mp4"], "start": [[1.0]]}),
        pa.table({"path": pa.array([b"\xff\xfe.mp4"]).view(pa.string())}),
        pa.table({f"column{number}{EVIL}": [1] for number in range(1000)}),
    ],
)
def test_a_parquet_manifest_of_odd_types_is_refused_in_one_line(table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "list.parquet")
    assert str(tmp_path / "list.parquet") in refusal(tmp_path / "list.parquet", tmp_path)


def test_a_damaged_parquet_manifest_is_one_line_or_its_rows(tmp_path: Path) -> None:
    manifest = tmp_path / "list.parquet"
    pq.write_table(pa.table({"path": [f"{n}.mp4" for n in range(50)], "label": ["a", None] * 25}), manifest)
    whole = manifest.read_bytes()
    refused = []
    for at in range(0, len(whole), 7):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            manifest.write_bytes(damaged)
            try:
                list(read_rows(str(manifest)))
            except ManifestError as error:
                refused.append(str(error))
    assert len(refused) > len(whole) // 7
    assert all(line.startswith(str(manifest)) and len(line) < 700 for line in refused)
    check_shown("".join(refused))
