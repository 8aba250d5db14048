"""What a frozen encoder makes of a cache's clips, kept on disk: it is run over them once, whatever is trained on them.

A feature cache is a folder like a sparse cache's: a Zarr v3 group with one array, `tokens` float16 [rows, N, D], a
chunk a clip, a raw shard file for 64 clips, and `index/`, the commit record: what a part of the index does not list
does not count. A clip has the row that it has in the sparse cache. A shard is published whole, then its part; a run
that was killed loses what it had of the shards in flight, and goes on with the others.

Features belong to one selection and one model. How tokens are made is left to whoever writes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.files import PARTIAL, make_folder, publish, remove_partial_files
from codecsieve.text import quoted

from .index import part_name, part_shards
from .layout import GROUP, INDEX, LOCK, MOST_CLIP_BYTES, SHARD_CLIPS, ArrayLayout, config_hash, metadata_files
from .location import Location
from .metadata import attributes_of
from .parquet import from_parquet, to_parquet
from .reader import SparseCache
from .shard import write_shard
from .sources import ShardSource

ATTRIBUTE = "codecsieve_features"
FORMAT = 1

_PART = pa.schema({"id": pa.string(), "row": pa.int64(), "clip_crc32c": pa.uint32(), "crc32c": pa.uint32()})
_ADVICE = "delete that folder, or use another --features-dir"

Encode = Callable[[Sequence[Sequence[int]]], Iterator[np.ndarray]]
"""Batches of clip numbers to the tokens of each batch, float [B, N, D]."""


@dataclass(frozen=True)
class FeatureKey:
    """What features are features of. Anything else here is another feature cache."""

    cache_sha256: str
    """Hash of the sparse cache's config."""
    model: str
    """The model's name, for people."""
    model_sha256: str
    """The model's fingerprint: architecture, weights, precision."""

    def digest(self) -> str:
        """16 hex digits that name it."""
        return hashlib.sha256(f"{self.cache_sha256} {self.model_sha256}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Clip:
    """A clip of the sparse cache: its number there, its row, and its checksum, which says which pixels it has."""

    number: int
    id: str
    row: int
    crc32c: int


class FeatureCache:
    """The tokens of a cache's clips, by their number in the sparse cache."""

    def __init__(self, folder: Path, cache: SparseCache, key: FeatureKey) -> None:
        """Open what is there. Raises CacheError where it is damaged, or features of something else."""
        self.folder, self.key = folder, key
        self._clips = clips_of(cache)
        self._by_row = {clip.row: clip for clip in self._clips}
        self.array = read_layout(folder, key)
        self._parts = {shard: self._read_part(shard) for shard in part_shards(Location(folder))}
        self._source = ShardSource(folder, self.array)
        self._seen = bytearray(len(self._clips))  # whose tokens were held against their checksum

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens of a clip, and channels of a token."""
        tokens, dim = self.array.shape
        return tokens, dim

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Those of `numbers` that have no features yet."""
        return [number for number in numbers if self._clips[number].row not in self._part(self._clips[number])]

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """Tokens of clips, float16 [B, N, D].

        Raises CacheError where bytes are missing or, as is seen when a clip is first read, damaged.
        """
        out = np.empty((len(numbers), *self.array.shape), self.array.dtype)
        for place, number in enumerate(numbers):
            clip = self._clips[number]
            if clip.row not in self._part(clip):
                raise CacheError(f"features {self.folder} have no clip {clip.id}; run probe again")
            self._read_row(clip.row, out[place])
            if not self._seen[number]:
                self._check_sum(self._part(clip)[clip.row], out[place])
                self._seen[number] = True
        return out

    def verify(self) -> None:
        """Read every clip and raise CacheError for the first that does not match its checksum."""
        for shard in self._parts:
            self._read_back(shard)

    def write(self, numbers: Sequence[int], encode: Encode, batch_size: int, rank: int = 0, size: int = 1) -> None:
        """Make what is missing of `numbers`, in shards, every `size`-th of which is this rank's.

        encode: gets batches of clip numbers, gives their tokens. Raises CacheError where the disk is full or a token
        is no finite float16.
        """
        shards: dict[int, list[Clip]] = {}
        for number in sorted(set(self.missing(numbers))):
            clip = self._clips[number]
            shards.setdefault(clip.row // SHARD_CLIPS, []).append(clip)
        mine = [shards[shard] for shard in sorted(shards)[rank::size]]
        batches = [[clips[at : at + batch_size] for at in range(0, len(clips), batch_size)] for clips in mine]
        made = encode([[clip.number for clip in batch] for shard in batches for batch in shard])
        for shard in batches:
            rows: dict[int, np.ndarray] = {}
            for batch in shard:
                rows |= {clip.row: self._checked(clip, one) for clip, one in zip(batch, next(made), strict=True)}
            self._publish([clip for batch in shard for clip in batch], rows)

    def _publish(self, clips: Sequence[Clip], rows: dict[int, np.ndarray]) -> None:
        """Write a shard anew: what it had, and `rows`; then its part of the index."""
        shard = clips[0].row // SHARD_CLIPS
        listed = dict(self._parts.get(shard, {}))
        rows = self._read_back(shard) | rows
        for clip in clips:
            checksum = google_crc32c.value(rows[clip.row].tobytes())
            listed[clip.row] = {"id": clip.id, "row": clip.row, "clip_crc32c": clip.crc32c, "crc32c": checksum}
        write_shard(self.folder / self.array.shard_key(shard), {row % SHARD_CLIPS: rows[row] for row in rows})
        table = pa.Table.from_pylist([listed[row] for row in sorted(listed)], schema=_PART)
        publish(self.folder / INDEX / part_name(shard), [to_parquet(table)])
        self._parts[shard] = listed
        self._source = ShardSource(self.folder, self.array)  # which may hold the shard's old file open

    def _checked(self, clip: Clip, tokens: np.ndarray) -> np.ndarray:
        if tokens.shape != self.array.shape:
            raise CacheError(f"clip {clip.id}: tokens ({list(tokens.shape)}) must be {list(self.array.shape)}")
        with np.errstate(over="ignore"):
            kept = np.ascontiguousarray(tokens, self.array.dtype)
        if not np.isfinite(kept).all():
            raise CacheError(f"clip {clip.id}: tokens must be finite and within float16's +-65504; check the weights")
        return kept

    def _read_back(self, shard: int) -> dict[int, np.ndarray]:
        """The rows that a shard has, checked."""
        rows = {}
        for row, record in self._parts.get(shard, {}).items():
            rows[row] = np.empty(self.array.shape, self.array.dtype)
            self._read_row(row, rows[row])
            self._check_sum(record, rows[row])
        return rows

    def _check_sum(self, record: Mapping[str, Any], tokens: np.ndarray) -> None:
        if google_crc32c.extend(0, tokens.reshape(-1).view("u1")) != record["crc32c"]:
            raise CacheError(f"features {self.folder}: clip {record['id']} does not match its checksum; {_ADVICE}")

    def _read_row(self, row: int, out: np.ndarray) -> None:
        try:
            self._source.read_into(row, out)
        except CacheError as error:
            raise CacheError(f"features {self.folder}: {str(error).split('; ')[0]}; {_ADVICE}") from error

    def _part(self, clip: Clip) -> Mapping[int, Any]:
        return self._parts.get(clip.row // SHARD_CLIPS, {})

    def _read_part(self, shard: int) -> dict[int, dict[str, Any]]:
        name = f"{INDEX}/{part_name(shard)}"
        table = from_parquet(Location(self.folder).read(name), _PART, f"{self.folder}/{name}", _ADVICE, (), SHARD_CLIPS)
        listed = table.to_pylist()
        if any(None in record.values() or record["row"] // SHARD_CLIPS != shard for record in listed):
            raise CacheError(
                f"{self.folder}/{name} is damaged: a row lacks something, or is another shard's; {_ADVICE}"
            )
        records = {record["row"]: record for record in listed}
        for row, record in records.items():
            clip = self._by_row.get(row)
            if clip is None or (clip.id, clip.crc32c) != (record["id"], record["clip_crc32c"]):
                here = (
                    "none" if clip is None else f"{clip.id}, with other pixels" if clip.id == record["id"] else clip.id
                )
                raise CacheError(
                    f"features {self.folder} are of another cache: row {row} is clip {record['id']} there, "
                    f"{here} here; {_ADVICE}"
                )
        return records


def refuse_foreign(folder: Path) -> None:
    """Raise CacheError where `folder` holds something that is no feature cache, nor the beginning of one."""
    own = {INDEX, LOCK, "tokens", GROUP}
    entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if folder.is_file() or any(name not in own and not name.endswith(PARTIAL) for name in entries):
        raise CacheError(f"{folder} is not empty and holds no features; use another --features-dir")


def make_features(folder: Path, cache: SparseCache, key: FeatureKey, shape: tuple[int, int]) -> None:
    """Make an empty feature cache, or see that the one there is of `key`; by one process only.

    shape: tokens of a clip, and channels of a token. Raises CacheError where `folder` is something else.
    """
    array = ArrayLayout("tokens", np.dtype("<f2"), shape, ("token", "channel"))
    rows = 1 + max((clip.row for clip in clips_of(cache)), default=0)
    if (folder / GROUP).exists() and read_layout(folder, key) != array:
        raise CacheError(f"features {folder} are not of {list(shape)} tokens and channels; {_ADVICE}")
    for part in (folder, folder / INDEX, folder / "tokens"):
        make_folder(part)
        remove_partial_files(part)
    files = metadata_files([array], rows, {ATTRIBUTE: {"format": FORMAT, **asdict(key), "shape": list(shape)}})
    for name in (f"tokens/{GROUP}", GROUP):  # the group last: with it the folder counts as a feature cache
        if _read(folder, name) != files[name]:
            publish(folder / name, [files[name]])


def _read(folder: Path, name: str) -> bytes | None:
    try:
        return Location(folder).read(name)
    except FileNotFoundError:
        return None


def read_layout(folder: Path, key: FeatureKey) -> ArrayLayout:
    """The array of a feature cache. Raises CacheError where there is none, or one of something else than `key`."""
    name = f"{folder}/{GROUP}"
    try:
        attributes = attributes_of(Location(folder).read(GROUP), name, _ADVICE)
    except FileNotFoundError:
        raise CacheError(f"{folder} holds no features; run probe again") from None
    match attributes.get(ATTRIBUTE):
        case {"format": made} if made != FORMAT:
            raise CacheError(f"features {folder} have format {quoted(made)}, not {FORMAT}; {_ADVICE}")
        case {
            "shape": [int(tokens), int(dim)],
            "cache_sha256": str(cache_sha256),
            "model": str(model),
            "model_sha256": str(model_sha256),
        } if tokens > 0 and dim > 0 and 2 * tokens * dim <= MOST_CLIP_BYTES:
            made = FeatureKey(cache_sha256, model, model_sha256)
        case _:
            raise CacheError(f"{folder} is not a feature cache; use another --features-dir")
    if made.cache_sha256 != key.cache_sha256:
        raise CacheError(f"features {folder} are of a cache with another config; {_ADVICE}")
    if made.model_sha256 != key.model_sha256:
        raise CacheError(f"features {folder} are of another model ({made.model}), you asked {key.model}; {_ADVICE}")
    return ArrayLayout("tokens", np.dtype("<f2"), (tokens, dim), ("token", "channel"))


def feature_key(cache: SparseCache, model: str, model_sha256: str) -> FeatureKey:
    """The key of a cache's features by a model."""
    return FeatureKey(config_hash(cache.config), model, model_sha256)


def clips_of(cache: SparseCache) -> list[Clip]:
    """The cache's clips, by number."""
    records = {record["id"]: record for record in cache.index.select(["id", "row", "crc32c"]).to_pylist()}
    found = [records[clip_id] for clip_id in cache.clip_ids]
    return [Clip(number, one["id"], one["row"], one["crc32c"]) for number, one in enumerate(found)]
