"""What a run's inputs say of clips beside what is made of them, as far as the cache does not say it yet.

How it is kept is left to the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from codecsieve.cache.table import column_name
from codecsieve.codec.video_file import size_of
from codecsieve.pipelines.inputs.columns import further_columns
from codecsieve.pipelines.inputs.request import ClipRequest, path_of
from codecsieve.text import as_utf8


@dataclass(frozen=True)
class News:
    """What is to be said of clips. rows: for `CacheWriter.say`, None where there is nothing; relabelled: clips of the
    cache that get another label; moved: likewise, whose video is not where it was, but where the inputs say.
    """

    rows: pa.Table | None
    relabelled: int
    moved: int


def news(index: pa.Table, wanted: Mapping[str, ClipRequest]) -> News:
    """What inputs, by id, say of clips that an index does not. A label or column that they leave out stays as it is.

    A video that was copied is no news while the one that the clip was made of is still there.
    """
    columns = [index[name].to_pylist() for name in ("id", "label", "uri")]
    known = {clip_id: (label, uri) for clip_id, label, uri in zip(*columns, strict=True) if clip_id in wanted}
    asked = {clip_id: (as_utf8(wanted[clip_id].label or ""), as_utf8(wanted[clip_id].path)) for clip_id in known}
    relabelled = {clip_id for clip_id, (label, _) in known.items() if asked[clip_id][0] not in ("", label)}
    moved = {clip_id for clip_id, (_, uri) in known.items() if asked[clip_id][1] != uri and not _is_there(uri)}
    further = {column_name(name): values for name, values in further_columns(list(wanted.values())).items()}
    told = list(wanted.values()) if further else [wanted[clip_id] for clip_id in known if clip_id in relabelled | moved]
    if not told:
        return News(None, 0, 0)
    rows = {
        "id": [request.id for request in told],
        "label": [as_utf8(request.label or known.get(request.id, ("",))[0] or "") or None for request in told],
        "uri": [asked[request.id][1] if request.id in moved else None for request in told],
    }
    own = pa.table(rows, schema=pa.schema(dict.fromkeys(rows, pa.string())))
    return News(pa.table({**{name: own[name] for name in rows}, **further}), len(relabelled), len(moved))


def _is_there(uri: str) -> bool:
    try:
        size_of(path_of(uri))
    except (OSError, ValueError):
        return False
    return True
