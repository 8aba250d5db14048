"""Which device a run uses, what its signals are there, and that the cache does not depend on it."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import logging
import os
import pickle
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cuda_emulator
import pytest
import torch
from codec_cases import run_ffmpeg
from fake_nvdec import FakeNvdec

from codecsieve.cache import open_cache
from codecsieve.codec.fields.table import why_not
from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_packets import NvdecError
from codecsieve.codec.source import PacketTableError
from codecsieve.errors import ConfigError
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy.gather import LARGEST_PATCH
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute import crew, device, gpu_job, gpu_look, run
from codecsieve.pipelines.precompute.device import Device, choose_device
from codecsieve.pipelines.precompute.gpu_job import GpuSieve
from codecsieve.pipelines.precompute.gpu_look import Gpu

pytestmark = pytest.mark.slow

SMALL = SieveConfig(num_frames=3, input_size=28, k_keep=6)
OLD = Gpu(0, "a GPU", "580.95.05", sessions=2, statistics=False)
NEW = dataclasses.replace(OLD, driver="590.44.01", statistics=True)


class OnThisMachine(GpuSieve):
    """A GPU's worker whose GPU is FFmpeg, an emulator and Triton's interpreter."""

    def _stream(self) -> Any:
        return torch.no_grad()

    def _session(self) -> NvdecSession:
        if self._threads.session is None:
            sys.modules["PyNvVideoCodec"] = FakeNvdec()  # type: ignore[assignment]
            launch.launch = functools.partial(cuda_emulator.emulated_launch, order="forward")
            self._threads.session = NvdecSession(0, 0, torch.device("cpu"))
        return self._threads.session


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which `device="cuda"` finds a GPU without decode statistics."""
    if not cuda_emulator.available():
        pytest.skip("g++ is needed to run CUDA C on a CPU")
    monkeypatch.setattr(device, "_missing", lambda: "")
    monkeypatch.setattr(device, "look_at_gpus", lambda number: [OLD] if number in (None, 0) else "no such GPU")
    monkeypatch.setattr(gpu_job, "GpuSieve", OnThisMachine)


