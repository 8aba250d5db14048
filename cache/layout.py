"""What a cache looks like: its arrays, its attributes, where each of its files lies.

A cache is a folder that holds a Zarr v3 group (one row a clip, one chunk a clip, one shard file for 64
clips), `plan.parquet` (which clip has which row) and `index/` (what became of each clip). This module says
what goes where and lets zarr-python write the metadata; how bytes reach the disk is left to
`codecsieve.files` and `shard`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import google_crc32c
import numpy as np

from codecsieve.errors import ConfigError
from codecsieve.text import quoted

FORMAT = 1
PACKED = 2
"""The format of a cache that has packs, see `packs`: what knows format 1 only would see no clip there, and refuses."""
SHARD_CLIPS = 64
ATTRIBUTE = "codecsieve"
PLAN = "plan.parquet"
INDEX = "index"
LOCK = ".lock"
DROPPING = "dropping.json"
GROUP = "zarr.json"
REMAKE = "run `codecsieve verify {} --repair`, then precompute again: its clips are then made anew"
MOST_CLIP_BYTES = 1 << 31
_LONGEST_ID = 1000

Store = Literal["patches", "indices"]


@dataclass(frozen=True)
class ArrayLayout:
    """One array of the cache: `shape` is a clip's chunk, so the array on disk is `[N, *shape]`."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of one clip's chunk."""
        return math.prod(self.shape) * self.dtype.itemsize

    def shard_key(self, shard: int) -> str:
        """The shard's file, relative to the cache: one flat folder an array."""
        return f"{self.name}/c.{shard}" + ".0" * len(self.shape)


@dataclass(frozen=True)
class Layout:
    """The shape of every clip in a cache. Raises ConfigError for one that cannot be.

    num_frames: slots a clip (T); k_keep: patches kept a clip (K); patch: side of a patch in pixels (P);
    store: "patches" keeps the pixels, "indices" leaves the array `patches` out.
    """

    num_frames: int
    k_keep: int
    patch: int
    store: Store = "patches"

    def __post_init__(self) -> None:
        for name in ("num_frames", "k_keep", "patch"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} ({quoted(value)}) must be a whole number > 0")
        if self.num_frames > 65536:
            raise ConfigError(f"num_frames ({self.num_frames}) must be <= 65536: positions are uint16")
        if self.store not in ("patches", "indices"):
            raise ConfigError(f"store ({quoted(self.store)}) must be 'patches' or 'indices'")
        if self.clip_bytes > MOST_CLIP_BYTES:
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be smaller: a clip would take {self.clip_bytes} bytes, "
                f"at most {MOST_CLIP_BYTES}"
            )

    @property
    def clip_bytes(self) -> int:
        """Bytes of one clip's arrays."""
        return sum(array.nbytes for array in self.arrays())

    def arrays(self) -> tuple[ArrayLayout, ...]:
        """The arrays of the cache, in the order in which a clip's checksum covers them."""
        t, k, p = self.num_frames, self.k_keep, self.patch
        small = (
            ArrayLayout("positions", np.dtype("<u2"), (k, 3), ("patch", "thw")),
            ArrayLayout("scores", np.dtype("<i4"), (k,), ("patch",)),
            ArrayLayout("frame_ids", np.dtype("<i4"), (t,), ("slot",)),
        )
        if self.store == "indices":
            return small
        pixels = ArrayLayout("patches", np.dtype("u1"), (k, 3, p, p), ("patch", "channel", "y", "x"))
        return (pixels, *small)


