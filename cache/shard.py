"""One shard: up to 64 clips' chunks of one array, as raw bytes, behind one index.

The format is Zarr v3's `sharding_indexed` with uncompressed chunks and the index at the end: chunks in row
order, then for each of the 64 slots its offset and size (uint64, both 2**64-1 where the slot is empty), then
the CRC-32C of those 1024 bytes. It is written here rather than through zarr-python for three reasons: zarr
leaves out chunks that are all zero, so a clip that is black could not be told from one that is lost; it
writes into an existing shard by merging, where a cache needs it new and whole; and the bytes stay the same
whatever zarr's version is.

Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import google_crc32c
import numpy as np

from codecsieve.errors import CacheError
from codecsieve.files import open_regular, publish

from .layout import REMAKE, SHARD_CLIPS

EMPTY = np.uint64(2**64 - 1)
INDEX_BYTES = SHARD_CLIPS * 16
FOOTER_BYTES = INDEX_BYTES + 4
NOT_A_FILE = frozenset({errno.EISDIR, errno.EINVAL, errno.ENOTDIR, errno.ELOOP})
"""What opening says where a folder, a FIFO and the like stands in a shard's place."""


def write_shard(path: Path, chunks: Mapping[int, np.ndarray]) -> None:
    """Publish a shard file. `chunks` maps a slot, 0..63, to that clip's C-ordered little-endian array."""
    publish(path, shard_parts(chunks))


def shard_parts(chunks: Mapping[int, np.ndarray]) -> list[Any]:
    """The bytes of a shard, as contiguous buffers one after the other; `chunks` as for `write_shard`."""
    index = np.full((SHARD_CLIPS, 2), EMPTY, dtype="<u8")
    offset = 0
    for slot in sorted(chunks):
        index[slot] = offset, chunks[slot].nbytes
        offset += chunks[slot].nbytes
    footer = index.tobytes()
    checksum = google_crc32c.value(footer).to_bytes(4, "little")
    return [*(np.ascontiguousarray(chunks[slot]) for slot in sorted(chunks)), footer, checksum]


class DamagedShardError(CacheError):
    """A shard file is not there, or is not what was published: its clips are lost. One that merely cannot be read now
    is a CacheError.
    """


class Shard(Protocol):
    """A shard that is open to be read, wherever it is."""

    @property
    def index(self) -> ShardIndex:
        """Which chunks it has."""

    def read_into(self, slot: int, out: np.ndarray) -> None:
        """Fill `out`, C-ordered and of the chunk's dtype and shape, with the chunk in `slot`.

        Raises DamagedShardError, or CacheError where it cannot be read now.
        """


class ShardIndex:
    """Where in a shard the chunk of each slot is."""

    def __init__(self, footer: bytes | memoryview, size: int, chunk_bytes: int, name: str, cache: str) -> None:
        """Raises DamagedShardError where the index does not match its checksum, or the shard's size.

        footer: the shard's last bytes; size: of all of it; name, cache: as messages have them.
        """
        self._name, self._cache = name, cache
        table, checksum = footer[:INDEX_BYTES], footer[INDEX_BYTES:]
        if len(footer) != FOOTER_BYTES or google_crc32c.value(bytes(table)) != int.from_bytes(checksum, "little"):
            raise self.damaged("is damaged: its shard index is cut short or does not match its checksum")
        index = np.frombuffer(table, dtype="<u8").reshape(SHARD_CLIPS, 2)
        offsets, sizes = index[index[:, 0] != EMPTY].T.tolist()
        if any(nbytes != chunk_bytes for nbytes in sizes):
            raise self.damaged(f"is damaged: its chunks are not all of {chunk_bytes} bytes")
        told = len(offsets) * chunk_bytes + FOOTER_BYTES
        if size != told or any(offset + chunk_bytes > size - FOOTER_BYTES for offset in offsets):
            raise self.damaged(f"is damaged: it has {size} bytes, its index tells of {told}")
        self._offsets = [None if offset == EMPTY else int(offset) for offset in index[:, 0]]

    @property
    def filled(self) -> set[int]:
        """The slots that have a chunk."""
        return {slot for slot, offset in enumerate(self._offsets) if offset is not None}

    def check(self, slots: Iterable[int]) -> None:
        """Raise DamagedShardError where a slot has no chunk."""
        for slot in slots:
            self.offset(slot)

    def offset(self, slot: int) -> int:
        """Where a slot's chunk begins; raises DamagedShardError where it has none."""
        offset = self._offsets[slot]
        if offset is None:
            raise self.damaged(f"is damaged: it has no chunk in slot {slot} although the index lists a clip there")
        return offset

    def damaged(self, reason: str) -> DamagedShardError:
        """The line for a shard of which something is wrong."""
        return _damaged(self._name, reason, self._cache)


class ShardFile:
    """An open shard file: its index is read once, then each chunk with one call."""

    def __init__(self, path: Path, chunk_bytes: int) -> None:
        """Raises DamagedShardError where the file is missing, cut short, or its index does not match its checksum;
        CacheError where it cannot be read.
        """
        self.path = path
        self._descriptor = -1
        try:
            self._descriptor = open_regular(path)
            size = os.fstat(self._descriptor).st_size
            footer = os.pread(self._descriptor, FOOTER_BYTES, max(0, size - FOOTER_BYTES))
        except FileNotFoundError as error:
            raise _damaged(str(path), "is not there", str(path.parent.parent)) from error
        except OSError as error:
            if error.errno in NOT_A_FILE:
                raise _damaged(str(path), error.strerror or str(error), str(path.parent.parent)) from error
            raise CacheError(f"cannot read shard {path}: {error.strerror}") from error
        self.index = ShardIndex(footer, size, chunk_bytes, str(path), str(path.parent.parent))

    def read_into(self, slot: int, out: np.ndarray) -> None:
        """See `Shard`."""
        offset = self.index.offset(slot)
        target = out.data.cast("B")
        while target:
            try:
                count = os.preadv(self._descriptor, [target], offset)
            except OSError as error:
                raise CacheError(f"cannot read shard {self.path}: {error.strerror}") from error
            if count == 0:
                raise self.index.damaged(f"is damaged: it ends within the chunk in slot {slot}")
            target, offset = target[count:], offset + count

    def __del__(self) -> None:
        """Close the file with its last user."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _damaged(name: str, reason: str, cache: str) -> DamagedShardError:
    return DamagedShardError(f"shard {name} {reason}; {REMAKE.format(cache)}")