@pytest.fixture
def sieve(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> OnThisMachine:
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", None)
    monkeypatch.setattr(launch, "launch", launch.launch)
    return OnThisMachine(0, 1, dataclasses.replace(SMALL, signals="search"), pixels=True)


@pytest.mark.parametrize("asked", ["gpu", "cuda:x", "cpu:0", "auto:1", ""])
def test_a_device_that_is_none(asked: str) -> None:
    with pytest.raises(ConfigError, match="must be one of auto, cpu, cuda, cuda:N"):
        choose_device(asked)


def test_the_processor_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    assert choose_device("cpu") == choose_device("auto") == Device()
    with pytest.raises(ConfigError, match=r"device \('cuda'\) cannot be used: no NVIDIA driver is installed; use dev"):
        choose_device("cuda")


def test_packages_that_a_gpu_needs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(device, "GPU_PACKAGES", ("torch",))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "which", lambda name: None)
        with pytest.raises(ConfigError, match="Triton needs a C compiler and Python's headers; install gcc"):
            choose_device("cuda")
    monkeypatch.setattr(device, "GPU_PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(ConfigError, match=r"no_such_package not installed; pip install 'codecsieve\[gpu\]'"):
        choose_device("cuda")


def test_gpus_are_looked_at_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver the look says in one line what is missing, and this process goes on."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    answer = gpu_look.look_at_gpus()
    assert isinstance(answer, str)
    assert "\n" not in answer
    assert answer


def test_a_gpu_that_cannot_be_used_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def elsewhere(function: Any, number: int) -> object:
        return 3 if function is gpu_look._count_gpus else {0: OLD, 1: "is full", 2: NEW}[number]

    monkeypatch.setattr(gpu_look, "_elsewhere", elsewhere)
    with caplog.at_level(logging.WARNING):
        assert gpu_look.look_at_gpus() == [OLD, NEW]
    assert "left out: GPU 1: is full" in caplog.text
    assert gpu_look.look_at_gpus(1) == "GPU 1: is full"
    assert gpu_look.look_at_gpus(7) == "no such GPU"


def test_the_processor_instead_of_gpus_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(device, "_missing", lambda: "torch not installed")
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto") == Device()
    assert "made on the processor: torch not installed" in caplog.text


def test_patches_too_large_for_the_gpus_kernels() -> None:
    assert device.LARGEST_GPU_PATCH == LARGEST_PATCH
    large = dataclasses.replace(SMALL, input_size=66, patch_size=33, k_keep=4, signals="search")
    assert Device().resolve(large) == ("search", None)
    with pytest.raises(ConfigError, match=r"patch_size \(33\) must be <= 32 on a GPU"):
        Device((NEW,)).resolve(large)


@pytest.mark.parametrize(("seen", "gpu", "sees"), [(None, 3, "3"), ("4,5,6", 1, "5"), ("GPU-a,GPU-b", 0, "GPU-a")])
def test_a_worker_sees_one_gpu(monkeypatch: pytest.MonkeyPatch, seen: str | None, gpu: int, sees: str) -> None:
    if seen:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    sieve = pickle.loads(pickle.dumps(GpuSieve(gpu, 2, SMALL, pixels=True)))
    assert (sieve.gpu, sieve.sessions, os.environ["CUDA_VISIBLE_DEVICES"]) == (0, 2, sees)


def test_gpus_by_number(one_gpu: None) -> None:
    assert choose_device("auto") == choose_device("cuda") == choose_device("cuda:0") == Device((OLD,))
    with pytest.raises(ConfigError, match=r"device \('cuda:3'\) cannot be used: no such GPU"):
        choose_device("cuda:3")


def test_percentiles_of_a_clip_are_the_processors() -> None:
    clip = dataclasses.replace(SMALL, scale="clip", signals="search")
    assert Device().resolve(clip) == ("search", None)
    with pytest.raises(ConfigError, match=r"^scale \('clip'\) is the processor's; use device cpu$"):
        Device((NEW,)).resolve(clip)


def test_letterboxes_are_the_processors() -> None:
    clip = dataclasses.replace(SMALL, fit="letterbox", signals="search")
    assert Device().resolve(clip) == ("search", None)
    with pytest.raises(ConfigError, match=r"^fit \('letterbox'\) is the processor's; use device cpu$"):
        Device((NEW,)).resolve(clip)


@pytest.mark.parametrize(
    ("chosen", "asked", "resolved"),
    [
        (Device(), "auto", ("auto", "ffmpeg" if why_not() else "decoder")),
        (Device(), "search", ("search", None)),
        (Device((NEW,)), "auto", ("auto", "nvdec")),
        (Device((NEW,)), "bitstream", ("bitstream", "nvdec")),
        (Device((NEW, OLD)), "auto", ("search", None)),
        (Device((OLD,)), "search", ("search", None)),
    ],
)
def test_signals_on_a_device(chosen: Device, asked: str, resolved: tuple[str, str | None]) -> None:
    assert chosen.resolve(dataclasses.replace(SMALL, signals=asked)) == resolved


def test_a_gpu_without_statistics_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Device((OLD,)).resolve(SMALL)
    assert "signals are found by search" in caplog.text
    with pytest.raises(ConfigError, match=r"driver 590 or later \(here: 580.95.05\); use signals search"):
        Device((OLD,)).resolve(dataclasses.replace(SMALL, signals="bitstream"))


def test_the_cache_does_not_depend_on_the_device(
    tmp_path: Path, make_video: Callable[..., Path], cache_content: Callable[[Path], dict[str, object]], one_gpu: None
) -> None:
    (tmp_path / "in").mkdir()
    kinds = ("a.mp4", "libx264", "yuv420p"), ("b.mkv", "libx265", "yuv420p"), ("c.mp4", "libx264", "yuv444p")
    for name, codec, pixels in kinds:
        make_video(tmp_path / "in" / name, codec, frames=6, pixel_format=pixels)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    requests = read_inputs([str(tmp_path / "in")])
    config = dataclasses.replace(SMALL, signals="search")
    for where in ("cpu", "cuda"):
        summary = run.precompute(requests, tmp_path / where, config, device=where, workers=2)
        assert (summary.made, len(summary.failures)) == (3, 1)
    assert cache_content(tmp_path / "cuda") == cache_content(tmp_path / "cpu")
    # What the GPU cannot do was decoded by FFmpeg, and the index says so.
    rows = open_cache(tmp_path / "cuda").index.select(["uri", "decoder"]).to_pylist()
    decoders = {Path(row["uri"]).name: row["decoder"] for row in rows}
    assert decoders == {"a.mp4": "nvdec", "b.mkv": "nvdec", "c.mp4": "ffmpeg", "broken.mp4": None}


def test_a_clip_too_large_for_the_gpu_fails_alone(
    tmp_path: Path, make_video: Callable[..., Path], sieve: OnThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    request = ClipRequest(str(make_video(tmp_path / "a.mp4", frames=6)), "a")
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "synchronize", lambda _: None)
        patched.setattr(gpu_job, "sieve_clip_on_gpu", too_large)
        outcome = sieve(request)
    assert outcome.clip is None
    assert outcome.error is not None
    assert outcome.error.startswith(f"{request.path}: does not fit the GPU's free memory; use --device cpu for it")
    assert sieve(request).clip is not None


def test_signals_of_a_clip_that_goes_to_the_processor(
    tmp_path: Path,
    make_video: Callable[..., Path],
    sieve: OnThisMachine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = ClipRequest(str(make_video(tmp_path / "a.mp4", frames=6, pixel_format="yuv444p")), "a")
    sieve.config = dataclasses.replace(SMALL, signals="auto")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    with caplog.at_level(logging.WARNING):
        outcomes = [sieve(request), sieve(request)]
    assert [outcome.clip.signals for outcome in outcomes if outcome.clip] == ["search", "search"]
    assert caplog.text.count("decoded on the processor") == 1
    turned = make_video(tmp_path / "b.mp4", frames=6)
    path = run_ffmpeg(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", turned, "-c", "copy")
    clip = sieve(ClipRequest(str(path), "b")).clip
    assert clip is not None
    assert (clip.signals, clip.decoder) == ("search", "nvdec")
    sieve.config = dataclasses.replace(SMALL, signals="bitstream")
    assert "its bitstream cannot be read on a GPU" in str(sieve(request).error)


def test_no_more_clips_are_decoded_at_once_than_there_are_engines(
    sieve: OnThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads, two sessions; clips may be opened and finished meanwhile."""
    sieve = OnThisMachine(0, 2, sieve.config, pixels=True)
    sieve._compiled = True
    decoding, most, together = [0], [0], threading.Barrier(4, timeout=20)

    def decode(*arguments: Any) -> None:
        *_, turn, _max_memory = arguments
        together.wait()
        with turn:
            decoding[0] += 1
            most[0] = max(most[0], decoding[0])
            time.sleep(0.05)
            decoding[0] -= 1
        raise ValueError("done")

    monkeypatch.setattr(gpu_job, "sieve_clip_on_gpu", decode)
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(sieve, [ClipRequest(f"/{number}.mp4", str(number)) for number in range(4)]))
    assert [outcome.error for outcome in outcomes] == [f"/{number}.mp4: done" for number in range(4)]
    assert most == [2]


def test_an_unusable_gpu_ends_its_worker(
    tmp_path: Path, make_video: Callable[..., Path], sieve: OnThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a fault")

    def lost(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    request = ClipRequest(str(make_video(tmp_path / "a.mp4", frames=6)), "a")

    def refused(*_: object) -> None:
        raise NvdecError("NVDEC failed (error 999)") from RuntimeError("error 999")

    monkeypatch.setattr(gpu_job, "sieve_clip_on_gpu", fault)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    assert "internal error: RuntimeError: a fault" in str(sieve(request).error)
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    for wrong in (fault, refused):
        monkeypatch.setattr(gpu_job, "sieve_clip_on_gpu", wrong)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            sieve(request)


@pytest.mark.parametrize(
    ("sessions", "processes", "expected"),
    [(7, 4, [2, 2, 2, 1]), (7, 1, [7]), (7, 0, [7]), (2, 16, [1, 1]), (8, 3, [3, 3, 2])],
)
def test_a_gpus_sessions_are_dealt_out_to_its_processes(sessions: int, processes: int, expected: list[int]) -> None:
    assert crew._shared(sessions, processes) == expected


def test_a_clip_whose_packet_table_lies_goes_to_the_processor(
    tmp_path: Path, make_video: Callable[..., Path], sieve: OnThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contradicted(*_: object) -> None:
        raise PacketTableError("a.mp4: its list of keyframes names other packets; remux it")

    request = ClipRequest(str(make_video(tmp_path / "a.mp4", frames=6)), "a")
    monkeypatch.setattr(gpu_job, "sieve_clip_on_gpu", contradicted)
    clip = sieve(request).clip
    assert clip is not None
    assert clip.decoder == "ffmpeg"
