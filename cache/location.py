"""Where a cache is, and how its files are read, published and removed there: one interface, two forms.

In a local folder a file is published by a rename, and who writes holds a lock. In a bucket nothing is renamed or
locked: a file is replaced only if it is as this process last saw it, and if it is not, whoever publishes it says what
is to be made of what is there now: see `bucket`. A URL that only fsspec knows is read and not written. What files say
is left to `metadata`, `index` and `plan`; the arrays' bytes to `sources`.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from codecsieve.errors import CacheError, CodecsieveError
from codecsieve.files import (
    PARTIAL,
    cannot_write,
    make_folder,
    publish,
    read_regular,
    remove_all,
    remove_partial_files,
    rename,
)
from codecsieve.objects import check_url, is_object_url
from codecsieve.text import one_line, shortened

from .bucket import Bucket

MOST_BYTES = 1 << 30
"""Of one metadata file; the plan of a cache of ten million clips has a third of it."""

T = TypeVar("T")
Again = Callable[[bytes], Sequence[Any] | None]
"""Of a file that another process changed meanwhile: what to publish now that it has these bytes; None: nothing."""


class Files(Protocol):
    """The files of a cache, named relative to it. Raises OSError, FileNotFoundError among them, and CacheError."""

    def read(self, name: str) -> bytes: ...
    def listed(self, folder: str) -> list[str]: ...
    def exists(self, name: str) -> bool: ...
    def publish(self, name: str, parts: Sequence[Any], again: Again | None) -> None: ...
    def add(self, name: str, parts: Sequence[Any], again: Again) -> None: ...
    def remove(self, names: Iterable[str]) -> None: ...
    def make_folder(self, name: str) -> None: ...
    def clear(self, folder: str) -> None: ...


@dataclass(frozen=True)
class Location:
    """A local folder, or a URL of an object store or one that fsspec knows, with its options.

    copies: a folder and bytes, of which as many hold copies of a store's shards, see `copies`.
    """

    root: Path | str
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    copies: tuple[str, int] | None = None

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str] | Location,
        storage_options: Mapping[str, Any] | None = None,
        copies: tuple[str, int] | None = None,
    ) -> Location:
        """Where `path` leads: what has `://` in it is a URL, all else a folder. ConfigError for secrets in it."""
        if isinstance(path, Location):
            return path
        if isinstance(path, str) and path.startswith("file://"):
            return cls(Path(unquote(urlsplit(path).path)))
        if isinstance(path, str) and "://" in path:
            if is_object_url(path):
                check_url(path)
            return cls(path.rstrip("/"), storage_options, copies)
        return cls(Path(path).absolute())

    def __str__(self) -> str:
        return str(self.root)

    def __getstate__(self) -> dict[str, Any]:
        """Without the connection, which another process makes for itself."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def local(self) -> bool:
        """Whether it is a folder."""
        return isinstance(self.root, Path)

    @property
    def folder(self) -> Path:
        """The folder that it is, for what is done to files of the machine only."""
        assert isinstance(self.root, Path), f"{self.root} is not a folder"
        return self.root

    @property
    def bucket(self) -> Bucket | None:
        """What it is in an object store; None elsewhere."""
        return self._files if isinstance(self._files, Bucket) else None

    @cached_property
    def _files(self) -> Files:
        if isinstance(self.root, Path):
            return _Folder(self.root)
        if is_object_url(self.root):
            return Bucket(self.root, self.storage_options)
        return _Foreign(self.root, self.storage_options or {})

    def read(self, name: str) -> bytes:
        """All bytes of one of its files. Raises FileNotFoundError, or CacheError where it cannot be read."""
        try:
            return self._files.read(name)
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
            found = self._files.listed(folder)
        except FileNotFoundError:
            raise
        except Exception as error:  # as above
            raise cannot_read(f"{self.root}/{folder}", error) from error
        return sorted(fnmatch.filter(found, pattern))

    def exists(self, name: str) -> bool:
        """Whether something is there of that name. Raises CacheError where that cannot be told."""
        try:
            return self._files.exists(name)
        except Exception as error:  # as above
            raise cannot_read(f"{self.root}/{name}", error) from error

    def publish(self, name: str, parts: Sequence[Any], again: Again | None = None) -> None:
        """Write one of its files, of contiguous buffers one after the other: atomically, durably, and knowingly.

        In a bucket it takes the place only of what this process last saw there: where another process has changed it
        since, `again` is asked what to publish in the place of that. In a folder nobody else writes, since the caller
        holds its lock. Raises CacheError where it cannot be written, or was changed and there is no `again`.
        """
        self.attempt(name, lambda: self._files.publish(name, parts, again))

    def add(self, name: str, parts: Sequence[Any], again: Again) -> None:
        """The same, but what is there counts in a bucket, seen or not: unless nothing is, `again` is asked."""
        self.attempt(name, lambda: self._files.add(name, parts, again))

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of its files, all of one folder, that are there, durably; CacheError where it cannot be."""
        wanted = list(names)
        self.attempt(wanted[0] if wanted else "", lambda: self._files.remove(wanted))

    def adopt(self, drafts: Mapping[str, str | None]) -> None:
        """Have drafts in its folder, by the names that they are to get, take these: atomically each, and durably.

        None: what has such a name is removed. Raises CacheError where one is not there, or cannot be renamed.
        """
        for name, draft in drafts.items():
            if draft is None:
                self.remove([name])
                continue
            self.attempt(name, partial(rename, self.folder / draft, self.folder / name))

    def make_folder(self, name: str = "") -> None:
        """Make one of its folders, durably; object stores have none."""
        self._files.make_folder(name)

    def clear(self, folder: str = "") -> None:
        """Remove what killed writers left half written in one of its folders."""
        self._files.clear(folder)

    def attempt(self, name: str, change: Callable[[], T]) -> T:
        """What a change of one of its files returns. Raises CacheError, its line, where that raises OSError."""
        try:
            return change()
        except OSError as error:
            if isinstance(self.root, Path):
                raise cannot_write(self.root / name, error) from error
            reason = error.strerror or str(error)
            raise CacheError(
                f"cannot write {self.root}/{name}: {reason}; check the bucket and who may write it, then run it again"
            ) from None


class _Folder:
    """`Files` on a disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> bytes:
        return read_regular(self._root / name, MOST_BYTES)

    def listed(self, folder: str) -> list[str]:
        return os.listdir(self._root / folder)

    def exists(self, name: str) -> bool:
        return os.path.lexists(self._root / name)

    def publish(self, name: str, parts: Sequence[Any], again: Again | None) -> None:
        publish(self._root / name, parts)

    def add(self, name: str, parts: Sequence[Any], again: Again) -> None:
        publish(self._root / name, parts)

    def remove(self, names: Iterable[str]) -> None:
        remove_all(self._root / name for name in names)

    def make_folder(self, name: str) -> None:
        make_folder(self._root / name)

    def clear(self, folder: str) -> None:
        remove_partial_files(self._root / folder)


