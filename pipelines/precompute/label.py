"""Labels and further columns, from a table, for clips that a cache has: nothing is sieved again.

A table is a manifest whose rows name clips by id, or by the video's path. How it is read is left to `inputs.manifest`,
how it is kept to the cache.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from codecsieve.cache import open_cache, say_of_cache
from codecsieve.cache.table import column_name
from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.columns import further_columns
from codecsieve.pipelines.inputs.manifest import named_rows
from codecsieve.pipelines.inputs.mistakes import check_path
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.inputs.row import LISTED, ColumnNames, Row
from codecsieve.text import as_utf8, shortened

_OWN = pa.schema(dict.fromkeys(("id", "label"), pa.string()))


@dataclass(frozen=True)
class Labelled:
    """What a table came to. clips: of the cache that it names; relabelled: those that have another label since;
    columns: further ones that it has; unknown: where it names no clip of the cache; guessed: clips whose file has
    nothing but its name in common with the path that they were named by.
    """

    clips: int
    relabelled: int
    columns: tuple[str, ...]
    unknown: tuple[str, ...]
    guessed: int = 0


def label_clips(
    cache: str | os.PathLike[str],
    table: str | os.PathLike[str],
    columns: ColumnNames | Mapping[str, str] | None = None,
    blank_clears: bool = False,
) -> Labelled:
    """Take labels and further columns of a cache's clips from a table.

    Args:
        cache: its folder.
        table: a manifest with a column `id`, or `path`, and optionally `start`, `end`: a path alone says it of all the
            file's clips. A path that no clip has names the clips of the file whose last parts are the same, unless
            another path has more of them.
        columns: what the table calls our columns, such as `{"path": "filename"}`.
        blank_clears: where a label or another column is blank, what was said there before goes; otherwise it stays.

    Raises:
        ManifestError: the table cannot be read, names not one clip of the cache, says two things of one clip, or a file
            name that several files have.
        CacheError: there is no cache, or it cannot be written.
    """
    names = columns if isinstance(columns, ColumnNames) else ColumnNames(columns or {})
    known = open_cache(cache, verify=False).index.select(["id", "uri", "start", "end", "label"]).to_pylist()
    check_path(os.fspath(table))
    rows = list(named_rows(os.path.abspath(table), names))
    clips, said, unknown = _Named(known, rows, os.path.dirname(os.path.abspath(table))), dict[str, Row](), list[str]()
    for row in rows:
        meant = clips.meant(row)
        if not meant:
            unknown.append(row.where)
        for clip_id in meant:
            first = said.setdefault(clip_id, row)
            if (first.label, first.further) != (row.label, row.further):
                raise ManifestError(
                    f"{row.where}: clip {shortened(clip_id)} is also named in {first.where}; name it once"
                )
    if not said:
        by_path = "; without its column id it names clips by path" if rows[0].id and rows[0].path else ""
        raise ManifestError(
            f"{shortened(str(table))}: none of its {len(rows)} rows names a clip of cache {cache}, "
            f"{shortened(rows[0].id or rows[0].path)} say{by_path}; see `codecsieve list {cache}`"
        )
    before = {clip["id"]: clip["label"] for clip in known}
    after = {clip_id: _label(row, before[clip_id], blank_clears) for clip_id, row in said.items()}
    told = [
        ClipRequest(row.path, clip_id, metadata={name: value for name, value in row.further if name not in LISTED})
        for clip_id, row in said.items()
    ]
    further = {column_name(name): values for name, values in further_columns(told).items()}
    own = pa.table({"id": list(after), "label": list(after.values())}, schema=_OWN)
    say_of_cache(cache, pa.table({"id": own["id"], "label": own["label"], **further}), _blanks(said, blank_clears))
    relabelled = sum(before[clip_id] != label for clip_id, label in after.items())
    guessed = sum(clips.is_guess(row) for row in said.values())
    return Labelled(len(said), relabelled, tuple(further), tuple(unknown), guessed)


def _label(row: Row, before: str | None, blank_clears: bool) -> str | None:
    if row.label:
        return as_utf8(row.label)
    return None if blank_clears and "label" in row.blank else before


def _blanks(said: Mapping[str, Row], blank_clears: bool) -> Mapping[str, list[str]]:
    """Ids of the clips of which a further column is to say nothing any more, by its name."""
    blanks: dict[str, list[str]] = defaultdict(list)
    for clip_id, row in said.items() if blank_clears else ():
        for name in row.blank:
            if name != "label":
                blanks[name].append(clip_id)
    return blanks


class _Named:
    """The clips of a cache that a table's rows name."""

    def __init__(self, clips: Sequence[Mapping[str, Any]], rows: Sequence[Row], folder: str) -> None:
        """folder: that the table lies in, where its relative paths start."""
        self._folder = folder
        self._ids = {clip["id"] for clip in clips}
        self._clips: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        named: dict[str, set[str]] = defaultdict(set)
        for clip in clips:
            self._clips[clip["uri"]].append(clip)
            named[PurePath(clip["uri"]).name].add(clip["uri"])
        paths = {as_utf8(row.path): row for row in rows if row.id is None}
        self._files = {path: self._file(path, row, named[PurePath(path).name]) for path, row in paths.items()}
        self._most: dict[str, float] = defaultdict(float)
        for uri, parts in self._files.values():
            self._most[uri] = max(self._most[uri], parts)

    def meant(self, row: Row) -> list[str]:
        """Ids of the clips that a row names."""
        if row.id is not None:
            return [row.id] if row.id in self._ids else []
        uri, parts = self._files[as_utf8(row.path)]
        if parts < self._most[uri]:  # the file is another one's, of the same name
            return []
        clips = self._clips.get(uri, [])
        if row.start is not None or row.end is not None:
            clips = [clip for clip in clips if (clip["start"], clip["end"]) == (row.start, row.end)]
        return [clip["id"] for clip in clips]

    def is_guess(self, row: Row) -> bool:
        """Whether a row's path has nothing but its name in common with the file that it was taken for."""
        return row.id is None and self._files[as_utf8(row.path)][1] == 1

    def _file(self, path: str, row: Row, alike: Iterable[str]) -> tuple[str, float]:
        """The file that a path stands for, and how many last parts say so; "" and 0 where there is none.

        All there are, as the table has them, are endless ones. Raises ManifestError where it may be one or another.
        """
        if path in self._clips:
            return path, math.inf
        common = {uri: _common_end(path, uri) for uri in alike}
        parts = max(common.values(), default=0)
        best = sorted(uri for uri in common if common[uri] == parts)
        whole = parts >= len(PurePath(os.path.relpath(path, self._folder)).parts)
        if not best or (len(best) > 1 and parts == 1 and not whole):
            return "", 0
        if len(best) > 1:
            raise ManifestError(
                f"{row.where}: {shortened(row.path)} may be {shortened(best[0], 100)} or {shortened(best[1], 100)}; "
                "give the whole path, or the clip's id"
            )
        return best[0], math.inf if whole else parts


def _common_end(one: str, other: str) -> int:
    """How many last parts two paths have in common."""
    pairs = zip(reversed(PurePath(one).parts), reversed(PurePath(other).parts), strict=False)
    common = 0
    for mine, theirs in pairs:
        if mine != theirs:
            break
        common += 1
    return common
