"""Each kernel's time on the device, against the bytes that it must move and against numba on one core.

Every stage is run after a write that leaves nothing of its input in the cache, and stages take turns with the plain
copy that says how fast memory is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.common import show
from benchmarks.gpu.scenes import Scale, Surfaces, clip_surfaces
from benchmarks.gpu.stages import Stage, batch_levels, picture_stages, slot_stages
from codecsieve.codec.search import luma_taps
from codecsieve.codec.upright import upright_layout
from codecsieve.kernels.cpu import search as on_cpu
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.gpu import score_slots
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.kernels.triton.residual import search_residual, vector_cells
from codecsieve.kernels.triton.search import search_vectors

FLUSH_BYTES = 1 << 30
"""Written between two runs: more than any cache holds, and long enough for the host to launch what follows."""
TARGET_US_A_CLIP = 300
TARGET_BYTE_FLOORS = 3
TARGET_NUMBA_RATIO = 30


def kernels(scale: Scale) -> dict[str, Any]:
    """The section: each stage, their total for a clip, the ratio to numba, and a run that waits for the host."""
    stages = [
        *picture_stages(scale, scale.small_size, scale.clips),
        *slot_stages(scale),
        *picture_stages(scale, scale.large_size, scale.large_clips),
    ]
    timed = _take_turns(stages, scale)
    rows = [
        _row(stage, milliseconds, timed.bytes_a_ms)
        for stage, milliseconds in zip(stages, timed.milliseconds, strict=True)
    ]
    totals = {
        f"{size[0]}p": sum(row["us_a_clip"] for row in rows if row["picture_rows"] in (None, size[0]))
        for size in (scale.small_size, scale.large_size)
    }
    show("Kernels", ["stage", "rows", "clips", "ms", "us a clip", "MB", "floors"], [list(row.values()) for row in rows])
    show("All kernels of a clip", ["pictures", "us a clip"], list(totals.items()))
    figures = {
        "pictures_a_clip": 2 * scale.config.num_frames,
        "slots_a_clip": scale.config.num_frames,
        "input_size_px": scale.config.input_size,
        "copy_gb_per_s": statistics.median(timed.bytes_a_ms) / 1e6,
        "stages": rows,
        "total_us_a_clip": totals,
        "target_us_a_clip": TARGET_US_A_CLIP,
        "target_byte_floors": TARGET_BYTE_FLOORS,
        "copies_one_by_one_us_a_clip": _copies_one_by_one(scale),
        "numba": _against_numba(scale, timed, [stage.name for stage in stages]),
        "host_between_ms": _cameras_on_the_host(scale),
    }
    show("Search against one core of numba", ["figure", "value"], list(figures["numba"].items()))
    show("Scores, host included", ["camera", "ms a batch"], list(figures["host_between_ms"].items()))
    return figures


def _row(stage: Stage, milliseconds: list[float], bytes_a_ms: list[float]) -> dict[str, Any]:
    floors = [taken * rate / stage.moved for taken, rate in zip(milliseconds, bytes_a_ms, strict=True)]
    taken = statistics.median(milliseconds)
    return {
        "stage": stage.name,
        "picture_rows": stage.rows,
        "clips": stage.clips,
        "ms_a_batch": taken,
        "us_a_clip": 1e3 * taken / stage.clips,
        "moved_mb_a_batch": stage.moved / 1e6,
        "byte_floors": statistics.median(floors),
    }


# --- time


@dataclass(frozen=True)
class Turns:
    """Times of stages that took turns. milliseconds: of each stage, one a turn; bytes_a_ms: of a plain copy, read and
    written, likewise; numba_s: one clip's vectors, and vectors with residual, on one core, likewise.
    """

    milliseconds: list[list[float]]
    bytes_a_ms: list[float]
    numba_s: list[tuple[float, float]]


def _take_turns(stages: list[Stage], scale: Scale) -> Turns:
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=scale.device)
    half = FLUSH_BYTES // 2
    for stage in stages:
        for _ in range(2):
            stage.work()
    on_one_core = _numba_search(scale)
    on_one_core()
    turns = Turns([[] for _ in stages], [], [])
    for _ in range(scale.repeats):
        turns.bytes_a_ms.append(2 * half / _device_ms(lambda: flush[:half].copy_(flush[half:]), flush, scale.device))
        for stage, milliseconds in zip(stages, turns.milliseconds, strict=True):
            milliseconds.append(_device_ms(stage.work, flush, scale.device))
        turns.numba_s.append(on_one_core())
    return turns


def _device_ms(work: Callable[[], object], flush: torch.Tensor, device: torch.device) -> float:
    """Milliseconds of the device from the first launch of some work to the end of the last."""
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    flush.zero_()
    begun.record()
    work()
    ended.record()
    torch.cuda.synchronize(device)
    return float(begun.elapsed_time(ended))


def _host_ms(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median milliseconds by the host's clock, the device's work included."""
    work()
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        taken.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(taken)


