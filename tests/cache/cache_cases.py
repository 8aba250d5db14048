"""Small caches to test with: clips made from their number alone, so that any process makes the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from codecsieve.cache import ALL, CacheWriter, ClipArrays, IndexRecord, Layout, Part, open_cache
from codecsieve.cache.location import Location
from codecsieve.cache.packs import read_records

LAYOUT = Layout(num_frames=4, k_keep=5, patch=2)
CONFIG = {"fuse": "weighted", "center_prior": 0.3}


def names(count: int) -> list[str]:
    """Ids of `count` clips, which are not in alphabetical order."""
    return [f"clip-{number}" for number in range(count)]


def make_clip(clip_id: str, layout: Layout = LAYOUT) -> ClipArrays:
    random = np.random.default_rng(int(clip_id.rpartition("-")[2]))
    t, k, p = layout.num_frames, layout.k_keep, layout.patch
    pixels = random.integers(0, 256, (k, 3, p, p), dtype=np.uint8)
    return ClipArrays(
        patches=None if layout.store == "indices" else pixels,
        positions=random.integers(0, t, (k, 3), dtype=np.uint16),
        scores=random.integers(-(2**31), 2**31, k, dtype=np.int32),
        frame_ids=np.sort(random.integers(0, 900, t, dtype=np.int32)),
    )


def make_placed_clip(clip_id: str, layout: Layout, grid: int, blocks: bool = False) -> ClipArrays:
    """A clip whose patches lie at places of their own, ascending: any, or four to a block of 2x2."""
    clip, random = make_clip(clip_id, layout), np.random.default_rng(int(clip_id.rpartition("-")[2]))
    shape = layout.num_frames, grid, grid
    if blocks:
        half = layout.num_frames, grid // 2, grid // 2
        places = np.sort(random.permutation(np.prod(half))[: layout.k_keep // 4])
        corners = np.stack(np.unravel_index(places, half), axis=1) * [1, 2, 2]
        positions = (corners[:, None] + [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]).reshape(-1, 3)
        indices = np.sort(np.ravel_multi_index(tuple(positions.T), shape))
    else:
        indices = np.sort(random.permutation(np.prod(shape))[: layout.k_keep])
    positions = np.stack(np.unravel_index(indices, shape), axis=1).astype(np.uint16)
    return replace(clip, positions=positions)


def make_record(clip_id: str, failed: bool = False) -> IndexRecord:
    if failed:
        return IndexRecord(id=clip_id, uri=f"/videos/{clip_id}.mp4", status="failed", error="no video stream")
    return IndexRecord(
        id=clip_id,
        uri=f"/videos/{clip_id}.mp4",
        status="ok",
        label=clip_id[-1],
        codec="h264",
        width=640,
        height=360,
        fps=29.97,
        frames=300,
        distinct_frames=4,
        signals="bitstream",
        seconds=np.random.default_rng().random(),
    )


def fill(
    path: Path,
    ids: Sequence[str],
    failing: Collection[str] = (),
    layout: Layout = LAYOUT,
    retry_failed: bool = False,
    config: dict[str, Any] | None = None,
    part: Part = ALL,
    make: Callable[[str, Layout], ClipArrays] = make_clip,
) -> list[str]:
    """What a precompute does: open, plan, write each shard. Returns the ids that had to be made."""
    made = []
    with CacheWriter.open(path, layout, CONFIG if config is None else config, part=part) as writer:
        for work in writer.plan(ids, retry_failed=retry_failed):
            good = {clip_id: make(clip_id, layout) for clip_id in work.ids if clip_id not in failing}
            writer.write_shard(work.shard, good, [make_record(i, failed=i in failing) for i in work.ids])
            made += work.ids
    return made


def flip_a_byte(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x10
    file.write_bytes(data)


def array_files(path: Path) -> dict[str, bytes]:
    """Every file of the cache except those of the index and the lock."""
    files = (entry for entry in path.rglob("*") if entry.is_file())
    named = {str(file.relative_to(path)): file.read_bytes() for file in files}
    return {
        name: data for name, data in named.items() if not name.startswith("index/") and not name.startswith(".lock")
    }


def index_parts(path: Path) -> dict[int, pa.Table]:
    """The parts of the index without the time each clip took."""
    return {shard: table.drop_columns(["seconds"]) for shard, table in read_records(Location(path)).items()}


def same_cache(one: Path, other: Path) -> bool:
    return array_files(one) == array_files(other) and index_parts(one) == index_parts(other)


def assert_published_clips_are_whole(path: Path) -> None:
    """Whatever the index lists is there, byte for byte."""
    if not (path / "zarr.json").exists():
        return
    forms: tuple[Any, ...] = ("shards", "zarr")
    for form in forms:
        if not read_records(Location(path)):
            return
        cache = open_cache(path, form=form)
        batch = cache.read(range(len(cache)))  # each clip is held against its digest
        for clip_id, patches in zip(batch.clip_ids, batch.patches, strict=True):
            assert np.array_equal(patches, _patches_of(clip_id)), clip_id


@functools.cache
def _patches_of(clip_id: str) -> NDArray[np.uint8]:
    patches = make_clip(clip_id).patches
    assert patches is not None
    return patches
