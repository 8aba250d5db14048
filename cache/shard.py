"""One shard file: up to 64 clips' chunks of one array, as raw bytes, behind one index.

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
    index = np.full((SHARD_CLIPS, 2), EMPTY, dtype="<u8")
    offset = 0
    for slot in sorted(chunks):
        index[slot] = offset, chunks[slot].nbytes
        offset += chunks[slot].nbytes
    footer = index.tobytes()
    checksum = google_crc32c.value(footer).to_bytes(4, "little")
    publish(path, [*(np.ascontiguousarray(chunks[slot]) for slot in sorted(chunks)), footer, checksum])


class DamagedShardError(CacheError):
    """A shard file is not there, or is not what was published: its clips are lost. One that merely cannot be read now
    is a CacheError.
    """


class ShardFile:
    """An open shard file: its index is read once, then each chunk with one call."""

    def __init__(self, path: Path, chunk_bytes: int) -> None:
        """Raises DamagedShardError where the file is missing, cut short, or its index does not match its checksum;
        CacheError where it cannot be read.
        """
        self.path = path
        self.chunk_bytes = chunk_bytes
        self._descriptor = -1
        try:
            self._descriptor = open_regular(path)
            size = os.fstat(self._descriptor).st_size
            footer = os.pread(self._descriptor, FOOTER_BYTES, max(0, size - FOOTER_BYTES))
        except FileNotFoundError as error:
            raise _damaged(path, "is not there") from error
        except OSError as error:
            if error.errno in NOT_A_FILE:
                raise _damaged(path, error.strerror or str(error)) from error
            raise CacheError(f"cannot read shard {path}: {error.strerror}") from error
        table, checksum = footer[:INDEX_BYTES], footer[INDEX_BYTES:]
        if len(footer) != FOOTER_BYTES or google_crc32c.value(table) != int.from_bytes(checksum, "little"):
            raise _damaged(path, "is damaged: its shard index is cut short or does not match its checksum")
        index = np.frombuffer(table, dtype="<u8").reshape(SHARD_CLIPS, 2)
        offsets, sizes = index[index[:, 0] != EMPTY].T.tolist()
        if any(nbytes != chunk_bytes for nbytes in sizes):
            raise _damaged(path, f"is damaged: its chunks are not all of {chunk_bytes} bytes")
        told = len(offsets) * chunk_bytes + FOOTER_BYTES
        if size != told or any(offset + chunk_bytes > size - FOOTER_BYTES for offset in offsets):
            raise _damaged(path, f"is damaged: it has {size} bytes, its index tells of {told}")
        self._offsets = [None if offset == EMPTY else int(offset) for offset in index[:, 0]]

    def check(self, slots: Iterable[int]) -> None:
        """Raise DamagedShardError where a slot has no chunk."""
        for slot in slots:
            self._offset(slot)

    def read_into(self, slot: int, out: np.ndarray) -> None:
        """Fill `out`, C-ordered and of the chunk's dtype and shape, with the chunk in `slot`."""
        offset = self._offset(slot)
        target = out.data.cast("B")
        while target:
            try:
                count = os.preadv(self._descriptor, [target], offset)
            except OSError as error:
                raise CacheError(f"cannot read shard {self.path}: {error.strerror}") from error
            if count == 0:
                raise _damaged(self.path, f"is damaged: it ends within the chunk in slot {slot}")
            target, offset = target[count:], offset + count

    def _offset(self, slot: int) -> int:
        offset = self._offsets[slot]
        if offset is None:
            raise _damaged(
                self.path, f"is damaged: it has no chunk in slot {slot} although the index lists a clip there"
            )
        return offset

    def __del__(self) -> None:
        """Close the file with its last user."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _damaged(path: Path, reason: str) -> DamagedShardError:
    return DamagedShardError(f"shard {path} {reason}; {REMAKE.format(path.parent.parent)}")
