"""How far a run is, and what it came to.

A summary is made of the cache's index, so that clips of earlier runs count as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from codecsieve.cache import Layout
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.said import News


@dataclass(frozen=True)
class Progress:
    """How far a run is: clips done of those that it has to make, failed among them."""

    done: int
    total: int
    failed: int


@dataclass(frozen=True)
class Failure:
    """A clip that is not in the cache, and why, in one line."""

    id: str
    uri: str
    error: str


@dataclass(frozen=True)
class RunSummary:
    """What a run did, and how all the clips of its inputs stand after it.

    made: clips put in by this run; skipped: clips that were in before; duplicates: inputs that ask for a clip
    again; lost: clips that were in before, but whose shards were found damaged; not_tried: clips left when a run
    stopped at its first failure; relabelled: clips that were in and have another label since; moved: likewise, whose
    video lies elsewhere; failures: failed clips, also of earlier runs; kinds: clips that are in, by (codec, signals);
    clip_bytes: of one clip's arrays; seconds: of the run.
    """

    made: int
    skipped: int
    duplicates: int
    lost: int
    not_tried: int
    seconds: float
    clip_bytes: int
    relabelled: int = 0
    moved: int = 0
    failures: tuple[Failure, ...] = ()
    kinds: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every clip of the inputs is in the cache."""
        return not self.failures and not self.not_tried

    @property
    def clips_per_second(self) -> float:
        """Clips put in for each second of the run."""
        return self.made / self.seconds if self.seconds else 0.0


def summarise(
    index: pa.Table,
    wanted: Mapping[str, ClipRequest],
    made: int,
    duplicates: int,
    lost: int,
    seconds: float,
    layout: Layout,
    told: News,
) -> RunSummary:
    """The summary of a run, by the index as it is after it. wanted: by id; layout: of the cache."""
    columns = [index[name].to_pylist() for name in ("id", "status", "uri", "error", "codec", "signals")]
    failures: list[Failure] = []
    kinds: Counter[tuple[str, str]] = Counter()
    for clip_id, status, uri, error, codec, signals in zip(*columns, strict=True):
        if clip_id not in wanted:
            continue
        if status == "ok":
            kinds[codec or "unknown", signals or "unknown"] += 1
        else:
            failures.append(Failure(clip_id, uri, error))
    return RunSummary(
        made=made,
        skipped=kinds.total() - made,
        duplicates=duplicates,
        lost=lost,
        not_tried=len(wanted) - kinds.total() - len(failures),
        seconds=seconds,
        clip_bytes=layout.clip_bytes,
        relabelled=told.relabelled,
        moved=told.moved,
        failures=tuple(failures),
        kinds=dict(sorted(kinds.items())),
    )
