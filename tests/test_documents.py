"""What the documents name is there: files, folders, names in files, make's targets, modules to run, links, headings."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from test_arrows import BOTTOM, KNOWS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md")])

SUFFIXES = "py|cu|cuh|md|json|toml|yml|yaml|txt|png|cff"
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(rf"(?:[\w.*-]+/)+[\w.*-]+\.(?:{SUFFIXES})")
FOLDER = re.compile(r"(?:[\w.-]+/)+")
NAMED = re.compile(rf"((?:[\w.-]+/)*[\w.-]+\.(?:{SUFFIXES})):([A-Za-z_][\w.]*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE = re.compile(r"^make ([a-z][a-z-]*)", re.MULTILINE)
MODULE = re.compile(r"python -m (benchmarks[\w.]*)")

MADE = {"demo/kept.png"}
"""Files that a command in the documents writes."""
OUTSIDE = {"videos/", "cache/", "patches/", "positions/", "scores/", "frame_ids/"}
"""Folders of a user's, and of a cache."""


def wrong_names(text: str, root: Path, folder: Path) -> list[str]:
    """What a document of `folder` names and is not there, one line each."""
    prose = FENCED.sub("", text)
    targets = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for code in CODE.findall(prose):
        named = NAMED.fullmatch(code)
        if named:
            wrong += _wrong_name(root, *named.groups())
        elif FILE.fullmatch(code) and code not in MADE and not any(root.glob(code)):
            wrong.append(f"{code}: no such file")
        elif FOLDER.fullmatch(code) and code not in OUTSIDE and not (root / code).is_dir():
            wrong.append(f"{code}: no such folder")
    commands = "\n".join([*CODE.findall(prose), *FENCED.findall(text)])
    wrong += [f"make {name}: no such target" for name in MAKE.findall(commands) if name not in targets]
    for module in MODULE.findall(commands):
        path = root.joinpath(*module.split("."))
        if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
            wrong.append(f"python -m {module}: no such module")
    for link in LINK.findall(prose):
        wrong += _wrong_link(link, text, folder)
    return wrong


def _wrong_name(root: Path, file: str, name: str) -> list[str]:
    path = root / file
    if not path.is_file():
        return [f"{file}: no such file"]
    source = path.read_text()
    # A method is named with its class, a constant is assigned, a CUDA kernel is followed by its arguments.
    parts = name.split(".")
    missing = [
        part for part in parts
        if not re.search(rf"^\s*(?:(?:def|class)\s+{part}\b|{part}\s*[:=])|\b{part}\(", source, re.MULTILINE)
    ]  # fmt: skip
    return [f"{file}: no {part} in it" for part in missing]


def _wrong_link(link: str, text: str, folder: Path) -> list[str]:
    if "://" in link:
        return []
    file, _, heading = link.partition("#")
    path = folder / file
    if file and not path.exists():
        return [f"{link}: no such file"]
    if not heading:
        return []
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", path.read_text() if file else text), re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
    return [] if heading in slugs else [f"{link}: no such heading"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    assert wrong_names(document.read_text(), ROOT, document.parent) == []


def test_the_documents_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/method.md"} <= names


def test_the_picture_of_the_arrows_is_true() -> None:
    """What can be reached by the arrows drawn is what can be reached by those that the imports must keep to."""
    (picture,) = re.findall(r"^```mermaid$(.*?)^```", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE | re.DOTALL)
    drawn: set[tuple[str, str]] = set()
    for line in re.sub(r"\[.*?\]", "", picture).splitlines():
        ends = [[name.strip() for name in end.split("&")] for end in line.split("-->")]
        drawn.update(product(*ends) if len(ends) == 2 else ())
    ruled = {(_drawn_as(here), _drawn_as(there)) for here, others in KNOWS.items() for there in others}
    left_out = {*BOTTOM, "config", ""}
    ruled = {(here, there) for here, there in ruled if here != there and not {here, there} & left_out}
    assert _reachable(drawn) == _reachable(ruled - {("commands", "public")})  # whose version it prints


def _drawn_as(room: str) -> str:
    """The name in the picture of a room of `KNOWS`; "" for what holds rooms."""
    names = {"__init__": "public", "cli": "commands", "__main__": "commands", "pipelines": ""}
    return names.get(room, room.removeprefix("pipelines.").split(".")[0])


def _reachable(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    while True:
        further = arrows | {(a, d) for a, b in arrows for c, d in arrows if b == c}
        if further == arrows:
            return arrows
        arrows = further


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "codec").mkdir()
    (tmp_path / "codec" / "plan.py").write_text("LIMIT = 3\nclass Plan:\n    def feed(self):\n        gather(1)\n")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "run.py").touch()
    (tmp_path / "Makefile").write_text("test: lint\n\tpytest\n")
    (tmp_path / "README.md").write_text("# Use it\n")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "`codec/plan.py` and `codec/*.py`, in `codec/`; see [the plan](codec/plan.py), [below](#use-it)\n\n# Use it",
        "`codec/plan.py:Plan.feed` and `codec/plan.py:LIMIT`; [use](README.md#use-it), [elsewhere](https://a.b/c.py)",
        "`make test`\n```\nmake test   # lint/types.py\npython -m benchmarks.run\n```\nWe make it quickly.",
    ],
)
def test_what_is_there_is_let_pass(tree: Path, text: str) -> None:
    assert wrong_names(text, tree, tree) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("`codec/plans.py`", "codec/plans.py: no such file"),
        ("`codec/nv*.py`", "codec/nv*.py: no such file"),
        ("`codecs/`", "codecs/: no such folder"),
        ("`codec/plan.py:Plan.eat`", "codec/plan.py: no eat in it"),
        ("`codec/plans.py:Plan`", "codec/plans.py: no such file"),
        ("`codec/plan.py:LIMITS`", "codec/plan.py: no LIMITS in it"),
        ("`make tests`", "make tests: no such target"),
        ("```\nmake tests  # all\n```", "make tests: no such target"),
        ("```\npython -m benchmarks.speed.run\n```", "python -m benchmarks.speed.run: no such module"),
        ("[the plan](plan.md)", "plan.md: no such file"),
        ("[use](README.md#try-it)", "README.md#try-it: no such heading"),
    ],
)
def test_what_is_not_there_is_found(tree: Path, text: str, says: str) -> None:
    assert wrong_names(text, tree, tree) == [says]
