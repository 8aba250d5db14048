"""The notebooks run as a user runs them, in a kernel of their own on videos made on the spot, and show pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = {"look", "train"}

nbformat = pytest.importorskip("nbformat", reason="notebooks are run with [dev]")


def cells_of(name: str) -> list[Any]:
    cells: list[Any] = nbformat.read(FOLDER / f"{name}.ipynb", 4).cells
    return cells


def run(name: str, folder: Path) -> tuple[str, list[str]]:
    """What a notebook prints, and the kinds of what its cells show, from a folder of its own."""
    from nbclient import NotebookClient

    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    html = [output.data.get("text/html", "") for output in outputs if "data" in output]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert all("data:image/png;base64," in text for text in html if text)
    return printed, kinds


@pytest.fixture
def folder(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    (tmp_path / "videos").mkdir()
    for moving in ("pan", "square"):
        make_video(tmp_path / "videos" / f"{moving}.mp4", frames=64, moving=moving)
    return tmp_path


def test_every_notebook_is_tested_and_holds_no_output() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == NOTEBOOKS
    for name in NOTEBOOKS:
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells_of(name))
        assert cells_of(name)[0].cell_type == "markdown"


@pytest.mark.slow
def test_the_notebook_that_looks(folder: Path) -> None:
    printed, kinds = run("look", folder)
    assert "2 clips made, 0 were there, 0 failed" in printed
    assert kinds.count("image/png") == 3
    assert kinds.count("text/html") == 3


@pytest.mark.slow
def test_the_notebook_that_trains(folder: Path) -> None:
    printed, kinds = run("train", folder)
    assert "16 clips made, 0 were there, 0 failed" in printed
    assert "of 16 right" in printed.splitlines()[-1]
    assert kinds.count("text/html") == 1
