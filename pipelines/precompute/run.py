"""Clips in, cache out: give the clips to worker processes, and what becomes of each to the cache.

What happens to one clip stays with that clip: bad data, a crash, a hang become a row of the index with its
error. The bytes of a cache depend on the inputs and the config only, not on the number of workers or on how
often the run was cut off. How a clip is sieved is left to `sieve`, who does it to `crew` and `device`, when shards are
written to `shards`, what inputs say of clips beside to `said`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import pyarrow as pa

from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, ShardWork, Store
from codecsieve.errors import ManifestError
from codecsieve.pipelines.config import METHOD, RunOptions, SieveConfig
from codecsieve.pipelines.inputs.clips import distinct
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.crew import gather_crew, make_clips
from codecsieve.pipelines.precompute.device import choose_device
from codecsieve.pipelines.precompute.outcome import ClipOutcome
from codecsieve.pipelines.precompute.said import news
from codecsieve.pipelines.precompute.shards import Outcome, Shards
from codecsieve.pipelines.precompute.summary import Progress, RunSummary, summarise
from codecsieve.text import quoted, shortened

_ROUNDS = 3
_log = logging.getLogger(__name__)


def precompute(
    requests: Sequence[ClipRequest],
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
    progress: Callable[[Progress], None] | None = None,
) -> RunSummary:
    """Put every clip of `requests` into the cache `out`, which is made or gone on with.

    Clips that are in already are passed over, and so are those that failed before, unless `retry_failed`. A clip that
    was put in and whose shard has since been removed or damaged is made again. Labels and other columns that the inputs
    have for a clip that is in take the place of what was said of it before; a label that they leave out stays.

    Args:
        requests: what `inputs.clips.read_inputs` returns.
        out: the cache's folder.
        config: what is sampled, scored and kept; the defaults where None.
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
        progress: called in this thread at the start and after every clip.

    Raises:
        CacheError: `out` cannot be made or written, holds something else, or a cache of another config or
            METHOD. What was published by then stays.
        ManifestError: one id stands for different clips, here or in the cache.
        WorkerError: no worker process can be started.
        ConfigError: an option out of range.
        KeyboardInterrupt: clips that are done by then are published first; run again to go on.
    """
    options = RunOptions(store, device, workers, retry_failed, fail_fast, clip_timeout, max_memory)  # type: ignore[arg-type]
    if not requests:
        raise ManifestError("no clip in the inputs; name at least one video")
    began = time.monotonic()
    config = config or SieveConfig()
    layout = Layout(config.num_frames, config.k_keep, config.patch_size, store)
    wanted = {request.id: request for request in distinct(requests)}
    chosen = choose_device(device)
    signals, reader = chosen.resolve(config)
    used = dataclasses.replace(config, signals=signals)
    hashed = {"method": METHOD, "bitstream_reader": reader, **config.to_dict(), "signals": signals}
    with CacheWriter.open(out, layout, hashed, _versions()) as writer:
        known = writer.index()
        _check_against_index(known, wanted)
        told = news(known, wanted)
        if told.rows is not None:
            writer.say(told.rows)
        made = 0
        for number in range(_ROUNDS):
            work = _work(writer, wanted, retry_failed and not number)
            jobs = [wanted[clip_id] for shard in work for clip_id in shard.ids]
            _warn_of_space(writer.path, len(jobs), layout)
            crew = gather_crew(chosen, used, store == "patches", workers, options.max_memory, len(jobs))
            lost = len(writer.lost)
            with Shards(writer, work) as shards, closing(make_clips(crew, jobs, clip_timeout)) as outcomes:
                made += _publish(outcomes, shards, layout, len(jobs), fail_fast, progress or (lambda _: None))
            # Reading a shard back, to write it anew, may have shown that other clips of it are damaged.
            if fail_fast or len(writer.lost) == lost:
                break
        index = writer.index()
        again = len({clip_id for lost in writer.lost for clip_id in lost.ids} & wanted.keys())
    seconds = time.monotonic() - began
    return summarise(index, wanted, made, len(requests) - len(wanted), again, seconds, layout, told)


def _work(writer: CacheWriter, wanted: Mapping[str, ClipRequest], retry_failed: bool) -> list[ShardWork]:
    """What is to be made; a warning tells of clips that were lost."""
    known = len(writer.lost)
    work = writer.plan(wanted, retry_failed)
    found = writer.lost[known:]
    if found:
        clips = sum(len(lost.ids) for lost in found)
        _log.warning(
            "cache %s has lost %d clips (%s%s); those of these inputs are made again",
            writer.path, clips, found[0].reason, f" and {len(found) - 1} more" if found[1:] else "",
        )  # fmt: skip
    return work


# --- clips


def _publish(
    outcomes: Iterable[ClipOutcome],
    shards: Shards,
    layout: Layout,
    total: int,
    fail_fast: bool,
    report: Callable[[Progress], None],
) -> int:
    """Hand outcomes on to their shards as they come; how many are clips."""
    made = 0
    report(Progress(0, total, 0))
    for done, outcome in enumerate(outcomes, 1):
        record, arrays = _for_cache(outcome, layout)
        shards.add(record, arrays)
        made += arrays is not None
        report(Progress(done, total, done - made))
        if fail_fast and arrays is None:
            break
    return made


def _for_cache(outcome: ClipOutcome, layout: Layout) -> Outcome:
    """An outcome as the cache takes it: its record and arrays; the record alone where the clip failed."""
    request, clip = outcome.request, outcome.clip
    asked: dict[str, Any] = {
        "id": request.id,
        "uri": request.path,
        "fingerprint": request.fingerprint,
        "label": request.label,
        "start": request.start,
        "end": request.end,
        "seconds": outcome.seconds,
    }
    if clip is None:
        return IndexRecord(status="failed", error=outcome.error, **asked), None
    made = IndexRecord(
        status="ok",
        codec=clip.codec,
        width=clip.width,
        height=clip.height,
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
