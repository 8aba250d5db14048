"""Verify a whole cache: every file of it, and every clip against its checksum.

Nothing is changed here: what to do about it is left to `repair`, the cheap signs of a rerun to `settled`, one clip's
bytes on their way to a model to `reader`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.text import shortened

from .drop import unfinished_drop
from .layout import Layout
from .location import Location
from .metadata import read_group
from .parquet import column
from .salvage import Damage, read_arrays, read_index, what_of
from .shard import DamagedShardError
from .source import Source
from .sources import read_clip

_AT_ONCE, _AT_ONCE_FAR = 4, 16
_NAMED = 3

Progress = Callable[[int, int], None]
"""Called with the clips done, and with how many there are."""


@dataclass(frozen=True)
class Verified:
    """How a cache stands.

    planned: clips in the plan, None where it cannot be read; whole: clips that match their checksums; damaged: those
    that the index lists and that do not, or cannot be read; failed: clips that failed when they were made; missing: ids
    that the plan has and the index has not; damages: what is wrong; dropping: ids that a drop which was cut off is
    still to take out.
    """

    planned: int | None
    whole: int
    damaged: int
    failed: int
    missing: tuple[str, ...] = ()
    damages: tuple[Damage, ...] = ()
    dropping: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is wrong or half dropped, and all that was planned was made, or failed and is listed so."""
        return not (self.damages or self.missing or self.dropping)


def verify_cache(
    path: str | os.PathLike[str] | Location,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Hold everything in a cache against its checksums.

    progress: called in this thread, for the first time at the start. Raises CacheError where `path` is no cache, or
    its group's metadata or its index cannot be read at all.
    """
    location = Location.of(path, storage_options)
    layout = read_group(location).layout
    index = read_index(location)
    arrays = read_arrays(location, layout, index)
    damages = [*arrays.damages.values(), *index.damages]
    tell, clips, done, whole = progress or (lambda done, total: None), index.clips, 0, 0
    tell(0, clips)
    for part, found in _check_clips(arrays.sources, layout, index.parts):
        done += part
        whole += part - sum(count for count, _ in found)
        damages += [damage for _, damage in found]
        tell(done, clips)
    dropping = unfinished_drop(location)
    settled = {clip_id for part in index.parts.values() for clip_id in column(part, "id")} | set(dropping)
    planned = [clip_id for clip_id in index.plan or () if clip_id is not None]
    return Verified(
        planned=None if index.plan is None else len(planned),
        whole=whole,
        damaged=clips - whole,
        failed=sum(part["row"].null_count for part in index.parts.values()),
        missing=tuple(clip_id for clip_id in planned if clip_id not in settled),
        damages=tuple(damages),
        dropping=tuple(dropping),
    )


def _check_clips(
    sources: Mapping[str, Source] | None, layout: Layout, parts: Mapping[int, pa.Table]
) -> Iterator[tuple[int, list[tuple[int, Damage]]]]:
    """For each shard, how many clips it should have, and what is wrong with how many of them."""
    if sources is None:
        return
    far = any(source.far for source in sources.values())
    with ThreadPoolExecutor(_AT_ONCE_FAR if far else _AT_ONCE) as threads:
        yield from threads.map(lambda shard: _check_shard(sources, layout, shard, parts[shard]), parts)


def _check_shard(
    sources: Mapping[str, Source], layout: Layout, shard: int, part: pa.Table
) -> tuple[int, list[tuple[int, Damage]]]:
    lost: dict[str, list[str]] = {}
    unreadable: dict[str, list[str]] = {}
    records = [record for record in part.select(["id", "row", "crc32c"]).to_pylist() if record["row"] is not None]
    for record in records:
        try:
            if read_clip(sources, layout, record["row"]).crc32c() != record["crc32c"]:
                lost.setdefault("does not match its checksum", []).append(record["id"])
        except DamagedShardError as error:
            lost.setdefault(what_of(error), []).append(record["id"])
        except CacheError as error:  # which making it again would not help
            unreadable.setdefault(what_of(error), []).append(record["id"])
    damages = [(len(ids), Damage(_about(ids, what), shard, tuple(ids))) for what, ids in lost.items()]
    return len(records), damages + [(len(ids), Damage(_about(ids, what))) for what, ids in unreadable.items()]


def _about(ids: list[str], what: str) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"{'clip' if len(ids) == 1 else 'clips'} {', '.join(map(shortened, ids[:_NAMED]))}{more}: {what}"
