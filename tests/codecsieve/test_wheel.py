"""The wheel: every file of the rooms, and nothing else; the source distribution: enough to make the same of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from source_tree import ROOT, package_folders

KEPT_OUT = ("__pycache__", ".*", "*.egg-info", "build", "demo", "*.nbi", "*.nbc")


def source_files(root: Path) -> set[str]:
    """The files that belong into the wheel, by their names there: all that lie in the package's folders."""
    return {
        "/".join([*package.split("."), path.name])
        for package, folder in package_folders(root).items()
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in (".nbi", ".nbc")
    }


def advice(missing: list[str]) -> str:
    """What is to be done, so that these files get into the wheel."""
    return (
        f"not in the wheel: {', '.join(missing)}. Give each folder an __init__.py; what is not Python must be named "
        "under [tool.setuptools.package-data] in pyproject.toml"
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, where no earlier build has left anything."""
    pytest.importorskip("setuptools", "77")
    copy = tmp_path_factory.mktemp("wheel") / "sources"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*KEPT_OUT))
    return copy


@pytest.fixture(scope="module")
def wheel(copy: Path) -> list[str]:
    """The names in a wheel that is built of the sources."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (path,) = (copy / "out").glob("codecsieve-*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_no_file_of_a_room_is_missing(wheel: list[str]) -> None:
    missing = sorted(source_files(ROOT) - set(wheel))
    assert not missing, advice(missing)


def test_nothing_else_is_in_it(wheel: list[str]) -> None:
    inside = {name for name in wheel if not name.partition("/")[0].endswith(".dist-info")}
    assert sorted(inside - source_files(ROOT)) == []


@pytest.mark.slow
def test_what_the_source_distribution_makes_runs_outside_of_the_checkout(
    copy: Path, wheel: list[str], tmp_path: Path
) -> None:
    """`make package` does so in environments of their own; here dependencies are those of the tests."""
    build = "import setuptools.build_meta as backend; print(backend.build_sdist('out'))"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (source,) = (copy / "out").glob("codecsieve-*.tar.gz")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", site, source], check=True, capture_output=True)
    inside = {path.relative_to(site).as_posix() for path in (site / "codecsieve").rglob("*") if path.is_file()}
    assert {name for name in inside if "__pycache__" not in name} == {
        name for name in wheel if name.startswith("codecsieve/")
    }
    use = f"import sys; sys.path.insert(0, {str(site)!r}); import codecsieve; print(codecsieve.__file__); "
    use += "from codecsieve.__main__ import run; sys.argv = ['codecsieve', '--version']; run()"
    done = subprocess.run([sys.executable, "-I", "-c", use], cwd=tmp_path, capture_output=True, text=True, check=True)
    home, version = done.stdout.splitlines()
    assert home.startswith(str(site))
    assert version == f"codecsieve, version {source.name.removeprefix('codecsieve-').removesuffix('.tar.gz')}"
