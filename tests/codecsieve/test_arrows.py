"""Who knows whom: the imports of every module, those in functions and for type checkers too, against the arrows.

    cli -> commands -> pipelines -> codec -> kernels
                       pipelines -> cache, encoder

`text`, `errors`, `files`, `objects`, `machine`, `mosaic` and `options` lie at the bottom, where anyone may use them.
The rooms of `pipelines` have an order of their own.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, module_files

BOTTOM = {"errors", "files", "machine", "mosaic", "objects", "options", "text"}

TABLES = {"kernels", "kernels.reference"}
ON_CPU = {"kernels.cpu", *TABLES}
ON_GPU = {"kernels.gpu", "kernels.cupy", *TABLES}
KNOWS: dict[str, set[str]] = {
    "text": set(),
    "errors": {"text"},  # a message is one line
    "machine": set(),
    "mosaic": {"text"},
    "options": {"errors", "text"},
    "files": {"errors"},  # what cannot be written is an error of a kind
    "objects": {"errors", "text"},
    "kernels": {"kernels.reference"},
    "kernels.reference": {"kernels"},
    "kernels.cpu": TABLES,
    "kernels.cupy": TABLES,
    "kernels.triton": {"kernels.cupy", *TABLES},
    "kernels.gpu": {"kernels.cupy", "kernels.triton", *TABLES},
    "kernels.dispatch": {"kernels.gpu", *ON_CPU},
    "codec": {"codec.fields", "kernels.cupy", *ON_CPU},
    "codec.fields": TABLES,
    "cache": set(),
    "client": {"pipelines.config"},  # the names of options, for type checkers; a service says what they may be
    "encoder": set(),
    "pipelines": set(),
    "pipelines.config": {"codec", "codec.fields", *TABLES},
    "pipelines.engines": set(),
    "pipelines.inputs": {"codec"},
    "pipelines.transcode": {"codec"},
    "pipelines.sieve": {"pipelines.config", "codec", "codec.fields", *ON_CPU, *ON_GPU},
    "pipelines.look": {"pipelines.config", "pipelines.sieve", "codec", "codec.fields"},
    "pipelines.stream": {"pipelines.config", "pipelines.sieve", "codec", "codec.fields"},
    "pipelines.precompute": {
        "pipelines.config", "pipelines.engines", "pipelines.inputs", "pipelines.sieve", "cache", "codec",
        "codec.fields",
    },
    "pipelines.exchange": {"cache"},
    "pipelines.importing": {
        "pipelines.config", "pipelines.engines", "pipelines.exchange", "pipelines.inputs", "pipelines.precompute",
        "pipelines.sieve", "cache", *TABLES,
    },
    "pipelines.loading": {"cache"},
    "pipelines.learn": {"pipelines.loading", "cache", "encoder"},
    "pipelines.concepts": {"pipelines.learn", "cache"},
    "pipelines.language": {"pipelines.config", "pipelines.sieve", "cache", "encoder"},
    "pipelines.train": {"pipelines.loading", "pipelines.learn", "cache", "encoder"},
    "pipelines.probe": {
        "pipelines.config", "pipelines.inputs", "pipelines.precompute", "pipelines.loading", "pipelines.learn",
        "cache", "encoder",
    },
    "pipelines.serve": {
        "pipelines.config", "pipelines.engines", "pipelines.inputs", "pipelines.precompute", "pipelines.look",
        "pipelines.sieve", "pipelines.stream", "cache", "codec", "encoder",
    },
    "pipelines.demo": {"pipelines.config", "pipelines.inputs", "pipelines.precompute", "pipelines.look", "cache"},
    "commands": {
        "pipelines.config", "pipelines.inputs", "pipelines.precompute", "pipelines.look", "pipelines.transcode",
        "pipelines.learn", "pipelines.probe", "pipelines.demo", "pipelines.exchange", "pipelines.serve",
        "pipelines.importing",
        "pipelines.train", "pipelines.concepts", "pipelines.stream",
        "cache",
    },
    "cli": {"__init__", "commands"},
    "__main__": {"cli"},
    "__init__": {
        "pipelines.config", "pipelines.inputs", "pipelines.sieve", "pipelines.precompute", "pipelines.loading",
        "pipelines.exchange", "pipelines.importing", "pipelines.stream", "cache", "client", "codec", "encoder",
        "kernels.dispatch",
    },
}  # fmt: skip
"""The rooms that each room may know, besides itself and the bottom. A room is a folder, or a module with a rule."""


def wrong_arrows(root: Path, knows: dict[str, set[str]]) -> list[str]:
    """What is wrong with the imports of a source tree, one line each."""
    files = module_files(root)
    imported = {module: set(imports(module, path, files)) for module, path in files.items()}
    wrong = []
    for module, others in imported.items():
        here = room(module, files, knows)
        if here not in knows:
            wrong.append(f"{module}: no rule says whom {here} may know; add one to KNOWS")
            continue
        allowed = {here, *knows[here]} | (set() if here in BOTTOM else BOTTOM)
        for other in sorted(others):
            there = room(other, files, knows)
            if there not in allowed:
                wrong.append(f"{module} imports {other}: {here} must not know {there}")
    try:
        graphlib.TopologicalSorter(imported).prepare()
    except graphlib.CycleError as error:
        wrong.append("in a circle: " + " -> ".join(reversed(error.args[1])))
    return wrong


def room(module: str, files: dict[str, Path], knows: dict[str, set[str]]) -> str:
    """The room of a module: itself where it has a rule of its own, else its folder."""
    name = module.removeprefix("codecsieve.") if module != "codecsieve" else "__init__"
    if name in knows or files[module].stem == "__init__":
        return name
    return name.rpartition(".")[0] or name


def imports(module: str, path: Path, files: dict[str, Path]) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in it."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                found = next((name for name in (f"{source}.{alias.name}", source) if name in files), None)
                if found is not None and found != module:
                    yield found


@pytest.mark.slow
def test_every_arrow_points_down() -> None:
    assert wrong_arrows(ROOT, KNOWS) == []


def test_every_rule_has_a_room() -> None:
    files = module_files(ROOT)
    rooms = {room(module, files, KNOWS) for module in files}
    assert KNOWS.keys() == rooms
    assert set().union(*KNOWS.values()) <= rooms


LAYERS = {"errors": set(), "low": set(), "high": {"low"}, "__init__": set()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two rooms, `high` and `low`, with the arrows as they should be."""
    for folder in ("", "high", "low"):
        (tmp_path / "codecsieve" / folder).mkdir()
        (tmp_path / "codecsieve" / folder / "__init__.py").touch()
    package = tmp_path / "codecsieve"
    (package / "errors.py").touch()
    (package / "low" / "b.py").write_text("import os\nfrom codecsieve.errors import X\n")
    (package / "high" / "a.py").write_text("import numpy\nfrom codecsieve.low.b import f\nfrom . import c\n")
    (package / "high" / "c.py").write_text("from codecsieve.low import b as d\n")
    return tmp_path