# --- beside the stages


def _numba_search(scale: Scale) -> Callable[[], tuple[float, float]]:
    """A clip's search by numba on one core: seconds for its vectors, and for them with residuals."""
    surfaces = clip_surfaces(2 * scale.config.num_frames, scale.small_size, 8, torch.device("cpu"))
    taps = luma_taps(upright_layout(surfaces.layout), scale.config.input_size)
    pyramids = [on_cpu.pyramid(on_cpu.area_resize(plane, 0, 0, *taps, 8)) for plane in surfaces.luma.numpy()]
    pairs = list(zip(pyramids[1::2], pyramids[::2], strict=True))

    def run() -> tuple[float, float]:
        begun = time.perf_counter()
        for pair in pairs:
            on_cpu.search_pyramids(*pair)
        between = time.perf_counter()
        for pair in pairs:
            on_cpu.search_signals(*pair)
        return between - begun, time.perf_counter() - between

    return run


def _against_numba(scale: Scale, timed: Turns, names: list[str]) -> dict[str, float]:
    """Rates of search, on the device over one core, as the median of the turns."""
    of_search, of_residual = (timed.milliseconds[names.index(name)] for name in ("search", "residual and histogram"))
    vectors = [1e3 * s[0] * scale.clips / ms for s, ms in zip(timed.numba_s, of_search, strict=True)]
    both = zip(timed.numba_s, of_search, of_residual, strict=True)
    signals = [1e3 * s[1] * scale.clips / (first + second) for s, first, second in both]
    return {
        "one_core_vectors_ms_a_clip": 1e3 * statistics.median(s[0] for s in timed.numba_s),
        "vectors_times_one_core": statistics.median(vectors),
        "vectors_and_residual_times_one_core": statistics.median(signals),
        "target_times_one_core": TARGET_NUMBA_RATIO,
    }


def _copies_one_by_one(scale: Scale) -> dict[str, float]:
    """Copies of a clip's pictures out of surfaces, two launches each, as they come out of the decoder."""
    found = {}
    for size in (scale.small_size, scale.large_size):
        surfaces = clip_surfaces(4, size, 8, scale.device)
        stacks = torch.empty_like(surfaces.luma), torch.empty_like(surfaces.chroma)

        def copy(surfaces: Surfaces = surfaces, stacks: tuple[torch.Tensor, ...] = stacks) -> None:
            for number in range(2 * scale.config.num_frames):
                stacks[0][number % 4].copy_(surfaces.luma[number % 4])
                stacks[1][number % 4].copy_(surfaces.chroma[number % 4])

        found[f"{size[0]}p"] = 1e3 * _host_ms(copy, scale.device, scale.repeats)
    return found


def _cameras_on_the_host(scale: Scale) -> dict[str, float]:
    """Scoring a batch with a camera found on the device, and with one that is solved on the host in between."""
    config = scale.config
    held = batch_levels(scale, scale.clips)
    second = torch.arange(1, len(held.arrays[0]), 2, device=scale.device)
    current, previous = held.pictures(second), held.pictures(second - 1)
    vectors = search_vectors(current, previous)
    motion = vector_cells(vectors, config.input_size)
    residual, histograms = search_residual(current, previous, vectors)
    grids = geometry(*residual.shape[1:], config.input_size, config.patch_size)
    table = center_table(grids, config.center_prior, config.center_sigma)
    how = "weighted", fuse_weights(config.w_mv, config.w_res), histograms
    return {
        mode: _host_ms(lambda mode=mode: score_slots(motion, residual, grids, table, mode, *how), scale.device, 3)
        for mode in ("median", "similarity")
    }
