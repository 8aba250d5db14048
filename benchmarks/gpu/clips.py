"""Whole clips on a GPU: how much of NVDEC's rate is kept, where the host's time goes, and a cache written to disk.

Clips are sieved by threads of one process, as a worker of `precompute` does, and as many are decoded at once as for the
raw rate beside it, of the same packets; the two take turns.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.common import show
from benchmarks.gpu.decode import PATIENCE_S, CountingSession, Tally, Worker, decode_only, measure_rates, planned_clip
from benchmarks.gpu.machine import GpuMemory
from benchmarks.gpu.scenes import Scale
from codecsieve.codec import nvdec
from codecsieve.codec.nvdec import NvdecSession
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.gpu_job import GpuSieve
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.precompute.summary import Progress
from codecsieve.pipelines.sieve import gpu_clip, gpu_stack
from codecsieve.pipelines.sieve.gpu_stack import PictureStack

TARGET_FRACTION = 0.9
THREADS_A_SESSION = 2
"""As in `precompute`: while one clip is opened or finished, its decoder's engine has another."""


class CountingSieve(GpuSieve):
    """`GpuSieve` whose decoders count their pictures, each thread's for itself."""

    def __init__(self, scale: Scale, sessions: int) -> None:
        super().__init__(scale.device.index or 0, sessions, scale.config, pixels=True)
        self._device, self.counted = scale.device, threading.local()

    def _session(self) -> NvdecSession:
        if self._threads.session is None:
            stream = self._threads.stream.cuda_stream
            self._threads.session = CountingSession(self._device, stream, self.counted.tally)
        return self._threads.session


class SievedClips:
    """What one thread does with a sieve: the same clip, over and over."""

    def __init__(self, sieve: CountingSieve, path: Path) -> None:
        self.sieve, self.request = sieve, ClipRequest(str(path), path.name)
        self.tally = sieve.counted.tally = Tally()

    def clip(self) -> None:
        """Sieve the clip once. Raises RuntimeError unless NVDEC decoded it."""
        outcome = self.sieve(self.request)
        if outcome.clip is None or outcome.clip.decoder != "nvdec":
            raise RuntimeError(outcome.error or f"{self.request.path}: was decoded on the processor")
        self.tally.clips += 1


@contextlib.contextmanager
def sieve_whole(sieve: CountingSieve, path: Path) -> Iterator[Worker]:
    """The work of this thread, whose decoder is thrown away afterwards."""
    try:
        yield SievedClips(sieve, path)
    finally:
        sieve._end_session()


def clips(scale: Scale, videos: dict[str, Path], folder: Path) -> dict[str, Any]:
    """The section: of each video what is kept of the raw rate and the host's time by stage; then a cache."""
    rows: list[dict[str, Any]] = []
    hosts: dict[str, Any] = {}
    with GpuMemory(scale.device) as memory:
        for name, path in videos.items():
            try:
                rows += [_compared(scale, name, path, sessions) for sessions in sorted(set(scale.sessions[-2:]))]
                hosts[name] = {str(n): host_stages(scale, path, n) for n in (1, THREADS_A_SESSION * scale.sessions[-2])}
            except Exception as error:  # the other videos are measured all the same
                traceback.print_exc()
                rows.append({"video": name, "clips_per_s": None, "reason": f"{type(error).__name__}: {error}"})
    shown = ("video", "sessions", "clips_per_s", "raw_clips_per_s", "fraction_of_raw")
    show("Whole clips", shown, [[row.get(column) for column in shown] for row in rows])
    for name, stages in hosts.items():
        names = list(next(iter(stages.values())))
        table = [[stage, *(of[stage] for of in stages.values())] for stage in names]
        show(f"Host, ms a clip, by threads: {name}", ["stage", *stages], table)
    figures = {
        "rounds": scale.rounds,
        "window_s": scale.window_s,
        "target_fraction_of_raw": TARGET_FRACTION,
        "videos": rows,
        "host_ms_a_clip_by_threads": hosts,
        "peak_gpu_memory_mb": memory.peaks(),
        "precompute": _tried(scale, videos, folder),
    }
    rates = figures["precompute"]
    show("precompute to a cache on disk", ["figure", "value"], [[key, str(value)] for key, value in rates.items()])
    return figures


def _compared(scale: Scale, name: str, path: Path, sessions: int) -> dict[str, Any]:
    """Raw and whole rates of one video in turns; the fraction is the median of the turns'."""
    planned = planned_clip(path, scale)
    raw, whole = [], []
    for _ in range(scale.rounds):
        raw.append(measure_rates(lambda: decode_only(planned, scale.device), sessions, scale.window_s))
        sieve = CountingSieve(scale, sessions)
        threads = THREADS_A_SESSION * sessions
        whole.append(measure_rates(lambda s=sieve: sieve_whole(s, path), threads, scale.window_s))
    fractions = [ours.pictures_per_s / theirs.pictures_per_s for ours, theirs in zip(whole, raw, strict=True)]
    return {
        "video": name,
        "sessions": sessions,
        "packets_a_clip": planned.packets,
        "raw_pictures_per_s": statistics.median(rate.pictures_per_s for rate in raw),
        "pictures_per_s": statistics.median(rate.pictures_per_s for rate in whole),
        "raw_clips_per_s": statistics.median(rate.pictures_per_s for rate in raw) / planned.packets,
        "clips_per_s": statistics.median(rate.pictures_per_s for rate in whole) / planned.packets,
        "fraction_of_raw": statistics.median(fractions),
        "fractions_of_raw": fractions,
    }


