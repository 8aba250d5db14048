"""The command `export`: what it says, and its exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from cache_cases import fill, names
from click.testing import CliRunner, Result

from codecsieve.cli import main


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    fill(tmp_path / "cache", names(5), failing={"clip-3"})
    return tmp_path / "cache"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)], prog_name="codecsieve")


def test_it_shows_progress_and_what_there_is(cache: Path, tmp_path: Path) -> None:
    result = run(cache, tmp_path / "out", "--to", "webdataset", "--shard-size", "17 KB")
    assert result.exit_code == 0, result.stderr
    assert "4 of 4 clips" in result.stderr
    assert [line.split() for line in result.stdout.splitlines()[1:5]] == [
        ["clips", "4"],
        ["there", "already", "0"],
        ["failed", "in", "the", "cache", "1"],
        ["shards", "2"],
    ]
    again = run(cache, tmp_path / "out", "--to", "webdataset", "--shard_size", "17 KB", "--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--to", "csv"], 2, "'csv' is not one of 'webdataset', 'hf', 'npz', 'lance', 'llava', 'assets', 'ov2'"),
        ([], 2, "Missing option '--to'"),
        (["--to", "npz", "--shard-size", "much"], 2, "shard_size ('much') must be a size"),
        (["--to", "npz", "--where", "fsp > 1"], 2, "where ('fsp > 1')"),
        (["--to", "npz", "--where", "fps > 1000"], 2, "no clips that meet the condition"),
    ],
)
def test_what_makes_no_sense_is_told_and_nothing_is_made(
    cache: Path, tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    result = run(cache, tmp_path / "out", *arguments)
    assert result.exit_code == status
    assert says in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_something_else_is_one_line(cache: Path) -> None:
    result = run(cache, cache, "--to", "npz")
    assert result.exit_code == 1
    assert result.stderr == f"codecsieve: {cache} is not empty and not an export; use another OUT\n"
