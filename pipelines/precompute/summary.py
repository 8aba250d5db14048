"""How far a run is, and what it came to.

A summary is made of the cache's index, so that clips of earlier runs count as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from codecsieve.cache import IndexRecord, Layout
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.said import News

_COUNTS = ("made", "skipped", "duplicates", "lost", "not_tried", "relabelled", "moved")


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

    made: clips put in by this run; skipped: clips that were in before; duplicates: inputs that ask for a clip again;
    lost: clips that were in before, but whose shards were found damaged; not_tried: clips left when a run stopped at
    its first failure; relabelled: clips that were in and have another label since; moved: likewise, whose video lies
    elsewhere; pruned: clips that were taken out at the end, other ones of the cache among them; failures: failed clips,
    also of earlier runs; kinds: clips that are in, by (codec, signals); clip_bytes: of one clip's arrays; seconds: of
    the run.
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
    pruned: int = 0
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


class Report:
    """Tells how far a run is, over all ranges of its inputs."""

    def __init__(self, rows: int | None, tell: Callable[[Progress], None]) -> None:
        """rows: of all inputs; None where that is not known."""
        self.to_come, self._tell = rows, tell
        """Rows of ranges that are not begun; None where that is not known."""
        self.failed = 0
        """Clips that failed in this run."""
        self._done = self._planned = 0

    def begin(self, rows: int) -> None:
        """A range of so many rows of the inputs has been read."""
        if self.to_come is not None:
            self.to_come = max(0, self.to_come - rows)

    def count(self, records: Iterable[IndexRecord], clips: int, fail_fast: bool) -> int:
        """Tell of clips as they are done, of so many; how many are good. Ends at the first failure where that is so."""
        made = 0
        self._planned += clips
        self._say()
        for record in records:
            made += record.status == "ok"
            self._done += 1
            self.failed += record.status != "ok"
            self._say()
            if fail_fast and record.status == "failed":
                break
        return made

    def _say(self) -> None:
        self._tell(Progress(self._done, self._planned + (self.to_come or 0), self.failed))


def joined(parts: Sequence[RunSummary], layout: Layout, seconds: float, pruned: int, not_read: int) -> RunSummary:
    """The summary of a run of those of its ranges. layout: of the cache; not_read: rows that were not come to."""
    kinds = sum((Counter(part.kinds) for part in parts), Counter[tuple[str, str]]())
    sums = {name: sum(getattr(part, name) for part in parts) for name in _COUNTS}
    sums["not_tried"] += not_read
    return RunSummary(
        **sums,
        seconds=seconds,
        clip_bytes=layout.clip_bytes,
        pruned=pruned,
        failures=tuple(failure for part in parts for failure in part.failures),
        kinds=dict(sorted(kinds.items())),
    )


def summarise(
    index: pa.Table, wanted: Mapping[str, ClipRequest], made: int, duplicates: int, lost: int, told: News
) -> RunSummary:
    """The summary of a range of a run's inputs, by the index as it is after it. wanted: by id."""
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
        seconds=0.0,
        clip_bytes=0,
        relabelled=told.relabelled,
        moved=told.moved,
        failures=tuple(failures),
        kinds=dict(sorted(kinds.items())),
    )