class _Foreign:
    """`Files` at a URL that only fsspec knows: to be read."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url, self._options = url, options

    def read(self, name: str) -> bytes:
        files, root = self._opened()
        data: bytes = files.cat_file(f"{root}/{name}")
        return data

    def listed(self, folder: str) -> list[str]:
        files, root = self._opened()
        return [name.rstrip("/").rpartition("/")[2] for name in files.ls(f"{root}/{folder}", detail=False)]

    def exists(self, name: str) -> bool:
        files, root = self._opened()
        return bool(files.exists(f"{root}/{name}"))

    def publish(self, name: str, parts: Sequence[Any], again: Again | None) -> None:
        self._refuse()

    def add(self, name: str, parts: Sequence[Any], again: Again) -> None:
        self._refuse()

    def remove(self, names: Iterable[str]) -> None:
        self._refuse()

    def make_folder(self, name: str) -> None:
        self._refuse()

    def clear(self, folder: str) -> None:
        self._refuse()

    def _opened(self) -> tuple[Any, str]:
        fsspec = import_module("fsspec.core")  # which zarr too needs for such URLs only
        files, root = fsspec.url_to_fs(self._url, **self._options)
        return files, root

    def _refuse(self) -> None:
        raise CacheError(f"cannot write {self._url}: caches are written to folders, s3://, gs:// and az:// only")


def draft_name(name: str, draft: str) -> str:
    """What a file is called until it is adopted; whoever next writes all of the cache removes what nobody adopted."""
    return f"{name}.{draft}{PARTIAL}"


def cannot_read(name: str, error: Exception) -> CodecsieveError:
    """The line for a file that is there and cannot be read; of an error that is such a line already, that."""
    if isinstance(error, CodecsieveError):
        return error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    advice = "move it away" if getattr(error, "errno", None) in (errno.EISDIR, errno.EINVAL) else "check it"
    return CacheError(f"cannot read {name}: {shortened(one_line(reason)) or type(error).__name__}; {advice}")
