"""What a run is to work on: files, folders and manifests become a list of clips, each with its id.

An id is made of a clip's content and range, so that a data set which was moved or renamed is still the same.
Nothing is decoded here: a manifest's file that is missing or no video is a clip like any other, and fails when its turn
comes. How a manifest is read is left to `manifest`, what a folder holds to `folders`, inputs that cannot be meant to
`mistakes`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from codecsieve.errors import ManifestError
from codecsieve.objects import is_object_url
from codecsieve.pipelines.inputs.fingerprint import fingerprint
from codecsieve.pipelines.inputs.folders import folder_rows, object_rows
from codecsieve.pipelines.inputs.manifest import MANIFEST_SUFFIXES, count_rows, is_data_set, read_rows
from codecsieve.pipelines.inputs.mistakes import check_inputs, check_rows
from codecsieve.pipelines.inputs.request import NOTHING, ClipRequest
from codecsieve.pipelines.inputs.row import ColumnNames, Row
from codecsieve.text import quoted, shortened

_THREADS = 16
_BATCH = 4096  # files queued to the threads at once
_CHECKED = 1 << 16  # rows of a manifest, one of whose files at least must be there
RANGE = 1 << 16
"""Clips that a run has in mind at a time: 2048 shards, so that workers seldom wait for the next range."""


def read_inputs(
    inputs: Iterable[str | os.PathLike[str]],
    columns: ColumnNames | Mapping[str, str] | None = None,
    labels_from_folders: bool = False,
) -> list[ClipRequest]:
    """The clips that `inputs` stand for, in the order given.

    A folder stands for the videos in it and below, by their suffixes, in the order of their paths, without
    hidden ones; so does the URL of one in an object store. A file whose suffix is in `MANIFEST_SUFFIXES` is a
    manifest, see `manifest`. Any other file is a video.

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
    check_inputs(paths, bool(names.names), labels_from_folders)
    return requests_of([row for path in paths for row in _rows(path, names, labels_from_folders)])


@dataclass(frozen=True)
class RequestRanges:
    """The clips of inputs, range after range, each as of `read_inputs`: what no memory holds at once.

    rows: how many the inputs list, None where that is not known before they are read. What is said of a clip in one
    range and otherwise in another is found out by whoever makes them; ids by content and label are made in each range.
    """

    ranges: Iterator[list[ClipRequest]]
    rows: int | None


def read_ranges(
    inputs: Iterable[str | os.PathLike[str]],
    columns: ColumnNames | Mapping[str, str] | None = None,
    labels_from_folders: bool = False,
    size: int = RANGE,
) -> RequestRanges:
    """The same, `size` rows at a time, of which the first are read at once. Raises as `read_inputs`, also later."""
    names = columns if isinstance(columns, ColumnNames) else ColumnNames(columns or {})
    paths = [os.fspath(given) for given in inputs]
    check_inputs(paths, bool(names.names), labels_from_folders)
    counts = [count_rows(path) for path in paths]
    rows = itertools.chain.from_iterable(_rows(path, names, labels_from_folders) for path in paths)
    ranges = (requests_of(some) for some in iter(lambda: list(itertools.islice(rows, size)), []))
    first = list(itertools.islice(ranges, 1))
    known = [count for count in counts if count is not None]
    return RequestRanges(itertools.chain(first, ranges), sum(known) if len(known) == len(counts) else None)


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
            metadata=dict(row.further) if row.further else NOTHING,
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


def input_rows(given: str, columns: ColumnNames, labels_from_folders: bool = False) -> Iterator[Row]:
    """The rows that one input stands for, whatever it is. Whether their files are there is not looked at."""
    if is_object_url(given):
        return object_rows(given, labels_from_folders)
    given = os.path.abspath(given)
    if _is_manifest(given):
        return read_rows(given, columns)
    return folder_rows(given, labels_from_folders) if os.path.isdir(given) else iter([Row(given, given)])


def _is_manifest(path: str) -> bool:
    return is_data_set(path) if os.path.isdir(path) else Path(path).suffix.lower() in MANIFEST_SUFFIXES


def _rows(given: str, columns: ColumnNames, labels_from_folders: bool) -> Iterator[Row]:
    """The same; ManifestError where a manifest's files are not there, as far as its first rows tell."""
    rows = input_rows(given, columns, labels_from_folders)
    if is_object_url(given) or not _is_manifest(os.path.abspath(given)):
        return rows
    first = list(itertools.islice(rows, _CHECKED))
    check_rows(os.path.abspath(given), first)
    return itertools.chain(first, rows)
