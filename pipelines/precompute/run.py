"""Clips in, cache out: give the clips to worker processes, and what becomes of each to the cache.

What happens to one clip stays with that clip: bad data, a crash, a hang become a row of the index with its
error. The bytes of a cache depend on the inputs and the config only, not on the number of workers or on how
often the run was cut off. How a clip is sieved is left to `sieve`, who does it and when shards are written to
`engine`, what inputs say of clips beside to `said`, which clips are taken out to `prune`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import av
import pyarrow as pa

from codecsieve.cache import CacheWriter, Layout, Location, Part, ShardWork, Store
from codecsieve.errors import ManifestError
from codecsieve.pipelines.config import RunOptions, SieveConfig
from codecsieve.pipelines.inputs.clips import RequestRanges, distinct
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.chosen import as_the_cache_reads, options_of_run
from codecsieve.pipelines.precompute.engine import Engine, LocalEngine
from codecsieve.pipelines.precompute.inputs import Inputs
from codecsieve.pipelines.precompute.prune import prune_clips
from codecsieve.pipelines.precompute.ray_options import RayOptions
from codecsieve.pipelines.precompute.said import news
from codecsieve.pipelines.precompute.summary import Progress, Report, RunSummary, joined, summarise
from codecsieve.text import quoted, shortened

_ROUNDS = 3
_log = logging.getLogger(__name__)


def precompute(
    requests: Sequence[ClipRequest] | RequestRanges,
    out: str | os.PathLike[str],
    config: SieveConfig | None = None,
    *,
    device: str = RunOptions.device,
    workers: int | None = RunOptions.workers,
    store: Store = "patches",
    retry_failed: bool = RunOptions.retry_failed,
    fail_fast: bool = RunOptions.fail_fast,
    clip_timeout: float = RunOptions.clip_timeout,
    max_memory: int | str = RunOptions.max_memory,
    part: str | None = RunOptions.part,
    prune: Sequence[str] = RunOptions.prune,
    ray: RayOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """Put every clip of `requests` into the cache `out`, which is made or gone on with.

    Clips that are in already are passed over, and so are those that failed before, unless `retry_failed`. A clip that
    was put in and whose shard has since been removed or damaged is made again. Labels and other columns that the inputs
    have for a clip that is in take the place of what was said of it before; a label that they leave out stays.

    Args:
        requests: what `inputs.clips.read_inputs` returns, or `read_ranges`, for more clips than memory holds.
        out: the cache's folder, or its URL in an object store; there several runs may write one cache.
        config: what is sampled, scored and kept; None: as the cache has it, or by the default preset.
        device: `cpu`; `cuda`, every GPU; `cuda:N`, one GPU; `auto`, the GPUs that can decode, or
            else the processor. With `search` signals the cache is the same, whichever it is.
        workers: clips at a time: on the processor each has a process, on each GPU as many are decoded at once. None:
            one for each core that this process may use, or for each of a GPU's decoder engines. 0, on the processor:
            clips are sieved in this process, where a crash or a hang is not caught.
        store: "patches", or "indices" to leave the pixels out.
        retry_failed: try clips again that failed before.
        fail_fast: stop at the first clip that fails.
        clip_timeout: seconds that one clip may take.
        max_memory: bytes, or text such as "4 GB", that one clip may take besides what a worker has anyway (some 150
            MB). One that may take more by its header is refused before it is decoded. On Linux a worker on the
            processor is kept to it whatever a header says; workers on GPUs, whose drivers reserve memory by the
            gigabyte, are not, and neither is this process (`workers` 0).
        part: such as "2/4": plan all clips, and make those of every fourth shard. Runs of other parts, of the same
            requests in the same order, may write the same cache meanwhile, or one each, to be merged.
        prune: at the end, take clips out of the cache: of "missing", those that `requests` do not have and whose video
            is gone; of "failed", those that failed, also in earlier runs and also of `requests`.
        ray: have a Ray cluster make the clips, instead of this machine alone: the same bytes.
        progress: called in this thread at the start and after every clip.

    Raises:
        CacheError: `out` cannot be made or written, holds something else, or a cache of another config or
            METHOD. What was published by then stays.
        ManifestError: one id stands for different clips, here or in the cache.
        WorkerError: no worker process can be started.
        ConfigError: an option out of range, or one that the device or the cluster cannot fulfil.
        KeyboardInterrupt: clips that are done by then are published first; run again to go on.
    """
    options = RunOptions(store, device, workers, retry_failed, fail_fast, clip_timeout, max_memory, part, prune)  # type: ignore[arg-type]
    if not isinstance(requests, RequestRanges):
        requests = RequestRanges(iter([list(requests)] if requests else []), len(requests))
    ranges = iter(requests.ranges)
    first = next(ranges, None)
    if first is None:
        raise ManifestError("no clip in the inputs; name at least one video")
    distinct(first)  # before anything is made
    began = time.monotonic()
    config = config or options_of_run(out)
    layout = Layout(config.num_frames, config.k_keep, config.patch_size, store)
    location, inputs, done = Location.of(out), Inputs(), list[RunSummary]()
    report = Report(requests.rows, progress or (lambda _: None))
    with ExitStack() as held:
        config = as_the_cache_reads(location, config)
        engine = held.enter_context(_engine_for(options, ray, location, layout, config))
        signals, reader = engine.resolve(config)
        used = dataclasses.replace(config, signals=signals, decoder_fields="on" if reader == "decoder" else "off")
        # Who read the bitstream says whether the decoder's fields were read.
        said = dataclasses.replace(config, signals=signals, decoder_fields="auto")
        hashed = {"method": config.method, "bitstream_reader": reader, **said.to_dict()}
        writer = held.enter_context(CacheWriter.open(location, layout, hashed, _versions(), Part(*options.shards)))
        some: Sequence[ClipRequest] | None = first
        del first
        while some is not None and not (fail_fast and report.failed):
            wanted = inputs.new(some, writer.rows_of)
            done.append(_make_range(engine, writer, used, options, wanted, len(some) - len(wanted), report))
            inputs.remember(wanted, writer.rows, options.prune)
            del wanted
            some = None  # before the next is read: memory has one of them
            some = next(ranges, None)
    # Of inputs that were not all read nobody knows which clips they name.
    pruned = prune_clips(out, inputs, options.prune) if options.prune and some is None else 0
    not_read = 0 if some is None else report.to_come or len(some)
    return joined(done, layout, time.monotonic() - began, pruned, not_read)


def _make_range(
    engine: Engine,
    writer: CacheWriter,
    config: SieveConfig,
    options: RunOptions,
    wanted: Mapping[str, ClipRequest],
    repeats: int,
    report: Report,
) -> RunSummary:
    """Plan, make and publish the clips of a range of the inputs, by id."""
    writer.look_at(wanted)
    known, lost_before = writer.index(), len(writer.lost)
    _check_against_index(known, wanted)
    told = news(known, wanted)
    if told.rows is not None:
        writer.say(told.rows)
    made = 0
    report.begin(len(wanted) + repeats)
    for number in range(_ROUNDS):
        work = _work(writer, wanted, options.retry_failed and not number)
        clips, lost = sum(len(shard.ids) for shard in work), len(writer.lost)
        if writer.location.local:
            _warn_of_space(writer.location.folder, clips, writer.layout)
        with closing(engine.make(writer, work, wanted, config)) as records:
            made += report.count(records, clips, options.fail_fast)
        # Reading a shard back, to write it anew, may have shown that other clips of it are damaged.
        if options.fail_fast or len(writer.lost) == lost:
            break
    index, own = writer.index(), {clip_id: wanted[clip_id] for clip_id in writer.own(wanted)}
    again = len({clip_id for lost_ in writer.lost[lost_before:] for clip_id in lost_.ids} & own.keys())
    return summarise(index, own, made, repeats, again, told)


def _work(writer: CacheWriter, wanted: Mapping[str, ClipRequest], retry_failed: bool) -> list[ShardWork]:
    """What is to be made; a warning tells of clips that were lost."""
    known = len(writer.lost)
    work = writer.plan(wanted, retry_failed)
    found = writer.lost[known:]
    if found:
        clips = sum(len(lost.ids) for lost in found)
        _log.warning(
            "cache %s has lost %d clips (%s%s); those of these inputs are made again",
            writer.location, clips, found[0].reason, f" and {len(found) - 1} more" if found[1:] else "",
        )  # fmt: skip
    return work


@contextmanager
def _engine_for(
    run: RunOptions, ray: RayOptions | None, location: Location, layout: Layout, config: SieveConfig
) -> Iterator[Engine]:
    if ray is None:
        yield LocalEngine.of(run)
        return
    from codecsieve.pipelines.precompute.ray_engine import ray_engine  # which few have

    with ray_engine(location, layout, config, run, ray) as engine:
        yield engine


# --- before and after


def _versions() -> dict[str, str]:
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"av": av.__version__, "libavcodec": ffmpeg}


def _check_against_index(index: pa.Table, wanted: Mapping[str, ClipRequest]) -> None:
    """Raise ManifestError where the cache has another clip under an id of the inputs."""
    names = ["id", "status", "start", "end", "fingerprint"]
    for part in index.select(names).to_batches(max_chunksize=4096):
        for known in part.to_pylist():
            request = wanted.get(known["id"])
            if request is None or known["status"] != "ok":
                continue
            for name in ("start", "end", "fingerprint"):
                asked = getattr(request, name)
                if known[name] != asked:
                    raise ManifestError(
                        f"clip {shortened(request.id)} ({shortened(request.path)}) is in the cache with {name} "
                        f"{quoted(known[name])}, the inputs say {quoted(asked)}; give it an id of its own, or use "
                        "another --out"
                    )


def _warn_of_space(cache: Path, clips: int, layout: Layout) -> None:
    needed, free = clips * layout.clip_bytes, shutil.disk_usage(cache).free
    if needed > free:
        _log.warning(
            "%s: %d clips take up to %.1f GB, %.1f GB are free; the run stops where the disk is full",
            cache, clips, needed / 1e9, free / 1e9,
        )  # fmt: skip