@dataclass(frozen=True)
class ClipArrays:
    """What one clip keeps: one row of the cache.

    patches: uint8 [K, 3, P, P], RGB, or None in a cache of indices; positions: uint16 [K, 3], (t, h, w);
    scores: int32 [K]; frame_ids: int32 [T], the clip's frame number in each slot, never negative.
    """

    patches: np.ndarray | None
    positions: np.ndarray
    scores: np.ndarray
    frame_ids: np.ndarray

    def check(self, layout: Layout, clip_id: str) -> None:
        """Raise ValueError unless the arrays are exactly those of `layout`."""
        for array in layout.arrays():
            value = getattr(self, array.name)
            want = f"{array.dtype.name} {list(array.shape)}"
            if value is None or value.shape != array.shape or value.dtype != array.dtype:
                got = None if value is None else f"{value.dtype.name} {list(value.shape)}"
                raise ValueError(f"clip {clip_id}: {array.name} ({got}) must be {want}")
        if layout.store == "indices" and self.patches is not None:
            raise ValueError(f"clip {clip_id}: patches must be None in a cache that stores indices")
        if self.frame_ids.min() < 0:
            raise ValueError(f"clip {clip_id}: frame_ids ({self.frame_ids.min()}) must be >= 0")

    def crc32c(self) -> int:
        """CRC-32C (RFC 3720) of the clip's bytes as stored: patches, positions, scores, frame_ids."""
        checksum = 0
        for value in (self.patches, self.positions, self.scores, self.frame_ids):
            if value is not None:
                checksum = google_crc32c.extend(checksum, np.ascontiguousarray(value).reshape(-1).view("u1"))
        return checksum


def is_id(text: str | None) -> bool:
    """Whether a clip may have such an id: printable text, and not without end."""
    return bool(text) and len(text or "") <= _LONGEST_ID and (text or "").isprintable()


def full_config(config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The selection's config and the layout as one plain JSON object, which is what the hash covers.

    Raises ValueError where the two disagree or `config` is not plain JSON.
    """
    shape = asdict(layout)
    for key in shape.keys() & config.keys():
        if config[key] != shape[key]:
            raise ValueError(f"config {key} ({config[key]!r}) must be the layout's ({shape[key]!r})")
    try:
        plain: dict[str, Any] = json.loads(json.dumps({**config, **shape}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"config must be plain JSON: {error}") from error
    return plain


def config_hash(config: Mapping[str, Any]) -> str:
    """Hex SHA-256 of the config as JSON with sorted keys and no spaces."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def config_difference(made: Mapping[str, Any], asked: Mapping[str, Any], who: str = "you asked") -> str:
    """Two configs' differing keys in words: `was made with k_keep=2048, you asked 1024`. who: whose the other is."""
    absent = "(nothing)"
    keys = sorted(k for k in made.keys() | asked.keys() if made.get(k, absent) != asked.get(k, absent))
    pairs = [f"{k}={made.get(k, absent)}, {who} {asked.get(k, absent)}" for k in keys]
    return "was made with " + "; with ".join(pairs)


def attributes(config: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """The group's attributes: `config` is a full config, `versions` adds to those found here."""
    named = {name: _version(name) for name in ("codecsieve", "zarr", "numpy", "pyarrow")}
    return {
        ATTRIBUTE: {
            "format": FORMAT,
            "config": dict(config),
            "config_sha256": config_hash(config),
            "versions": {**named, **versions},
        }
    }


def metadata_files(arrays: Iterable[ArrayLayout], rows: int, group_attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Every `zarr.json` of a group with `rows` rows, by path, as zarr-python itself writes them.

    One chunk a clip, 64 chunks a shard, no compression: read speed is the memory's, and nothing but the
    position in the file depends on the other clips.
    """
    import zarr  # a quarter of a second, which reading local shards does not need
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    group = zarr.create_group(store=MemoryStore(files), attributes=dict(group_attributes), zarr_format=3)
    for array in arrays:
        group.create_array(
            array.name,
            shape=(rows, *array.shape),
            chunks=(1, *array.shape),
            shards=(SHARD_CLIPS, *array.shape),
            dtype=array.dtype,
            compressors=None,
            filters=None,
            fill_value=0,
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=("clip", *array.axes),
        )
    return {path: buffer.to_bytes() for path, buffer in files.items()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
