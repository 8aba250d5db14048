"""Packs: many parts of the index in one file, so that a cache of millions of clips is opened by reading a few.

`index/pack-<n>.parquet` holds the records of shards n*1024 .. n*1024+1023, each beside its shard's number. What a part
says goes before what a pack says of its shard: those who write a cache know parts only, and a part may be removed once
a pack says the same. When packs are made is left to `compact`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import groupby

import pyarrow as pa

from codecsieve.errors import CacheError

from .index import ADDED, AGAIN, SCHEMA, part_shards, read_parts, wrong_row
from .layout import INDEX, SHARD_CLIPS
from .location import Location
from .parquet import column, from_parquet, to_parquet

PACK_SHARDS = 1024
_SHARD = pa.field("shard", pa.int64())
_PACK = pa.schema([_SHARD, *SCHEMA])
_DIGITS = 10  # of a pack's number


def read_records(location: Location, among: Collection[int] | None = None) -> dict[int, pa.Table]:
    """What the index has of each shard, in ascending order; CacheError where a file of it is damaged.

    among: of these shards only, so that no file is read but theirs. A part that is removed meanwhile was in a pack
    before that, and packs are looked for last: so a cache that is being compacted reads as before.
    """
    parts = read_parts(location, among)
    theirs = None if among is None else {shard // PACK_SHARDS for shard in among}
    packed: dict[int, pa.Table] = {}
    for number in pack_numbers(location):
        if theirs is None or number in theirs:
            packed |= read_pack(location, number)
    return {shard: told for shard, told in sorted((packed | parts).items()) if among is None or shard in among}


def last_shards(location: Location, first: int) -> list[int]:
    """The shards from `first` on that the index has something of."""
    packs = [number for number in pack_numbers(location) if (number + 1) * PACK_SHARDS > first]
    packed = [shard for number in packs for shard in read_pack(location, number) if shard >= first]
    return sorted({*packed, *(shard for shard in part_shards(location) if shard >= first)})


def pack_name(number: int) -> str:
    """File name of a pack."""
    return f"pack-{number:04d}.parquet"


def pack_numbers(location: Location) -> list[int]:
    """The packs that are published, in ascending order. Raises CacheError where the index cannot be listed."""
    try:
        found = location.names(INDEX, "pack-*.parquet")
    except FileNotFoundError:
        return []
    numbers = (name.removeprefix("pack-").removesuffix(".parquet") for name in found)
    ours = (int(digits) for digits in numbers if digits.isdecimal() and len(digits) < _DIGITS)
    return sorted(number for number in ours if pack_name(number) in found)


def read_pack(location: Location, number: int) -> dict[int, pa.Table]:
    """A pack's records by shard, in ascending order; CacheError where it is not there or damaged."""
    name = f"{INDEX}/{pack_name(number)}"
    try:
        data = location.read(name)
    except FileNotFoundError as error:
        raise CacheError(f"{location}/{name} is not there any more; open the cache again") from error
    table = from_parquet(data, _PACK, f"{location}/{name}", AGAIN, ADDED, PACK_SHARDS * SHARD_CLIPS)
    shards = column(table, "shard")
    if any(shard is None or shard // PACK_SHARDS != number for shard in shards) or shards != sorted(shards):
        wrong = "a shard is another pack's, or not in its place"
    else:
        wrong = wrong_row(table, shards)
    if wrong:
        raise CacheError(f"{location}/{name} is damaged ({wrong}); {AGAIN}")
    told, parts, at = table.select(SCHEMA.names), dict[int, pa.Table](), 0
    for shard, rows in groupby(shards):
        count = len(list(rows))
        parts[shard] = told.slice(at, count)
        at += count
    return parts


def write_pack(location: Location, number: int, parts: Mapping[int, pa.Table]) -> None:
    """Publish a pack of all that is to be said of its shards."""
    tables = [
        parts[shard].add_column(0, _SHARD, pa.array([shard] * len(parts[shard]), pa.int64())) for shard in sorted(parts)
    ]
    table = pa.concat_tables([_PACK.empty_table(), *tables]).combine_chunks()
    location.publish(f"{INDEX}/{pack_name(number)}", [to_parquet(table)])
