"""What lies in a folder below a root, a page at a time: folders, videos and manifests, which requests may name.

Links are followed as `roots` does it; those that lead out, or nowhere, are not told. Hidden files are left out, as they
are of a folder that is sieved, and so are names that are no text.
"""

from __future__ import annotations

import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.pipelines.inputs.manifest import MANIFEST_SUFFIXES
from codecsieve.text import quoted

from .refusal import RefusedError
from .roots import Roots, is_text

MOST = 100_000
"""Entries of one folder that are looked at: more are not sorted for a page of a few."""
_KINDS = {**dict.fromkeys(MANIFEST_SUFFIXES, "manifest"), **dict.fromkeys(VIDEO_SUFFIXES, "video")}


@dataclass(frozen=True)
class Entry:
    """One of a folder. path: `ROOT/sub/name`; kind: folder, video or manifest; bytes: of a file."""

    name: str
    path: str
    kind: str
    bytes: int | None


@dataclass(frozen=True)
class Page:
    """next: the offset of the page that follows, None where none does; whole: whether all of the folder was seen."""

    entries: list[Entry]
    next: int | None
    whole: bool


def page_of(roots: Roots, path: str, begins: str, offset: int, limit: int) -> Page:
    """The entries of a folder `ROOT/sub/...` whose names begin so, in the order of names.

    offset, limit: of its names, of which a page may have fewer, since links that lead out are among them. Raises
    RefusedError: 404 where there is nothing, 422 where it is no folder, or cannot be read.
    """
    folder = roots.find(path)
    if not folder.is_dir():
        raise RefusedError(422, f"folder ({quoted(path)}) must be a folder, not a file")
    names, whole = _names(folder, path, begins.casefold())
    found = [_entry(roots, folder, path, name) for name in names[offset : offset + limit]]
    return Page(
        [entry for entry in found if entry is not None], offset + limit if offset + limit < len(names) else None, whole
    )


def _names(folder: Path, path: str, begins: str) -> tuple[list[str], bool]:
    """The names that may be told, sorted, and whether there were no more entries than are looked at."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST) if _may_be_told(entry, begins)]
            whole = next(entries, None) is None
    except OSError as error:
        raise RefusedError(422, f"folder ({quoted(path)}): {error.strerror}; have it made readable") from None
    return sorted(names), whole


def _may_be_told(entry: os.DirEntry[str], begins: str) -> bool:
    name = entry.name
    if name.startswith(".") or not name.casefold().startswith(begins) or not is_text(name):
        return False
    return _suffix(name) in _KINDS or entry.is_dir(follow_symlinks=False) or entry.is_symlink()


def _entry(roots: Roots, folder: Path, path: str, name: str) -> Entry | None:
    """What is told of a name; None where it leads out, or to nothing that a request may name."""
    real = os.path.realpath(folder / name)
    if not roots.holds(real):
        return None
    try:
        status = os.stat(real)
    except OSError:
        return None
    below = f"{path.rstrip('/')}/{name}"
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, below, "folder", None)
    kind = _KINDS.get(_suffix(name))
    return Entry(name, below, kind, status.st_size) if kind and stat.S_ISREG(status.st_mode) else None


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
