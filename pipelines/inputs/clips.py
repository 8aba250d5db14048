"""What a run is to work on: files, folders and manifests become a list of clips, each with its id.

An id is made of a clip's content and range, so that a data set which was moved or renamed is still the same.
Nothing is decoded here: a file that is missing or no video is a clip like any other, and fails when its turn
comes. How a manifest is read is left to `manifest`, what a folder holds to `folders`.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.fingerprint import fingerprint
from codecsieve.pipelines.inputs.folders import folder_rows
from codecsieve.pipelines.inputs.manifest import MANIFEST_SUFFIXES, Row, read_rows
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.text import quoted, shortened

_THREADS = 16
_BATCH = 4096  # files queued to the threads at once


def read_inputs(inputs: Iterable[str | os.PathLike[str]]) -> list[ClipRequest]:
    """The clips that `inputs` stand for, in the order given.

    A folder stands for the videos in it and below, by their suffixes, in the order of their paths, without
    hidden ones. A file whose suffix is in `MANIFEST_SUFFIXES` is a manifest, see `manifest`. Any other
    file is a video.

    Without an id of its own a clip gets 16 hex digits of its file's fingerprint, `@start-end` where it is a
    part, and `~` with 8 digits of its label's hash where the same content is asked for with several labels. A
    file without readable content gets `path-` and 16 digits of its path's hash. Repeats stay, see `distinct`.

    Raises ManifestError for a manifest that cannot be read, a folder without videos, one id given to
    different clips.
    """
    return requests_of([row for given in inputs for row in _rows(os.path.abspath(given))])


def requests_of(rows: Sequence[Row]) -> list[ClipRequest]:
    """The same for rows that are read. Raises ManifestError where one id is given to different clips."""
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
                    f"clip id {shortened(request.id)} stands for {shortened(first.path)} with {name} "
                    f"{quoted(getattr(first, name))} and for {shortened(request.path)} with "
                    f"{quoted(getattr(request, name))}; give each clip an id of its own"
                )
    return list(kept.values())


# --- ids


def _check_ids(rows: Sequence[Row]) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        if row.id is None:
            continue
        first = seen.setdefault(row.id, row)
        if replace(first, where=row.where) != row:
            raise ManifestError(
                f"{row.where}: id {shortened(row.id)} is also that of {first.where}; give each clip an id of its own"
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
        yield from folder_rows(given)
    elif Path(given).suffix.lower() in MANIFEST_SUFFIXES:
        yield from read_rows(given)
    else:
        yield Row(given, given)
