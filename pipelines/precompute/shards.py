"""Clips that are done are held until all of their shard are; then a thread writes the shard.

So the processes that make clips wait for the disk only where it is more than two shards behind, and memory
holds no more than those and the shards that are begun. How a shard is written is left to the cache.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, ShardWork
from codecsieve.errors import CacheError

_QUEUED_SHARDS = 2

Outcome = tuple[IndexRecord, ClipArrays | None]
"""What became of a clip; without arrays where it failed."""


class Shards:
    """The clips that are done of shards that are not yet written. Use as a context manager.

    Leaving it publishes the clips that are done of shards that are not, also when the run was interrupted.
    Only where the disk has failed is nothing more written. The disk is waited for without a deadline: what is being
    written cannot be let go of half-way.
    """

    def __init__(self, writer: CacheWriter, work: Sequence[ShardWork]) -> None:
        """Take what `writer.plan` returned."""
        self._writer = writer
        self._shard_of = {clip_id: shard.shard for shard in work for clip_id in shard.ids}
        self._missing = {shard.shard: len(shard.ids) for shard in work}
        self._outcomes: dict[int, list[Outcome]] = defaultdict(list)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shard-writer")
        self._writing: deque[Future[None]] = deque()

    def add(self, record: IndexRecord, arrays: ClipArrays | None) -> None:
        """Take a clip, `arrays` None if it failed. Waits for the disk where that is some shards behind.

        Raises CacheError where the disk has failed.
        """
        shard = self._shard_of[record.id]
        self._outcomes[shard].append((record, arrays))
        self._missing[shard] -= 1
        if not self._missing[shard]:
            self._write(shard)
        while self._writing and (self._writing[0].done() or len(self._writing) > _QUEUED_SHARDS):
            self._writing.popleft().result()

    def _write(self, shard: int) -> None:
        outcomes = self._outcomes.pop(shard)
        clips = {record.id: arrays for record, arrays in outcomes if arrays is not None}
        records = [record for record, _ in outcomes]
        self._writing.append(self._thread.submit(self._writer.write_shard, shard, clips, records))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        disk_failed = isinstance(error, CacheError)
        if not disk_failed:
            for shard in sorted(self._outcomes):
                self._write(shard)
        self._thread.shutdown(wait=True, cancel_futures=disk_failed)
        while self._writing and not disk_failed:
            self._writing.popleft().result()
