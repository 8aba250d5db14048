"""The GPU benchmark from start to end, tiny: FFmpeg, an emulator and Triton's interpreter stand in for the hardware."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cuda_emulator
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fake_nvdec import FakeNvdec

from codecsieve.kernels import gpu
from codecsieve.kernels.cpu.search import search_pyramids
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.triton import search as triton_search
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve import gpu_clip

LOCK = threading.RLock()
ROOT = Path(__file__).resolve().parents[2]


class Event:
    """A CUDA event by the host's clock."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        return 1e3 * (end.at - self.at)


def one_at_a_time(function: Callable[..., Any]) -> Callable[..., Any]:
    """The emulator and Triton's interpreter are for one thread; a GPU is not."""

    def call(*arguments: Any) -> Any:
        with LOCK:
            return function(*arguments)

    return call


def search_by_numba(current: Levels, previous: Levels) -> torch.Tensor:
    """`search_vectors`, whose kernel takes a second a call under Triton's interpreter."""
    pyramids = []
    for levels in (current, previous):
        insides = [slice(shape.reach, shape.reach + shape.side) for shape in levels.shapes]
        planes = [array[:, inside, inside].numpy() for array, inside in zip(levels.arrays, insides, strict=True)]
        pyramids.append([tuple(map(np.ascontiguousarray, of_picture)) for of_picture in zip(*planes, strict=True)])
    return torch.from_numpy(np.stack([search_pyramids(*pair) for pair in zip(*pyramids, strict=True)]))


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """benchmarks/gpu on stand-ins; results go into tmp_path."""
    if not cuda_emulator.available():
        pytest.skip("g++ is needed to run CUDA C on a CPU")
    pytest.importorskip("cupy")
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", FakeNvdec())
    monkeypatch.setattr(launch, "launch", one_at_a_time(cuda_emulator.emulated_launch))
    monkeypatch.setattr(triton_search, "search_vectors", search_by_numba)
    monkeypatch.setattr(gpu, "search_vectors", search_by_numba)
    for name in ("search_signals", "score_slots"):
        monkeypatch.setattr(gpu_clip, name, one_at_a_time(getattr(gpu_clip, name)))
    stands: dict[str, Any] = {
        "Event": Event,
        "Stream": lambda device: SimpleNamespace(cuda_stream=0, synchronize=lambda: None),
        "stream": lambda stream: contextlib.nullcontext(),
        "set_device": lambda device: None,
        "synchronize": lambda device: None,
        "empty_cache": lambda: None,
        "get_device_name": lambda device: "A Stand-In",
        "get_device_properties": lambda device: SimpleNamespace(total_memory=1 << 30, multi_processor_count=1),
        "mem_get_info": lambda device: (3 << 20, 10 << 20),
        "reset_peak_memory_stats": lambda device: None,
        "max_memory_allocated": lambda device: 1 << 20,
    }
    for name, stand in stands.items():
        monkeypatch.setattr(torch.cuda, name, stand)
    monkeypatch.syspath_prepend(str(ROOT))
    for name in list(sys.modules):  # its modules take the stand-ins' names when they are imported
        if name.partition(".")[0] == "benchmarks":
            monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("benchmarks.gpu.run")
    monkeypatch.setattr(sys.modules["benchmarks.common"], "RESULTS", tmp_path)
    monkeypatch.setattr(sys.modules["benchmarks.gpu.kernels"], "FLUSH_BYTES", 1 << 16)
    monkeypatch.setattr(sys.modules["benchmarks.gpu.equality"], "FRAMES", 10)
    # A process of its own would not have the stand-ins.
    monkeypatch.setattr(sys.modules["benchmarks.gpu.machine"], "_in_own_process", lambda look, device: look(device))
    return module


def tiny(**changes: Any) -> Any:
    scenes = sys.modules["benchmarks.gpu.scenes"]
    usual: dict[str, Any] = {
        "device": torch.device("cpu"),
        "config": SieveConfig(num_frames=3, input_size=28, k_keep=6, signals="search"),
        "clips": 2,
        "large_clips": 1,
        "repeats": 2,
        "sessions": (1, 2),
        "window_s": 1.0,  # in which a busy machine, too, gets a clip done
        "rounds": 1,
        "frames": 12,
        "cached_clips": 3,
        "small_size": (64, 96),
        "large_size": (96, 128),
        "videos": (scenes.Encoding("h264 tiny", "libx264", (64, 96)),),
    }
    return scenes.Scale(**usual | changes)


@pytest.mark.benchmark
def test_every_section_measures(benchmark: ModuleType, tmp_path: Path) -> None:
    figures = benchmark.run(tiny(), videos=None)
    sections = ("gpu", "equality", "kernels", "decode", "clips")
    assert [figures[section].get("error") for section in sections] == [None] * len(sections)
    written = json.loads((tmp_path / "gpu-a-stand-in.json").read_text())
    assert set(sections) < set(written)
    assert not [case for case in figures["equality"]["cases"] if not case["equal"]]
    assert figures["equality"]["all_equal"]
    assert figures["gpu"]["decode_stats_size_bytes"] == 0
    assert figures["gpu"]["statistics_agree"] is False
    assert all(row["us_a_clip"] > 0 for row in figures["kernels"]["stages"])
    assert all(rate > 0 for rate in figures["decode"]["videos"][0]["pictures_per_s"].values())
    assert [row["sessions"] for row in figures["clips"]["videos"] if row["fraction_of_raw"] > 0] == [1, 2]
    assert all(
        sum(stages.values()) > 0 for stages in figures["clips"]["host_ms_a_clip_by_threads"]["h264 tiny"].values()
    )
    assert figures["clips"]["precompute"]["clips"] == 3


def test_what_cannot_be_measured_is_null_and_says_why(benchmark: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    (row,) = sys.modules["benchmarks.gpu.decode"].decode(tiny(), benchmark._files(tiny(), tmp_path / "in", tmp_path))[
        "videos"
    ]
    assert row["pictures_per_s"] is None
    assert "broken.mp4" in row["reason"]


def test_a_section_that_fails_leaves_the_others(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for section in ("machine", "equality", "decode", "clips"):
        monkeypatch.setattr(benchmark, section, lambda *_: {"value": 1})
    monkeypatch.setattr(benchmark, "kernels", fail)
    benchmark.run(tiny(), videos=None)
    written = json.loads((tmp_path / "gpu-a-stand-in.json").read_text())
    assert written["kernels"]["error"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert written["clips"]["value"] == 1


def test_a_thread_that_fails_ends_a_measurement(benchmark: ModuleType) -> None:
    decode = sys.modules["benchmarks.gpu.decode"]

    class Faulty:
        tally = decode.Tally()

        def clip(self) -> None:
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        decode.measure_rates(lambda: contextlib.nullcontext(Faulty()), 3, 0.1)


def test_time_in_a_stage_within_another_counts_once(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, clock = sys.modules["benchmarks.gpu.clips"], iter([0.0, 2.0, 7.0, 8.0])
    monkeypatch.setattr(clips, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    times = clips.StageTimes()
    with times.stage("outer"), times.stage("inner"):
        pass
    assert times.seconds == {"inner": 5.0, "outer": 3.0}


def test_without_a_gpu_one_line_says_so(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = CliRunner().invoke(benchmark.main, [])
    assert outcome.exit_code == 1
    assert outcome.output.strip() == "Error: no NVIDIA GPU that torch can use; run this on a machine that has one"
