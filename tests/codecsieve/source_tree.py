"""The package's sources: which file becomes which module of the wheel."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def package_folders(root: Path) -> dict[str, Path]:
    """The folder of every package, by the package's name: `codecsieve` and what lies in it, links followed."""
    return _folders("codecsieve", root / "codecsieve")


def _folders(package: str, folder: Path) -> dict[str, Path]:
    found = {package: folder}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            found |= _folders(f"{package}.{path.name}", path)
    return found


def module_files(root: Path) -> dict[str, Path]:
    """The file of every module, by the module's name; a package's is its `__init__`, under the package's name."""
    files = {}
    for package, folder in package_folders(root).items():
        for path in sorted(folder.glob("*.py")):
            files[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path
    return files
