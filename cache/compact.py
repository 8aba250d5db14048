"""Compact a cache: its index's many parts become few packs. Nothing else of it changes, and every read stays the same.

Others may open and read the cache meanwhile. A run that is killed leaves some shards with both part and pack, which say
the same; it is gone on with by the next.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from .index import part_name, read_parts
from .layout import INDEX, PACKED
from .location import Location
from .metadata import mark_group, read_group
from .packs import PACK_SHARDS, pack_numbers, read_pack, write_pack
from .part import hold_alone


@dataclass(frozen=True)
class Compacted:
    """What was done. parts: that were put into packs; packs: that there are now."""

    parts: int
    packs: int


def compact_cache(path: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None) -> Compacted:
    """Put the parts of the index of a cache, which nobody may be writing, into packs.

    From then on the cache has format 2, which codecsieve 0.1 of before there were packs refuses.

    progress: called with the parts done, and with how many there are. Raises CacheError where `path` is no cache, its
    index is damaged, or it cannot be written.
    """
    location = Location.of(path)
    read_group(location)
    with hold_alone(location):
        location.clear()
        location.clear(INDEX)
        return _compact(location, progress or (lambda done, total: None))


def _compact(location: Location, tell: Callable[[int, int], None]) -> Compacted:
    parts, before = read_parts(location), {n: read_pack(location, n) for n in pack_numbers(location)}
    by_pack: dict[int, dict[int, pa.Table]] = defaultdict(dict)
    for shard, part in parts.items():
        by_pack[shard // PACK_SHARDS][shard] = part
    done = 0
    tell(done, len(parts))
    if parts:
        mark_group(location, format=PACKED)  # first: without its parts, the cache looks empty to who knows no packs
    for number, new in by_pack.items():
        write_pack(location, number, before.get(number, {}) | new)
        location.remove([f"{INDEX}/{part_name(shard)}" for shard in new])
        done += len(new)
        tell(done, len(parts))
    return Compacted(len(parts), len(by_pack.keys() | before.keys()))
