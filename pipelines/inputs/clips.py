"""What a run is to work on: files, folders and manifests become a list of clips, each with its id.

An id is made of a clip's content and range, so that a data set which was moved or renamed is still the same.
Nothing is decoded here: a manifest's file that is missing or no video is a clip like any other, and fails when its turn
comes. How a manifest is read is left to `manifest`, what a folder holds to `folders`, inputs that cannot be meant to
`mistakes`.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.fingerprint import fingerprint
from codecsieve.pipelines.inputs.folders import folder_rows
from codecsieve.pipelines.inputs.manifest import MANIFEST_SUFFIXES, read_rows
from codecsieve.pipelines.inputs.mistakes import check_input, check_rows
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.inputs.row import ColumnNames, Row
from codecsieve.text import quoted, shortened

_THREADS = 16
_BATCH = 4096  # files queued to the threads at once


def read_inputs(
    inputs: Iterable[str | os.PathLike[str]],
    columns: ColumnNames | Mapping[str, str] | None = None,
    labels_from_folders: bool = False,
) -> list[ClipRequest]:
    """The clips that `inputs` stand for, in the order given.

    A folder stands for the videos in it and below, by their suffixes, in the order of their paths, without
    hidden ones. A file whose suffix is in `MANIFEST_SUFFIXES` is a manifest, see `manifest`. Any other
    file is a video.

    columns: what a manifest calls our columns, such as `{"path": "filename", "label": "action"}`. labels_from_folders:
    videos of a folder have the name of the folder that they lie in for a label, but those that lie at its top.

    Without an id of its own a clip gets 16 hex digits of its file's fingerprint, `@start-end` where it is a
    part, and `~` with 8 digits of its label's hash where the same content is asked for with several labels. A
    file without readable content gets `path-` and 16 digits of its path's hash. Repeats stay, see `distinct`.

    Raises ManifestError for a manifest that cannot be read, a folder without videos, a path that is not there or can be
    no video, one id given to different clips; ConfigError for columns that are not ours.
    """
    names = columns if isinstance(columns, ColumnNames) else ColumnNames(columns or {})
    paths = [os.fspath(given) for given in inputs]
    for path in paths:
        check_input(path)
    return requests_of([row for path in paths for row in _rows(os.path.abspath(path), names, labels_from_folders)])


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
            metadata=dict(row.further),
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


def _rows(given: str, columns: ColumnNames, labels_from_folders: bool) -> Sequence[Row]:
    if os.path.isdir(given):
        return list(folder_rows(given, labels_from_folders))
    if Path(given).suffix.lower() not in MANIFEST_SUFFIXES:
        return [Row(given, given)]
    rows = list(read_rows(given, columns))
    check_rows(given, rows)
    return rows
