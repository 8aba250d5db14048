"""Small caches for what is tried with object stores: clips made of their number alone, by any process the same.

What is done to a cache (`write`, `act_on`) and what must be so afterwards (`check_whole`) is here; when it is done, by
how many at once, and what goes wrong meanwhile, is left to `stores`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.faults.outcome import FaultError
from codecsieve.cache import (
    ALL,
    CacheWriter,
    ClipArrays,
    IndexRecord,
    Layout,
    Part,
    compact_cache,
    drop_clips,
    lease,
    merge_caches,
    open_cache,
    verify_cache,
)
from codecsieve.cache.layout import SHARD_CLIPS
from codecsieve.cache.location import Location
from codecsieve.cache.plan import read_ids
from codecsieve.cache.sources import open_shard

LAYOUT = Layout(num_frames=4, k_keep=5, patch=2)
CONFIG = {"fuse": "weighted", "center_prior": 0.3}
PARTS = 3


def ids_of(numbers: Iterable[int]) -> list[str]:
    """Ids of clips."""
    return [f"clip-{number}" for number in numbers]


def clip_of(clip_id: str) -> ClipArrays:
    """What the clip of an id is."""
    random = np.random.default_rng(int(clip_id.rpartition("-")[2]))
    frames, kept, side = LAYOUT.num_frames, LAYOUT.k_keep, LAYOUT.patch
    return ClipArrays(
        patches=random.integers(0, 256, (kept, 3, side, side), dtype=np.uint8),
        positions=random.integers(0, frames, (kept, 3), dtype=np.uint16),
        scores=random.integers(-(2**31), 2**31, kept, dtype=np.int32),
        frame_ids=np.sort(random.integers(0, 900, frames, dtype=np.int32)),
    )


def record_of(clip_id: str) -> IndexRecord:
    """What the index says of it, but for the time it took, which is another one each time."""
    seconds = float(np.random.default_rng().random())
    return IndexRecord(id=clip_id, uri=f"/videos/{clip_id}.mp4", status="ok", label=clip_id[-1], seconds=seconds)


def write(path: Any, ids: Sequence[str], part: Part = ALL) -> None:
    """What a precompute does: open, plan, and write each shard that is not done."""
    with CacheWriter.open(path, LAYOUT, CONFIG, part=part) as writer:
        for work in writer.plan(ids):
            clips = {clip_id: clip_of(clip_id) for clip_id in work.ids}
            writer.write_shard(work.shard, clips, [record_of(clip_id) for clip_id in work.ids])


def act_on(path: Any, act: str, ids: Sequence[str], beside: Any) -> None:
    """Compact a cache; drop those of `ids` that it has; merge the cache `beside` into it; write its second part."""
    if act == "compact":
        compact_cache(path)
    elif act == "drop":
        drop_clips(path, [])  # which finishes one that was cut off
        there = set(open_cache(path).clip_ids)
        drop_clips(path, [clip_id for clip_id in ids if clip_id in there])
    elif act == "merge":
        merge_caches(path, [beside])
    else:
        write(path, ids, Part(2, PARTS))


def hasten_leases() -> None:
    """Have this process think others dead sooner: where all that could be alive were killed."""
    lease.TTL, lease.BEAT, lease._LOOK = 2.0, 0.3, 0.2


def act_hastily(path: Any, act: str, ids: Sequence[str], beside: Any) -> None:
    """The same as `act_on`, after `hasten_leases`."""
    hasten_leases()
    act_on(path, act, ids, beside)


def content(path: Any) -> dict[str, dict[str, Any]]:
    """What a cache says of each clip, without the time it took. FaultError where its bytes are not that clip's."""
    cache = open_cache(path)
    batch = cache.read(range(len(cache)))
    for place, clip_id in enumerate(batch.clip_ids):
        wanted = clip_of(clip_id)
        for name in ("patches", "positions", "scores", "frame_ids"):
            if not np.array_equal(getattr(batch, name)[place], getattr(wanted, name)):
                raise FaultError("wrong", f"{name} of {clip_id} in {path}")
    return {row["id"]: {k: v for k, v in row.items() if k != "seconds"} for row in cache.table.to_pylist()}


def published(path: Any) -> set[str]:
    """Ids of the clips that are in a cache in which writers were killed; FaultError where one of them is not whole."""
    location = Location.of(path)
    if not all(location.exists(f"{array.name}/zarr.json") for array in LAYOUT.arrays()):
        return set()
    found = verify_cache(path)
    if found.damages:
        raise FaultError("lost", f"{path}: {found.damages[0].what}")
    return set(open_cache(path).clip_ids)


def check_whole(path: Any, ids: Iterable[str]) -> None:
    """Raise FaultError unless a cache has these clips and no others, each once: in the plan, the index, the arrays."""
    wanted, location = sorted(ids), Location.of(path)
    found = verify_cache(path)
    if not found.complete or found.damages:
        raise FaultError("lost", f"{path}: {found}")
    planned = [clip_id for clip_id in read_ids(location) if clip_id is not None]
    rows = content(path)
    for name, there in (("plan", planned), ("index", open_cache(path).index["id"].to_pylist()), ("clips", list(rows))):
        if sorted(there) != wanted:
            odd = sorted(set(there) ^ set(wanted)) or sorted({one for one in there if there.count(one) > 1})
            raise FaultError("lost" if set(there) < set(wanted) else "wrong", f"{path}: {name}: {odd[:5]}")
    slots: dict[int, set[int]] = {}
    for row in rows.values():
        slots.setdefault(row["row"] // SHARD_CLIPS, set()).add(row["row"] % SHARD_CLIPS)
    for array in LAYOUT.arrays():
        for shard, filled in slots.items():
            if open_shard(location, array, shard).index.filled != filled:
                raise FaultError("wrong", f"{path}: chunks of {array.name} in shard {shard}")
