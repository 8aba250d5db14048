"""Which clip is meant: people name clips by id, by the beginning of an id, or by their video's file.

Numbers are left to `reader`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.text import as_utf8, quoted, shortened

from .parquet import column

_NAMED = 4


def find_clip(index: pa.Table, name: str) -> str:
    """The id of the one clip of an index (columns `id` and `uri`) that `name` stands for.

    In this order: an id; the beginning of a single id; the end of a single clip's path, from a slash on, such as its
    file's name. Raises KeyError, with one line that says which clips it may have been.
    """
    if not name:
        raise KeyError("'' names no clip; give an id, the beginning of one, or a file's name")
    name, ids = as_utf8(name), index["id"]
    for found, how in (
        (pc.equal(ids, name), "is the id of"),
        (pc.starts_with(ids, name), "begins the id of"),
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


def _ends(paths: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.or_(pc.equal(paths, name), pc.ends_with(paths, f"/{name.lstrip('/')}")), False)
