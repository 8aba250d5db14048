"""Which clip is meant: people name clips by id, by the beginning of an id, or by their video's file.

Numbers are left to `reader`.
"""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.text import as_utf8, quoted, shortened

from .parquet import column

_NAMED = 4


def find_clip(index: pa.Table, name: str) -> str:
    """The id of the one clip of an index (columns `id` and `uri`) that `name` stands for.

    In this order: an id; the beginning of a single id; a path, absolute or from here, of a single clip; the end of one,
    from a slash on, such as its file's name. Raises KeyError, with one line that says which clips it may have been.
    """
    if not name:
        raise KeyError("'' names no clip; give an id, the beginning of one, or a file's name")
    name, ids = as_utf8(name), index["id"]
    for found, how in (
        (pc.equal(ids, name), "is the id of"),
        (pc.starts_with(ids, name), "begins the id of"),
        (_is(index["uri"], name), "is the file of"),
        (_ends(index["uri"], name), "is the file of"),
    ):
        clips = column(index.filter(found), "id")
        if len(clips) == 1:
            return str(clips[0])
        if clips:
            listed = ", ".join(shortened(clip_id, 60) for clip_id in clips[:_NAMED])
            more = ", …" if len(clips) > _NAMED else ""
            raise KeyError(f"{quoted(name)} {how} {len(clips)} clips: {listed}{more}; give one clip's id")
    raise KeyError(f"{quoted(name)} is no clip's id, the beginning of one, or a clip's file")


def _is(paths: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.is_in(paths, value_set=pa.array([name, os.path.abspath(name)], pa.string())), False)


def _ends(paths: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.ends_with(paths, f"/{os.path.normpath(name).lstrip('/')}"), False)
