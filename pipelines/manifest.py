"""What a run is to work on: files, folders and manifests become a list of clips, each with its id.

An id is made of a clip's content and range, so that a data set which was moved or renamed is still the same.
Nothing is decoded here: a file that is missing or no video is a clip like any other, and fails when its turn
comes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import ManifestError
from codecsieve.pipelines.job import ClipRequest
from codecsieve.pipelines.manifest_file import MANIFEST_SUFFIXES, Row, read_rows

_BLOCK = 64 << 10
_BLOCKS = 16
_THREADS = 16
_BATCH = 4096  # files queued to the threads at once


def read_inputs(inputs: Iterable[str | os.PathLike[str]]) -> list[ClipRequest]:
    """The clips that `inputs` stand for, in the order given.

    A folder stands for the videos in it and below, by their suffixes, in the order of their paths, without
    hidden ones. A file whose suffix is in `MANIFEST_SUFFIXES` is a manifest, see `manifest_file`. Any other
    file is a video.

    Without an id of its own a clip gets 16 hex digits of its file's fingerprint, `@start-end` where it is a
    part, and `~` with 8 digits of its label's hash where the same content is asked for with several labels. A
    file without readable content gets `path-` and 16 digits of its path's hash. Repeats stay, see `distinct`.

    Raises ManifestError for a manifest that cannot be read, a folder without videos, one id given to
    different clips.
    """
    rows = [row for given in inputs for row in _rows(os.path.abspath(given))]
    _check_ids(rows)
    paths = list(dict.fromkeys(row.path for row in rows))
    with ThreadPoolExecutor(_THREADS) as pool:
        batches = (paths[first : first + _BATCH] for first in range(0, len(paths), _BATCH))
        prints = dict(zip(paths, (one for batch in batches for one in pool.map(fingerprint, batch)), strict=True))
    return _identify(rows, prints)


def distinct(requests: Iterable[ClipRequest]) -> list[ClipRequest]:
    """The requests without repeats: of those with the same content, range and label the first is kept.

    Raises ManifestError where one id stands for different clips.
    """
    kept: dict[str, ClipRequest] = {}
    for request in requests:
        first = kept.setdefault(request.id, request)
        for name in ("label", "start", "end", "fingerprint"):
            if getattr(first, name) != getattr(request, name):
                raise ManifestError(
                    f"clip id {request.id} stands for {first.path} with {name} {getattr(first, name)!r} and "
                    f"for {request.path} with {getattr(request, name)!r}; give each clip an id of its own"
                )
    return list(kept.values())


def fingerprint(path: str | os.PathLike[str]) -> str:
    """32 hex digits (BLAKE2b) of a file's size and content; "" where it is missing, empty or cannot be read.

    Up to 1 MB all of the content counts, of larger files 16 evenly spaced blocks of 64 KB, the first and the
    last among them: a million files are identified without reading them whole.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return ""
            digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
            if size <= _BLOCKS * _BLOCK:
                digest.update(file.readall())
            else:
                for block in range(_BLOCKS):
                    file.seek((size - _BLOCK) * block // (_BLOCKS - 1))
                    digest.update(file.read(_BLOCK))
            return digest.hexdigest()
    except OSError:
        return ""


# --- ids


def _check_ids(rows: Sequence[Row]) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        if row.id is None:
            continue
        first = seen.setdefault(row.id, row)
        if replace(first, where=row.where) != row:
            raise ManifestError(
                f"{row.where}: id {row.id} is also that of {first.where}; give each clip an id of its own"
            )


def _identify(rows: Sequence[Row], prints: Mapping[str, str]) -> list[ClipRequest]:
    made = [row.id or _content(row.path, prints[row.path]) + _range(row) for row in rows]
    labels: dict[str, set[str | None]] = defaultdict(set)
    for row, clip_id in zip(rows, made, strict=True):
        if row.id is None:
            labels[clip_id].add(row.label)
    return [
        ClipRequest(
            path=row.path,
            id=clip_id if len(labels.get(clip_id, ())) < 2 or row.id else f"{clip_id}~{_digest(row.label or '', 4)}",
            label=row.label,
            start=row.start,
            end=row.end,
            fingerprint=prints[row.path],
        )
        for row, clip_id in zip(rows, made, strict=True)
    ]


def _content(path: str, print_: str) -> str:
    return print_[:16] or f"path-{_digest(path, 8)}"


def _range(row: Row) -> str:
    if row.start is None and row.end is None:
        return ""
    start, end = (("" if at is None else repr(at).removesuffix(".0")) for at in (row.start or 0.0, row.end))
    return f"@{start}-{end}"


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(os.fsencode(text), digest_size=size).hexdigest()


# --- inputs


def _rows(given: str) -> Iterator[Row]:
    if os.path.isdir(given):
        yield from _folder_rows(given)
    elif Path(given).suffix.lower() in MANIFEST_SUFFIXES:
        yield from read_rows(given)
    else:
        yield Row(given, given)


def _folder_rows(folder: str) -> Iterator[Row]:
    """Links to folders are followed, each folder once; a link that leads nowhere is a clip that will fail."""

    def refuse(error: OSError) -> None:
        raise ManifestError(f"{error.filename}: {error.strerror}; make this folder readable or leave it out")

    found, seen = False, {os.path.realpath(folder)}
    for at, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        targets = {name: os.path.realpath(os.path.join(at, name)) for name in sorted(subfolders)}
        subfolders[:] = [name for name, to in targets.items() if not name.startswith(".") and to not in seen]
        seen.update(targets[name] for name in subfolders)
        for name in sorted(names):
            path = os.path.join(at, name)
            if name.startswith(".") or Path(name).suffix.lower() not in VIDEO_SUFFIXES:
                continue
            if os.path.isfile(path) or not os.path.exists(path):
                found = True
                yield Row(path, path)
    if not found:
        raise ManifestError(f"{folder}: no video in this folder; name files of unusual suffixes one by one")
