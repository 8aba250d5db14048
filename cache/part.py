"""A part of a cache: every N-th shard of it, for one of N runs that share the work, on one machine or on many.

Runs of different parts never write the same shard. They may write one cache side by side: in a folder each holds the
cache's lock shared, so that nobody writes all of it, and the lock of its part alone. What they have in common, the plan
and the table, is written by whoever holds a third lock, for a moment. In a bucket any runs may write side by side, also
of one part, see `bucket`; there `lease` keeps out who takes something away.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from codecsieve.errors import CacheError, ConfigError
from codecsieve.files import HeldError, lock, remove_all

from .layout import LOCK
from .lease import take_lease
from .location import Location

_PATIENCE = 60.0  # seconds: a plan of millions of clips is written in a few


@dataclass(frozen=True)
class Part:
    """The shards s with s % of == number - 1. Raises ConfigError where there is no such part."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"part ({self}) must be one of 1/{self.of} to {self.of}/{self.of}")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, shard: int) -> bool:
        """Whether a shard belongs to it."""
        return shard % self.of == self.number - 1


ALL = Part(1, 1)


def hold_alone(location: Location) -> ExitStack:
    """Take what allows to change anything in a cache, and to take away, until the returned stack is closed.

    Raises CacheError where somebody writes the cache, or it cannot be written.
    """
    with ExitStack() as held:
        if location.local:
            held.enter_context(lock(location.folder / LOCK, location.folder))
        else:
            _hold_lease(held, location, alone=True)
        return held.pop_all()


def hold_part(location: Location, part: Part) -> ExitStack:
    """Take what a run of one part, or of all, holds, until the returned stack is closed.

    Raises CacheError where, in a folder, somebody writes all of the cache, this part of it, or parts that overlap with
    it; in a bucket, where somebody takes something away.
    """
    if location.local and part == ALL:
        return hold_alone(location)
    with ExitStack() as held:
        if location.local:
            _hold_shards(held, location.folder, part)
        else:
            _hold_lease(held, location, alone=False)
        return held.pop_all()


def hold_common(location: Location, part: Part) -> ExitStack:
    """Take what allows to write the plan and the table of a cache, beside other parts' runs; waits for them."""
    with ExitStack() as held:
        if location.local and part != ALL:
            cache = location.folder
            held.enter_context(lock(cache / f"{LOCK}-common", cache, patience=_PATIENCE))
        return held.pop_all()


def clear_part_locks(location: Location) -> None:
    """Remove the files of locks that runs of parts left, of no use to who alone writes the cache."""
    if location.local:
        remove_all(sorted(location.folder.glob(f"{LOCK}-*")))


def _hold_shards(held: ExitStack, cache: Path, part: Part) -> None:
    held.enter_context(lock(cache / LOCK, cache, shared=True))
    held.enter_context(lock(cache / f"{LOCK}-part-{part.number}-of-{part.of}", cache))
    for other in cache.glob(f"{LOCK}-part-*-of-*"):
        if not other.name.endswith(f"-of-{part.of}"):
            try:
                lock(other, cache).close()
            except HeldError as error:
                count = other.name.rpartition("-")[2]
                raise CacheError(
                    f"cache {cache} is being written in {count} parts, not {part.of}: their shards overlap; "
                    f"use --part .../{count}, or another --out"
                ) from error


def _hold_lease(held: ExitStack, location: Location, alone: bool) -> None:
    bucket = location.bucket
    if bucket is None:
        location.make_folder()  # which says that nothing is written there
        return
    lease = location.attempt("", lambda: take_lease(bucket.objects, alone))
    held.callback(lease.close)
    bucket.lease = lease
    held.callback(setattr, bucket, "lease", None)