# --- the host's time


class StageTimes:
    """Seconds of every stage, in all threads together. Time in a stage within another counts for the inner only."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside for a stage."""
        inner = self._of_thread.__dict__.setdefault("inner", [0.0])
        inner.append(0.0)
        begun = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - begun
            own = taken - inner.pop()
            inner[-1] += taken
            with self._lock:
                self.seconds[name] += own

    def timed(self, owner: Any, function: str, name: str) -> AbstractContextManager[Any]:
        """Have a function of a module or class counted while the result is entered; a generator, by its steps."""
        plain = getattr(owner, function)

        def call(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                found = plain(*arguments, **named)
            return self._steps(found, name) if isinstance(found, Iterator) else found

        return patch.object(owner, function, call)

    def _steps(self, steps: Iterator[Any], name: str) -> Iterator[Any]:
        while True:
            with self.stage(name):
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step


STAGES = (
    (gpu_clip.ClipDecoder, "__init__", "open and sample"),
    (threading.BoundedSemaphore, "__enter__", "wait for a turn"),
    (nvdec, "plan_gops", "demux and plan"),
    (nvdec.ElementaryStream, "packet", "convert packets"),
    (gpu_clip, "first_layout", "first_layout on the CPU"),
    (NvdecSession, "_prepare", "set up decoder"),
    (NvdecSession, "_decode", "decode calls"),
    (NvdecSession, "pictures", "loop over pictures"),
    (NvdecSession, "_picture", "wrap surfaces"),
    (PictureStack, "passing", "loop over pictures"),
    (PictureStack, "_add", "launch copies"),
    (PictureStack, "_unstack", "launch pyramids and crops"),
    (PictureStack, "levels", "join pyramids"),
    (gpu_clip, "search_signals", "launch search"),
    (gpu_clip, "_score", "launch scores"),
    (gpu_clip, "_compared_scores", "wait for scores, copy back"),
    (gpu_clip, "select_from", "selection"),
    (gpu_stack, "gather_patches", "launch gather"),
    (PictureStack, "cut", "wait for patches, copy back"),
    (gpu_clip, "assemble_clip", "assemble"),
)
"""Where a clip's functions are, and what their own time is called. All else is `other`."""


def host_stages(scale: Scale, path: Path, threads: int) -> dict[str, float]:
    """Milliseconds that a thread, of as many as work at once, spends on a clip in each stage, waiting included."""
    times = StageTimes()
    with ExitStack() as entered:
        for owner, function, name in STAGES:
            entered.enter_context(times.timed(owner, function, name))
        entered.enter_context(times.timed(SievedClips, "clip", "other"))
        count = _counted(scale, path, threads, times)
    figures = {name: 1e3 * times.seconds[name] / count for _, _, name in STAGES}
    whole = sum(times.seconds.values())
    return {**figures, "other": 1e3 * times.seconds["other"] / count, "whole clip": 1e3 * whole / count}


def _counted(scale: Scale, path: Path, count: int, times: StageTimes) -> int:
    """Clips that are counted in `times`: those after each thread's first."""
    ready = threading.Barrier(count, action=times.seconds.clear)
    sieve = CountingSieve(scale, -(-count // THREADS_A_SESSION))
    done = [0] * count
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with sieve_whole(sieve, path) as worker:
                worker.clip()
                ready.wait(PATIENCE_S)
                end = time.perf_counter() + scale.window_s
                while time.perf_counter() < end:
                    worker.clip()
                    done[number] += 1
        except BaseException as error:
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
    if failures:
        raise failures[0]
    return sum(done)


# --- the cache


def _tried(scale: Scale, videos: dict[str, Path], folder: Path) -> dict[str, Any]:
    name = sorted(videos, key=lambda video: ("720p" not in video, video))[0]
    try:
        return _cached(scale, name, videos[name], folder / "cache")
    except Exception as error:
        traceback.print_exc()
        return {"video": name, "clips_per_s": None, "reason": f"{type(error).__name__}: {error}"}


def _cached(scale: Scale, name: str, path: Path, cache: Path) -> dict[str, Any]:
    """Clips of one video through `precompute`, its start counted and not counted."""
    requests = [ClipRequest(str(path), f"clip-{number}") for number in range(scale.cached_clips)]
    times: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        times.append((time.perf_counter(), progress.done))

    with GpuMemory(scale.device) as memory:
        summary = precompute(requests, cache, scale.config, device=str(scale.device), progress=note)
    if summary.failures:
        raise RuntimeError(summary.failures[0].error)
    first, last = next(time_done for time_done in times if time_done[1] >= 1), times[-1]
    after_start = (last[1] - first[1]) / (last[0] - first[0]) if last[1] > first[1] else None
    return {
        "video": name,
        "clips": summary.made,
        "whole_run_s": summary.seconds,
        "clips_per_s": summary.clips_per_second,
        "clips_per_s_after_the_first": after_start,
        "taken_on_the_device_mb": memory.peaks()["taken_on_the_device"],
    }
