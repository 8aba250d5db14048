"""The wheel: every file of the rooms, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from source_tree import ROOT, package_folders

KEPT_OUT = ("__pycache__", ".*", "*.egg-info", "build", "demo", "*.nbi", "*.nbc")


def source_files(root: Path) -> dict[str, Path]:
    """The files that belong into the wheel, by their names there: all that lie in the packages' folders."""
    folders = package_folders(root)
    tops = {package: folder for package, folder in folders.items() if package.count(".") <= 1}
    files = {}
    for package, folder in tops.items():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".nbi", ".nbc"):
                files["/".join([*package.split("."), *path.relative_to(folder).parts])] = path
    return files


def advice(missing: list[str]) -> str:
    """What pyproject.toml must be told, so that these files get into the wheel."""
    packages = sorted({name.rpartition("/")[0].replace("/", ".") for name in missing})
    return (
        f"not in the wheel: {', '.join(missing)}. Add to [tool.setuptools] packages (or, for what is not Python, to "
        f"package-data) in pyproject.toml: {', '.join(packages)}"
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel that is built of a copy of the sources, where no earlier build has left anything."""
    pytest.importorskip("setuptools", "77")
    copy = tmp_path_factory.mktemp("wheel") / "sources"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*KEPT_OUT))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (path,) = (copy / "out").glob("codecsieve-*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_no_file_of_a_room_is_missing(wheel: list[str]) -> None:
    missing = sorted(source_files(ROOT).keys() - set(wheel))
    assert not missing, advice(missing)


def test_nothing_else_is_in_it(wheel: list[str]) -> None:
    inside = {name for name in wheel if not name.partition("/")[0].endswith(".dist-info")}
    assert sorted(inside - source_files(ROOT).keys()) == []


def test_the_advice_names_what_to_add() -> None:
    said = advice(["codecsieve/pipelines/attic/chest.py", "codecsieve/pipelines/attic/lid.py"])
    assert said.endswith("pyproject.toml: codecsieve.pipelines.attic")
