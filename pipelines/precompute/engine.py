"""Where the clips of a run are made: one interface, of which this machine's workers are one form and Ray another.

An engine knows what its device can do before the cache is opened; then it makes the clips of shards and has them
published. What a run is, before and after that, is left to `run`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, ShardWork
from codecsieve.pipelines.config import RunOptions, SieveConfig
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.crew import Crew, gather_crew, make_clips
from codecsieve.pipelines.precompute.device import Device, choose_device
from codecsieve.pipelines.precompute.outcome import ClipOutcome
from codecsieve.pipelines.precompute.shards import Outcome, Shards


class Engine(Protocol):
    """Makes clips, wherever."""

    def resolve(self, config: SieveConfig) -> tuple[str, str | None]:
        """Signals and reader, as of `Device.resolve`."""

    def make(
        self, writer: CacheWriter, work: Sequence[ShardWork], wanted: Mapping[str, ClipRequest], config: SieveConfig
    ) -> Generator[IndexRecord]:
        """Make clips, by id in `wanted`, and publish their shards; a record as each is done, also of one that failed.

        config: with signals as resolved. Closing the generator early publishes what is done by then.
        """


@dataclass(frozen=True)
class LocalEngine:
    """Workers of this machine."""

    device: Device
    options: RunOptions

    @classmethod
    def of(cls, options: RunOptions) -> LocalEngine:
        """On the device that options name. Raises ConfigError where it cannot be used."""
        return cls(choose_device(options.device), options)

    def resolve(self, config: SieveConfig) -> tuple[str, str | None]:
        """See `Engine`."""
        return self.device.resolve(config)

    def make(
        self, writer: CacheWriter, work: Sequence[ShardWork], wanted: Mapping[str, ClipRequest], config: SieveConfig
    ) -> Generator[IndexRecord]:
        """See `Engine`."""
        options, jobs = self.options, [wanted[clip_id] for shard in work for clip_id in shard.ids]
        pixels = writer.layout.store == "patches"
        crew = gather_crew(self.device, config, pixels, options.workers, options.max_memory, len(jobs))
        return _made(crew, writer, work, jobs, options.clip_timeout)


def _made(
    crew: Crew, writer: CacheWriter, work: Sequence[ShardWork], jobs: Sequence[ClipRequest], timeout: float
) -> Generator[IndexRecord]:
    with Shards(writer, work) as shards, closing(make_clips(crew, jobs, timeout)) as outcomes:
        for outcome in outcomes:
            record, arrays = for_cache(outcome, writer.layout)
            shards.add(record, arrays)
            yield record


def for_cache(outcome: ClipOutcome, layout: Layout) -> Outcome:
    """An outcome as the cache takes it: its record and arrays; the record alone where the clip failed."""
    request, clip = outcome.request, outcome.clip
    asked = {**request.known, "seconds": outcome.seconds}
    if clip is None:
        return IndexRecord(status="failed", error=outcome.error, **asked), None
    made = IndexRecord(
        status="ok",
        codec=clip.codec,
        width=clip.width,
        height=clip.height,
        grid_rows=clip.grid[0],
        grid_columns=clip.grid[1],
        fps=clip.fps,
        frames=clip.frames,
        distinct_frames=clip.distinct_frames,
        filled=clip.filled,
        order=clip.order,
        signals=clip.signals,
        decoder=clip.decoder,
        **asked,
    )
    pixels = clip.patches if layout.store == "patches" else None
    return made, ClipArrays(pixels, clip.positions, clip.scores, clip.frame_ids)
