"""Every command in the documents: its options are known to the program, and it runs on small videos where it can.

What cannot run here is in `NOT_RUN`, with the reason, and its options are held against the command line all the same.
Lines of `curl` run in tests/pipelines/serve/test_docs.py, targets of make are looked up in tests/test_documents.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from documented import DOCUMENTS, ROOT, file_of, lines_of, ours, words_of

from codecsieve.cli import main

NOT_RUN = {
    r"s3://": "needs a bucket; tests/cache/test_object_store.py has one of its own",
    r"--engine ray": "needs a Ray cluster; `make test-cluster` starts one",
    r"--device cuda": "needs a GPU",
    r"^codecsieve serve": "serves until it is stopped; tests/pipelines/serve starts it",
    r"^(torchrun .*|codecsieve )probe ": "needs data sets; see tests/codecsieve/commands/test_probe.py",
    r"^codecsieve (concepts|train) ": "needs an encoder, and hours; tests/pipelines/concepts and tests/pipelines/train",
    r"rtsp://": "needs a camera; tests/pipelines/stream has streams of its own",
    r"^codecsieve stream growing.mkv": "waits for a file to grow; tests/codecsieve/commands/test_stream.py has one",
    r"cache_residuals": "needs published indices; tests/pipelines/importing makes some",
    r"FOLDER": "of a published data set, which is not here",
    r" 3f2a ": "names a clip by an id that is an example",
}
IMAGES_AND_SOURCES = {"git", "docker"}
"""Programs whose lines say where things come from: nothing of ours is in them."""
INLINE = re.compile(r"`codecsieve ([^`\n]+)`")
pages = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def parsed(words: list[str]) -> click.Context:
    """A command line as the program understands it, nothing of which is carried out."""
    context = main.make_context("codecsieve", list(words))
    while isinstance(context.command, click.Group) and (left := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, left)
        assert command is not None
        context = command.make_context(name, list(rest), parent=context)
    return context


def options_of(command: click.Command) -> set[str]:
    """Those of a command, and of the commands below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return {option for parameter in command.params for option in parameter.opts}.union(*map(options_of, below))


@pytest.fixture
def desk(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    """A user's folder: videos, a manifest of them, and what somebody says of them."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for seed, name in enumerate(("clip", "holiday", "bikes")):
        make_video(videos / f"{name}.mp4", frames=24, rate=30, seed=seed, moving="pan" if name == "bikes" else "square")
    (tmp_path / "corrected.csv").write_text(
        "path,label\nvideos/clip.mp4,walk\nvideos/holiday.mp4,run\nvideos/bikes.mp4,pan\n"
    )
    (tmp_path / "annotations.csv").write_text("path,label,split\nvideos/holiday.mp4,run,train\n")
    return tmp_path


def carried_out(line: str) -> str:
    """What a line of ours shows, which must end with status 0; in this process, and with no others."""
    words = ours(line)
    assert words is not None
    alone = ["--workers", "0"] if words[0] == "precompute" else []
    shown = CliRunner().invoke(main, [*words, *alone], catch_exceptions=False)
    assert shown.exit_code == 0, f"{line}\n{shown.output}"
    return shown.stdout


def why_not_run(line: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, line)), None)


@pages
def test_the_command_line_knows_what_a_document_says(document: Path) -> None:
    for line in lines_of(document):
        words = ours(line)
        if words is not None:
            parsed(words)


@pages
def test_options_in_running_text_are_those_of_their_command(document: Path) -> None:
    for code in INLINE.findall(document.read_text()):
        name, _, rest = code.partition(" ")
        if name in main.commands:
            assert set(re.findall(r"(--[\w-]+)", rest)) - {"--help"} <= options_of(main.commands[name]), code


@pages
def test_extras_that_are_installed_are_there(document: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"codecsieve\[([a-z,-]+)\]", document.read_text()):
        assert set(named.split(",")) <= set(extras)


@pytest.mark.slow
@pages
def test_a_documents_commands_run(document: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in a user's folder."""
    pytest.importorskip("lance", reason="pylance is installed with [dev]")
    monkeypatch.chdir(desk)
    for line in lines_of(document):
        words = words_of(line)
        if "cache" in words and words[1] != "precompute" and not Path("cache").exists():
            carried_out("codecsieve precompute corrected.csv --out cache --num-frames 4 --k-keep 64")
        if words[:2] == ["python", "examples/read_with_numpy.py"]:
            command = [sys.executable, ROOT / words[1], *words[2:]]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.stdout.count("as it was written") == 3, done.stderr
        elif ours(line) is not None and why_not_run(line) is None:
            shown = carried_out(line)
            if file := file_of(line):
                Path(file).write_text(shown)


@pages
def test_benchmarks_know_the_options_that_are_said(document: Path) -> None:
    """By their sources: some want packages that are not installed."""
    for line in lines_of(document):
        if line.startswith("python -m benchmarks."):
            module, *words = words_of(line)[2:]
            sources = "".join(path.read_text() for path in ROOT.joinpath(*module.split(".")[:-1]).glob("*.py"))
            given = {word for word in words if word.startswith("--")} - {"--help"}
            assert [option for option in given if f'"{option}"' not in sources] == [], line


def test_every_other_program_is_looked_after() -> None:
    begins = {(document.name, line.split(" ")[0]) for document in DOCUMENTS for line in lines_of(document)}
    known = {"codecsieve", "torchrun", "python", "pip", "make", *IMAGES_AND_SOURCES}
    assert {pair for pair in begins if pair[1] not in known} == {("README.md", "curl"), ("service.md", "curl")}


def test_every_reason_not_to_run_is_of_use() -> None:
    lines = [line for document in DOCUMENTS for line in lines_of(document) if ours(line) is not None]
    assert all(any(re.search(pattern, line) for line in lines) for pattern in NOT_RUN)


@pytest.mark.parametrize(
    "words", [["precompute", "videos", "--out", "c", "--k-kep", "3"], ["serve", "keys", "ad", "x"]]
)
def test_a_command_that_is_none_is_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parsed(words)


@pytest.mark.slow
def test_the_book_is_built_without_a_warning_and_says_all_public_names(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="Sphinx is installed with [docs]")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Dockerfile", "compose.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for folder in ("deploy", "examples", "benchmarks/results"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "book"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference, commands = ((tmp_path / "book" / f"{name}.html").read_text() for name in ("python", "cli"))
    import codecsieve as cs

    assert [name for name in cs.__all__ if f"codecsieve.{name}" not in reference] == []
    assert [name for name in main.commands if f">{name}<" not in commands] == []
    fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', reference)
    assert fetched == []
