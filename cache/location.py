"""Where a cache is, a local folder or a URL, and how its small files are read: whole, and only if they are files.

What they say is left to `metadata`, `index` and `plan`; the arrays' bytes to `sources`.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from codecsieve.errors import CacheError
from codecsieve.files import read_regular
from codecsieve.text import one_line, shortened

MOST_BYTES = 1 << 30
"""Of one metadata file; the plan of a cache of ten million clips has a third of it."""


@dataclass(frozen=True)
class Location:
    """A local folder, or a URL that fsspec knows, with its options."""

    root: Path | str
    storage_options: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Location:
        """Where `path` leads: what has `://` in it is a URL, all else a folder."""
        if isinstance(path, str) and "://" in path:
            return cls(path, storage_options)
        return cls(Path(path).absolute())

    def __str__(self) -> str:
        return str(self.root)

    @property
    def local(self) -> bool:
        """Whether it is a folder."""
        return isinstance(self.root, Path)

    def read(self, name: str) -> bytes:
        """All bytes of one of its files. Raises FileNotFoundError, or CacheError where it cannot be read."""
        try:
            if isinstance(self.root, Path):
                return read_regular(self.root / name, MOST_BYTES)
            files, root = self._remote()
            data: bytes = files.cat_file(f"{root}/{name}")
            return data
        except FileNotFoundError:
            if isinstance(self.root, Path) and os.path.islink(self.root / name):
                raise CacheError(f"cannot read {self.root}/{name}: is a link that leads nowhere") from None
            raise
        except Exception as error:  # fsspec's file systems raise whatever theirs do
            raise cannot_read(f"{self.root}/{name}", error) from error

    def names(self, folder: str, pattern: str) -> list[str]:
        """Names in one of its folders that match a pattern, sorted; FileNotFoundError where the folder is not there.

        Raises CacheError where it cannot be listed.
        """
        try:
            if isinstance(self.root, Path):
                found = os.listdir(self.root / folder)
            else:
                files, root = self._remote()
                found = [name.rstrip("/").rpartition("/")[2] for name in files.ls(f"{root}/{folder}", detail=False)]
        except FileNotFoundError:
            raise
        except Exception as error:  # as above
            raise cannot_read(f"{self.root}/{folder}", error) from error
        return sorted(fnmatch.filter(found, pattern))

    def _remote(self) -> tuple[Any, str]:
        fsspec = import_module("fsspec.core")  # which zarr too needs for URLs only
        files, root = fsspec.url_to_fs(self.root, **(self.storage_options or {}))
        return files, root


def cannot_read(name: str, error: Exception) -> CacheError:
    """The line for a file that is there and cannot be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    advice = "move it away" if getattr(error, "errno", None) in (errno.EISDIR, errno.EINVAL) else "check it"
    return CacheError(f"cannot read {name}: {shortened(one_line(reason)) or type(error).__name__}; {advice}")
