"""A clip's bytes out of raw shards in an object store: by ranges, many at once, and few.

A shard's index is asked for once. Of an array whose shards are small, such as `scores`, all of a shard comes with it,
so that a clip takes one request more: for its patches; chunks that lie together are one range. A shard that is replaced
meanwhile is seen by its version, and opened again. With copies on the disk (`copies`), shards are read there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np

from codecsieve.objects import ChangedError

from .copies import Copies
from .layout import REMAKE, SHARD_CLIPS, ArrayLayout
from .location import Location, cannot_read
from .shard import FOOTER_BYTES, DamagedShardError, Shard, ShardFile, ShardIndex
from .source import Source

_WHOLE = 2 << 20  # bytes of a shard that is read with its index
_MEMORY = 64 << 20  # bytes of such shards, of one array
_OPEN = 32, 4096  # shards, at least and at most
_AT_ONCE = 32  # requests, for one array
_RUN = 8 << 20  # bytes of one request
_COPIES = 3  # tries to read a copy, which others may remove


class BucketShard:
    """A shard of which the index was read, and, if it is small, the rest too."""

    def __init__(self, location: Location, array: ArrayLayout, shard: int, whole: bool = True) -> None:
        """Raises DamagedShardError where there is none, or its index is damaged; CacheError where it cannot be read.

        whole: keep all of one that is small.
        """
        assert location.bucket is not None
        self._bucket, self._key, self._nbytes = location.bucket, array.shard_key(shard), array.nbytes
        self._name = f"{location}/{self._key}"
        keep = whole and array.nbytes * SHARD_CLIPS + FOOTER_BYTES <= _WHOLE
        try:
            data, stat = self._bucket.read_end(self._key, _WHOLE if keep else FOOTER_BYTES)
        except FileNotFoundError:
            raise DamagedShardError(f"shard {self._name} is not there; {REMAKE.format(location)}") from None
        except OSError as error:
            raise cannot_read(self._name, error) from error
        self._version = stat.version
        self._data = data if keep else None
        self.index = ShardIndex(data[-FOOTER_BYTES:], stat.size, array.nbytes, self._name, str(location))

    @property
    def held(self) -> bool:
        """Whether all of it was read with its index."""
        return self._data is not None

    def runs(self, slots: Sequence[int]) -> list[list[int]]:
        """The slots in groups whose chunks lie together, each of which is one request."""
        found: list[list[int]] = []
        for slot in sorted(slots, key=self.index.offset):
            if found and self._follows(found[-1][-1], slot) and len(found[-1]) * self._nbytes < _RUN:
                found[-1].append(slot)
            else:
                found.append([slot])
        return found

    def read_run(self, run: Sequence[int], outs: Sequence[np.ndarray]) -> None:
        """Fill an array for each slot of a run. Raises ChangedError where the shard is another now, or CacheError."""
        start, nbytes = self.index.offset(run[0]), len(run) * self._nbytes
        if self._data is not None:
            data = self._data[start : start + nbytes]
        else:
            try:
                data, _ = self._bucket.objects.read_range(self._key, start, nbytes, self._version)
            except FileNotFoundError:
                raise self.index.damaged("is not there any more") from None
            except ChangedError:
                raise
            except OSError as error:
                raise cannot_read(self._name, error) from error
        if len(data) != nbytes:
            raise self.index.damaged(f"is damaged: it ends within the chunk in slot {run[-1]}")
        for number, out in enumerate(outs):
            chunk = data[number * self._nbytes : (number + 1) * self._nbytes]
            out.reshape(-1).view("u1")[:] = np.frombuffer(chunk, np.uint8)

    def read_into(self, slot: int, out: np.ndarray) -> None:
        """See `Shard`."""
        try:
            self.read_run([slot], [out])
        except ChangedError as error:
            raise cannot_read(self._name, error) from error

    def _follows(self, before: int, slot: int) -> bool:
        return self.index.offset(before) + self._nbytes == self.index.offset(slot)


class BucketSource(Source):
    """Rows out of shards in an object store. It may be shared by threads."""

    missing_reads_zero = False
    far = True

    def __init__(self, location: Location, array: ArrayLayout) -> None:
        """Nothing is read yet."""
        self._location, self._array = location, array
        self._copies = Copies(*location.copies) if location.copies else None
        held = array.nbytes * SHARD_CLIPS
        least, most = _OPEN
        self._shard = lru_cache(min(most, max(least, _MEMORY // held)) if held <= _WHOLE else most)(self._open)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"read-{array.name}")

    def read_into(self, row: int, out: np.ndarray) -> None:
        """See `Source`."""
        self.read_rows([row], out[np.newaxis])

    def read_rows(self, rows: Sequence[int], out: np.ndarray) -> None:
        """See `Source`."""
        try:
            self._read(rows, out)
        except ChangedError:
            self._shard.cache_clear()  # written anew since it was opened: by a run that added clips, or a drop
            try:
                self._read(rows, out)
            except ChangedError as error:
                raise cannot_read(f"{self._location}/{self._array.name}", error) from error

    def _read(self, rows: Sequence[int], out: np.ndarray) -> None:
        places: dict[int, dict[int, list[int]]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row // SHARD_CLIPS, {}).setdefault(row % SHARD_CLIPS, []).append(place)
        shards = dict(zip(places, self._threads.map(self._shard, places), strict=True))
        waiting: list[Callable[[], None]] = []
        for number, slots in places.items():
            shard = shards[number]
            at_once = isinstance(shard, BucketShard) and not shard.held
            for job in _jobs(shard, slots, out):
                waiting.append(job) if at_once else job()
        list(self._threads.map(lambda job: job(), waiting))

    def _open(self, shard: int) -> Shard:
        copies, bucket = self._copies, self._location.bucket
        for _ in range(_COPIES if copies and bucket else 0):
            assert copies is not None
            assert bucket is not None
            try:
                path = copies.path_of(bucket.objects, self._array.shard_key(shard))
            except FileNotFoundError:
                break
            except OSError as error:
                raise cannot_read(f"{self._location}/{self._array.shard_key(shard)}", error) from error
            if path is None:
                break
            try:
                return ShardFile(path, self._array.nbytes)
            except DamagedShardError:
                copies.remove(path)  # if it is there, and another process has not just made room
        return BucketShard(self._location, self._array, shard)


def _jobs(shard: Shard, slots: Mapping[int, Sequence[int]], out: np.ndarray) -> Iterator[Callable[[], None]]:
    """What is to be done, at once, to read chunks, by slot, into places of `out`, of which a chunk may have several."""
    runs = shard.runs(list(slots)) if isinstance(shard, BucketShard) else [[slot] for slot in slots]
    for run in runs:
        yield partial(_fill, shard, run, slots, out)


def _fill(shard: Shard, run: Sequence[int], slots: Mapping[int, Sequence[int]], out: np.ndarray) -> None:
    firsts = [out[slots[slot][0]] for slot in run]
    if isinstance(shard, BucketShard):
        shard.read_run(run, firsts)
    else:
        shard.read_into(run[0], firsts[0])
    for slot, first in zip(run, firsts, strict=True):
        for place in slots[slot][1:]:
            out[place] = first
