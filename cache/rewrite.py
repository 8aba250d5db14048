"""Writing a shard anew: what of it is whole, and its files with other clips than before.

A shard is written as a whole, so whoever changes one reads it back first. What its index says then is the caller's.

In a bucket several may add clips to one shard at a time. There a shard only ever gains chunks, unless somebody alone
writes the cache: what is put has all that was there, by the version that it takes the place of. So whatever part of the
index comes to be published, by whichever of them, the chunks that it lists are there; a clip's chunk is the same bytes
whoever made it, so that it does not matter whose is kept. Of what a killed run put and no part lists, as much is true:
it is kept, and overwritten by the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from .index import IndexRecord, records
from .layout import SHARD_CLIPS, ArrayLayout, ClipArrays, Layout
from .location import Location, draft_name
from .shard import FOOTER_BYTES, DamagedShardError, ShardIndex, shard_parts
from .source import Source
from .sources import open_sources, read_clip


def read_back(
    location: Location, layout: Layout, part: pa.Table
) -> tuple[dict[str, IndexRecord], dict[int, ClipArrays], list[str]]:
    """What a shard has: its records by id, and its clips by row, as they must be again in its new files.

    part: what the index has of it. Last, the ids of clips that no longer match their checksums, left out of both.
    """
    if not part.num_rows:
        return {}, {}, []
    sources = open_sources(location, layout)
    there = {record.id: record for record in records(part)}
    clips = {record.row: read_whole(record, sources, layout) for record in there.values() if record.row is not None}
    gone = sorted(record.id for record in there.values() if record.row is not None and clips[record.row] is None)
    kept = {clip_id: record for clip_id, record in there.items() if clip_id not in gone}
    return kept, {row: clip for row, clip in clips.items() if clip is not None}, gone


def read_whole(record: IndexRecord, sources: Mapping[str, Source], layout: Layout) -> ClipArrays | None:
    """The clip of a record that is ok; None where its bytes are lost, or do not match its checksum."""
    assert record.row is not None
    try:
        clip = read_clip(sources, layout, record.row)
    except DamagedShardError:
        return None
    return clip if clip.crc32c() == record.crc32c else None


def write_arrays(
    location: Location, layout: Layout, shard: int, clips: Mapping[int, ClipArrays], draft: str = ""
) -> dict[str, str | None]:
    """Publish a shard's files with these clips, by row, and no others; without any clip there are no files.

    The caller alone writes the shard; with `draft` only files that have this in their names and count for nothing, of
    which the names are returned, by those that they stand for; None where there is to be no file.
    """
    drafts: dict[str, str | None] = {}
    for array in layout.arrays():
        key = array.shard_key(shard)
        name = draft_name(key, draft) if draft else key
        if draft:
            drafts[key] = name if clips else None
        if clips:
            location.publish(name, shard_parts(_chunks(array, clips)))
        elif not draft:
            location.remove([key])  # what a run that was killed before its index part may have left
    return drafts


def add_arrays(
    location: Location, layout: Layout, shard: int, clips: Mapping[int, ClipArrays], draft: str = ""
) -> dict[str, str | None]:
    """The same, but in a bucket what others have put there meanwhile stays, as said above, and there are no drafts."""
    if location.local:
        return write_arrays(location, layout, shard, clips, draft)
    if clips:
        with ThreadPoolExecutor(len(layout.arrays())) as threads:
            list(threads.map(lambda array: _add(location, array, shard, _chunks(array, clips)), layout.arrays()))
    return {}


def _add(location: Location, array: ArrayLayout, shard: int, chunks: Mapping[int, np.ndarray]) -> None:
    key = array.shard_key(shard)

    def again(there: bytes) -> list[Any] | None:
        try:
            index = ShardIndex(there[-FOOTER_BYTES:], len(there), array.nbytes, f"{location}/{key}", str(location))
        except DamagedShardError:
            return shard_parts(chunks)
        held = {slot: np.frombuffer(there, np.uint8, array.nbytes, index.offset(slot)) for slot in index.filled}
        both = shard_parts({**held, **chunks})
        return None if b"".join(both) == there else both

    location.add(key, shard_parts(chunks), again)


def _chunks(array: ArrayLayout, clips: Mapping[int, ClipArrays]) -> dict[int, np.ndarray]:
    return {row % SHARD_CLIPS: getattr(clip, array.name) for row, clip in clips.items()}
