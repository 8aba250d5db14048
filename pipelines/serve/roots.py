"""The folders that a service may touch, by name: `NAME/sub/clip.mp4` is a file below one, and nothing else is.

Symbolic links are followed first, and what they lead to must lie below a root as well. What is outside is not told
from what is not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from codecsieve.errors import ConfigError
from codecsieve.text import quoted, shortened

from .refusal import RefusedError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_CACHE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
SEPARATOR = ":"
"""Between the root and the folder in the name of a cache: `NAME:FOLDER`; `NAME` alone is a root that is a cache."""


class Roots:
    """folders: real paths, by name."""

    def __init__(self, folders: Mapping[str, str | os.PathLike[str]]) -> None:
        """Raises ConfigError for a name that cannot be, or a folder that is none."""
        self.folders: dict[str, Path] = {}
        for name, folder in folders.items():
            if not _NAME.fullmatch(name):
                raise ConfigError(f"root name ({quoted(name)}) must be letters, digits, - and _")
            if not os.path.isdir(folder):
                raise ConfigError(f"root {name} ({shortened(os.fspath(folder))}) must be a folder that is there")
            self.folders[name] = Path(os.path.realpath(folder))

    @classmethod
    def parse(cls, given: Iterable[str]) -> Roots:
        """Of `NAME=FOLDER`, or a folder alone, which has its own name. Raises ConfigError."""
        folders: dict[str, str] = {}
        for text in given:
            name, equals, folder = text.partition("=")
            if not equals:
                name, folder = os.path.basename(os.path.abspath(text)), text
            if name in folders:
                raise ConfigError(f"root name ({quoted(name)}) must be given once")
            folders[name] = folder
        return cls(folders)

    def check_apart(self, data: str | os.PathLike[str]) -> None:
        """Raise ConfigError where a service's own folder could be read by its roots, or written."""
        real = Path(os.path.realpath(data))
        for name, root in self.folders.items():
            if real.is_relative_to(root) or root.is_relative_to(real):
                raise ConfigError(f"data ({shortened(str(real))}) must lie apart from root {name} "
                                  f"({shortened(str(root))}): neither in the other")  # fmt: skip

    def find(self, path: str) -> Path:
        """The real path of what `NAME/sub/...` names. Raises RefusedError 404 where it is not there, or not below."""
        name, _, rest = path.partition("/")
        root = self.folders.get(name)
        nothing = RefusedError(404, f"path ({quoted(path)}): nothing there; it must be NAME/... below one of the roots "
                                    f"({', '.join(self.folders) or 'none'})")  # fmt: skip
        if root is None or "\0" in path or not is_text(path):
            raise nothing
        real = os.path.realpath(os.path.join(root, rest.lstrip("/")))
        if not self.holds(real) or not os.path.lexists(real):
            raise nothing
        return Path(real)

    def holds(self, real: str | os.PathLike[str]) -> bool:
        """Whether a real path lies below a root, or is one."""
        return any(Path(real).is_relative_to(root) for root in self.folders.values())

    def cache_folder(self, name: str) -> Path:
        """The folder of the cache `NAME:FOLDER`, there or not. Raises RefusedError 404 for what cannot be one."""
        root, separator, folder = name.partition(SEPARATOR)
        at = self.folders.get(root)
        if at is None or (separator and not _CACHE.fullmatch(folder)):
            raise RefusedError(404, f"cache ({quoted(name)}) must be ROOT:FOLDER, a folder right below one of the "
                                    f"roots ({', '.join(self.folders) or 'none'})")  # fmt: skip
        path = at / folder if separator else at
        if Path(os.path.realpath(path)) != path:  # a link: to somewhere else, or under another name
            raise RefusedError(404, f"cache ({quoted(name)}) must be a folder right below its root, not a link")
        return path

    def caches(self) -> list[str]:
        """The names of all caches: roots that are caches, and folders right below them that are."""
        found = []
        for name, root in self.folders.items():
            if (root / "zarr.json").is_file():
                found.append(name)
            try:
                entries = sorted(os.scandir(root), key=lambda entry: entry.name)
            except OSError:  # it was there when the service started
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and _CACHE.fullmatch(entry.name):
                    found += [f"{name}{SEPARATOR}{entry.name}"] * os.path.isfile(f"{entry.path}/zarr.json")
        return found

    def shown(self, text: str) -> str:
        """A text with the roots' folders in it by their names, as users know them."""
        for name, root in sorted(self.folders.items(), key=lambda item: -len(str(item[1]))):
            text = text.replace(f"{root}/", f"{name}/")
        return text


def is_text(path: str) -> bool:
    """Whether a path can be told as UTF-8, which a file's name need not be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
