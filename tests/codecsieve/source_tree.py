"""The package's sources as pyproject.toml maps them: which file becomes which module of the wheel."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def package_folders(root: Path) -> dict[str, Path]:
    """The folder of every package that goes into the wheel, by the package's name."""
    told = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    return {package: root.joinpath(*_folder(package, told["package-dir"])) for package in told["packages"]}


def module_files(root: Path) -> dict[str, Path]:
    """The file of every module, by the module's name; a package's is its `__init__`, under the package's name."""
    files = {}
    for package, folder in package_folders(root).items():
        for path in sorted(folder.glob("*.py")):
            files[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path
    return files


def _folder(package: str, places: dict[str, str]) -> list[str]:
    """As setuptools finds it: where the package, or the nearest one above it, is said to be."""
    above = package
    while above and above not in places:
        above = above.rpartition(".")[0]
    return [places.get(above, "."), *package.removeprefix(above).lstrip(".").split(".")]
