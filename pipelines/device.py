"""What clips are made on: this machine's processor, or its GPUs, and what these can do.

The GPUs are looked at in processes of their own, which may crash as they like: the calling process never opens one.
What is done with them is left to `device_job`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from codecsieve.errors import ConfigError, WorkerError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.workers import Lost, run_jobs

DEVICES = ("auto", "cpu", "cuda")
GPU_PACKAGES = ("torch", "triton", "cupy", "PyNvVideoCodec")
LARGEST_GPU_PATCH = 32
LOOK_SECONDS = 120.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """One GPU. name, driver: as NVIDIA's driver gives them; sessions: decoder engines for H.264; statistics:
    whether it gives decode statistics that agree with FFmpeg's motion vectors.
    """

    index: int
    name: str
    driver: str
    sessions: int
    statistics: bool


@dataclass(frozen=True)
class Device:
    """Where a run's clips are made. gpus: none for the processor."""

    gpus: tuple[Gpu, ...] = ()

    @property
    def statistics(self) -> bool:
        """Whether `bitstream` signals can be had."""
        return not self.gpus or all(gpu.statistics for gpu in self.gpus)

    def resolve(self, config: SieveConfig) -> tuple[str, str | None]:
        """Which signals `config.signals` means here, and whose the bitstream's motion is where it is used.

        Returns:
            signals: `auto` or `bitstream` where the codec's motion is read, else `search` or `difference`.
            reader: `ffmpeg` or `nvdec`, which read different blocks of the same stream; None where none is read.

        Raises:
            ConfigError: `bitstream` is asked for and cannot be had, or patches are too large for the GPU's kernels.
        """
        if self.gpus and config.patch_size > LARGEST_GPU_PATCH:
            raise ConfigError(
                f"patch_size ({config.patch_size}) must be <= {LARGEST_GPU_PATCH} on a GPU; use device cpu"
            )
        if config.signals in ("search", "difference"):
            return config.signals, None
        if self.statistics:
            return config.signals, "nvdec" if self.gpus else "ffmpeg"
        if config.signals == "bitstream":
            drivers = ", ".join(sorted({gpu.driver for gpu in self.gpus}))
            raise ConfigError(
                "signals ('bitstream') on a GPU needs decode statistics that agree with FFmpeg's motion, so driver 590 "
                f"or later (here: {drivers}); use signals search, or device cpu"
            )
        _log.warning(
            "signals are found by search: these GPUs give no decode statistics that agree with FFmpeg's motion"
        )
        return "search", None


def choose_device(asked: str) -> Device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for on this machine.

    `auto` is every GPU that can decode, or the processor where there is none.

    Raises:
        ConfigError: `asked` is none of these, or GPUs are asked for that cannot be used.
    """
    kind, _, number = asked.partition(":")
    if kind not in DEVICES or (number and not (kind == "cuda" and number.isdigit())):
        raise ConfigError(f"device ({asked!r}) must be one of {', '.join(DEVICES)}, cuda:N")
    if kind == "cpu":
        return Device()
    answer = _missing() or look_at_gpus(int(number) if number else None)
    if not isinstance(answer, str):
        return Device(tuple(answer))
    if kind == "cuda":
        raise ConfigError(f"device ({asked!r}) cannot be used: {answer}; use device cpu")
    if _has_driver():
        _log.warning("clips are made on the processor: %s", answer)
    return Device()


def _missing() -> str:
    """What a GPU would need and is plainly not there; "" where nothing is missing."""
    if not _has_driver():
        return "no NVIDIA driver is installed"
    packages = [name for name in GPU_PACKAGES if importlib.util.find_spec(name) is None]
    if packages:
        return f"{', '.join(packages)} not installed; pip install 'codecsieve[gpu]'"
    if not any(shutil.which(compiler) for compiler in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return "Triton needs a C compiler and Python's headers; install gcc and python3-dev"
    return ""


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def look_at_gpus(number: int | None = None) -> list[Gpu] | str:
    """The GPUs that can decode H.264, or in one line why none can. Each in a process of its own.

    number: of the one to look at; None: all. One that cannot be used is told of and left out.
    """
    count = _elsewhere(_count_gpus, 0)
    if isinstance(count, str):
        return count
    numbers = [n for n in range(count) if number in (None, n)]
    with ThreadPoolExecutor(max(len(numbers), 1)) as threads:
        answers = list(threads.map(lambda n: _elsewhere(_look, n), numbers))
    reasons = [f"GPU {n}: {answer}" for n, answer in zip(numbers, answers, strict=True) if isinstance(answer, str)]
    found = [answer for answer in answers if isinstance(answer, Gpu)]
    for reason in reasons if found else ():
        _log.warning("left out: %s", reason)
    return found or "; ".join(reasons) or "no such GPU"


Answer = TypeVar("Answer")


def _elsewhere(function: Callable[[int], Answer | str], gpu: int) -> Answer | str:
    """What a function says in a process of its own."""
    try:
        ((_, answer),) = run_jobs([function], [gpu], LOOK_SECONDS)
    except WorkerError as error:
        return str(error)
    return answer.reason if isinstance(answer, Lost) else answer


def _count_gpus(_: int) -> int | str:
    """Asked of the driver itself: torch takes seconds to load."""
    if not _has_driver():
        return "no NVIDIA driver is installed"
    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return "NVIDIA's driver finds no GPU; is one in the machine, and this process allowed to use it?"
    return count.value


def _look(number: int) -> Gpu | str:
    from codecsieve.pipelines.device_job import check_statistics, see_only

    see_only(number)
    import torch

    from codecsieve.codec.nvdec_support import nvdec_engines

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} cannot use CUDA here; install its CUDA build, and driver 580 or later"
    try:
        engines = nvdec_engines(0, "h264", 8)
        if not engines:
            return "cannot decode H.264"
        return Gpu(number, torch.cuda.get_device_name(0), _driver(), engines, check_statistics(0))
    except Exception as error:  # whatever it is, this GPU is not to be used
        return " ".join(str(error).split()) or type(error).__name__


def _driver() -> str:
    """The driver's version; "unknown" where it cannot be asked."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "unknown"
    text = ctypes.create_string_buffer(96)
    if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text))):
        return "unknown"
    return text.value.decode(errors="replace")