def test_arrows_as_they_should_be_are_let_pass(tree: Path) -> None:
    assert wrong_arrows(tree, LAYERS) == []


@pytest.mark.parametrize(
    "line",
    [
        "from codecsieve.high import a",
        "from codecsieve.high.a import f",
        "import codecsieve.high.a",
        "import codecsieve.high.a as g",
        "from ..high import a",
        "from ..high.a import f",
        "def late():\n    from codecsieve.high.a import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from codecsieve.high.a import F",
        "try:\n    import codecsieve.high.a\nexcept ImportError:\n    pass",
    ],
)
def test_an_arrow_that_points_up_is_found_wherever_it_is(tree: Path, line: str) -> None:
    (tree / "codecsieve" / "low" / "z.py").write_text(f"{line}\n")
    assert wrong_arrows(tree, LAYERS) == ["codecsieve.low.z imports codecsieve.high.a: low must not know high"]


def test_the_bottom_knows_nobody_above_it(tree: Path) -> None:
    (tree / "codecsieve" / "errors.py").write_text("from codecsieve.low.b import f\n")
    assert "codecsieve.errors imports codecsieve.low.b: errors must not know low" in wrong_arrows(tree, LAYERS)


@pytest.mark.parametrize("new", ["low/cellar/wine.py", "attic.py"])
def test_a_new_room_needs_a_rule(tree: Path, new: str) -> None:
    path = tree / "codecsieve" / new
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (line,) = wrong_arrows(tree, LAYERS)
    assert "no rule says whom" in line


def test_a_circle_is_found_within_a_room_too(tree: Path) -> None:
    (tree / "codecsieve" / "high" / "c.py").write_text("def late():\n    from codecsieve.high.a import f\n")
    (line,) = wrong_arrows(tree, LAYERS)
    assert line.startswith("in a circle: ")
    assert {"codecsieve.high.a", "codecsieve.high.c"} == set(line.removeprefix("in a circle: ").split(" -> "))
