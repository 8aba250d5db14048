"""What surrounds the code: make's targets, files that GitHub reads, the links that make one package of the folders."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import codecsieve as cs

ROOT = Path(__file__).resolve().parents[1]


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_all_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    declared = re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = [re.fullmatch(r"make (\S+) +(\S.*)", line) for line in done.stdout.splitlines()]
    assert [line[1] for line in listed if line] == declared
    assert sorted(phony.split()) == sorted(declared)


def test_versions_are_one() -> None:
    citation = read_yaml("CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project  # setuptools reads it out of the package
    assert citation["version"] == cs.__version__
    assert citation["license"] == project["license"]
    assert f"## [{cs.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_names_the_method_s_paper() -> None:
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert [reference["url"] for reference in citation["references"]] == ["https://arxiv.org/abs/2602.08683"]


def test_every_pre_commit_hook_is_a_program_of_the_venv() -> None:
    hooks = [hook for repository in read_yaml(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    assert {"ruff-check", "ruff-format", "end-of-file-fixer"} <= {hook["id"] for hook in hooks}
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_issue_forms_have_what_github_asks_for(form: str) -> None:
    content = read_yaml(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= set(content)
    assert all({"type", "id", "attributes"} <= set(part) for part in content["body"])


def test_the_rooms_are_links_in_the_package() -> None:
    """So that whoever looks for codecsieve finds all of it, and finds nothing else: not the rooms by bare names."""
    links = {path.name: path.readlink() for path in (ROOT / "codecsieve").iterdir() if path.is_symlink()}
    assert links == {name: Path("..", name) for name in ("cache", "codec", "encoder", "kernels", "pipelines")}
    assert [(path.name, path.readlink()) for path in (ROOT / "src").iterdir() if path.is_symlink()] == [
        ("codecsieve", Path("../codecsieve"))
    ]
