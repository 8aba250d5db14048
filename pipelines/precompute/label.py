"""Labels and further columns, from a table, for clips that a cache has: nothing is sieved again.

A table is a manifest whose rows name clips by id, or by the video's path. How it is read is left to `inputs.manifest`,
how it is kept to the cache.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from codecsieve.cache import open_cache, say_of_cache
from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.columns import further_columns
from codecsieve.pipelines.inputs.manifest import named_rows
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.inputs.row import LISTED, ColumnNames, Row
from codecsieve.text import as_utf8, shortened

_OWN = pa.schema(dict.fromkeys(("id", "label"), pa.string()))


@dataclass(frozen=True)
class Labelled:
    """What a table came to. clips: of the cache that it names; relabelled: those that have another label since;
    columns: further ones that it has; unknown: where it names no clip of the cache.
    """

    clips: int
    relabelled: int
    columns: tuple[str, ...]
    unknown: tuple[str, ...]


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
            file's clips. A path that no clip has names the clips of the file whose last parts are the same.
        columns: what the table calls our columns, such as `{"path": "filename"}`.
        blank_clears: a blank label takes away the label that a clip has; otherwise that stays.

    Raises:
        ManifestError: the table cannot be read, names not one clip of the cache, says two things of one clip, or a file
            name that several files have.
        CacheError: there is no cache, or it cannot be written.
    """
    names = columns if isinstance(columns, ColumnNames) else ColumnNames(columns or {})
    known = open_cache(cache, verify=False).index.select(["id", "uri", "start", "end", "label"]).to_pylist()
    clips, said, unknown = _Clips(known), dict[str, Row](), list[str]()
    rows = list(named_rows(os.path.abspath(table), names))
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
        raise ManifestError(
            f"{shortened(str(table))}: none of its {len(rows)} rows names a clip of cache {cache}, "
            f"{shortened(rows[0].id or rows[0].path)} say; see `codecsieve list {cache}`"
        )
    before = {clip["id"]: clip["label"] for clip in known}
    after = {
        clip_id: as_utf8(row.label) if row.label else None if blank_clears else before[clip_id]
        for clip_id, row in said.items()
    }
    told = [
        ClipRequest(row.path, clip_id, metadata={name: value for name, value in row.further if name not in LISTED})
        for clip_id, row in said.items()
    ]
    further = further_columns(told)
    own = pa.table({"id": list(after), "label": list(after.values())}, schema=_OWN)
    say_of_cache(cache, pa.table({"id": own["id"], "label": own["label"], **further}))
    relabelled = sum(before[clip_id] != label for clip_id, label in after.items())
    return Labelled(len(said), relabelled, tuple(further), tuple(unknown))


class _Clips:
    """The clips of a cache, to be found by a table's rows."""

    def __init__(self, clips: Sequence[Mapping[str, Any]]) -> None:
        self._ids = {clip["id"] for clip in clips}
        self._files: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._named: dict[str, set[str]] = defaultdict(set)
        for clip in clips:
            self._files[clip["uri"]].append(clip)
            self._named[Path(clip["uri"]).name].add(clip["uri"])

    def meant(self, row: Row) -> list[str]:
        """Ids of the clips that a row names; raises ManifestError where that may be those of one or another file."""
        if row.id is not None:
            return [row.id] if row.id in self._ids else []
        clips = self._files.get(self._file(row), [])
        if row.start is not None or row.end is not None:
            clips = [clip for clip in clips if (clip["start"], clip["end"]) == (row.start, row.end)]
        return [clip["id"] for clip in clips]

    def _file(self, row: Row) -> str:
        path = as_utf8(row.path)
        if path in self._files:
            return path
        alike = {uri: _common_end(path, uri) for uri in self._named.get(Path(path).name, ())}
        best = sorted(uri for uri, parts in alike.items() if parts == max(alike.values()))
        if len(best) > 1:
            raise ManifestError(
                f"{row.where}: {shortened(row.path)} may be {shortened(best[0], 100)} or {shortened(best[1], 100)}; "
                "give the whole path, or the clip's id"
            )
        return best[0] if best else ""


def _common_end(one: str, other: str) -> int:
    """How many last parts two paths have in common."""
    pairs = zip(reversed(PurePath(one).parts), reversed(PurePath(other).parts), strict=False)
    common = 0
    for mine, theirs in pairs:
        if mine != theirs:
            break
        common += 1
    return common
