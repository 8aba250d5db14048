"""Whether clips that the index lists are really there: a look at each shard file that costs no reading of clips.

A shard is there if its file is, with all the bytes that its index tells of, an index that matches its checksum, and a
chunk for each clip. That the chunks' bytes are right is left to `reader`, which checks them as they are read, and to
`verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from .layout import SHARD_CLIPS, Layout
from .location import Location
from .parquet import column
from .shard import DamagedShardError
from .sources import open_shard

_AT_ONCE, _AT_ONCE_FAR = 8, 32


@dataclass(frozen=True)
class Lost:
    """Clips of one shard that the index lists and that cannot be read any more, and why."""

    shard: int
    ids: tuple[str, ...]
    reason: str


def lost_clips(location: Location, layout: Layout, parts: Mapping[int, pa.Table]) -> list[Lost]:
    """What is lost of the clips in `parts` of the index, by shard. Raises CacheError where a shard cannot be read."""
    with ThreadPoolExecutor(_AT_ONCE if location.local else _AT_ONCE_FAR) as threads:
        looked = threads.map(lambda shard: _look(location, layout, shard, parts[shard]), parts)
        return [lost for lost in looked if lost is not None]


def _look(location: Location, layout: Layout, shard: int, part: pa.Table) -> Lost | None:
    """What is lost of a shard. One of its files that is damaged loses all its clips: they are written together."""
    rows = column(part, "row")
    slots = [row % SHARD_CLIPS for row in rows if row is not None]
    try:
        for array in layout.arrays() if slots else ():
            open_shard(location, array, shard).index.check(slots)
    except DamagedShardError as error:
        ids = (clip_id for clip_id, row in zip(column(part, "id"), rows, strict=True) if row is not None)
        return Lost(shard, tuple(ids), str(error).partition("; ")[0])
    return None
