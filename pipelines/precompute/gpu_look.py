"""What this machine's GPUs can do, looked at in processes of their own, which may crash as they like.

The calling process never opens a GPU. What clips are made on is left to `device`.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Answer, Lost
from codecsieve.pipelines.engines.local import run_jobs
from codecsieve.text import one_line

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


def _elsewhere(function: Callable[[int], Answer | str], gpu: int) -> Answer | str:
    """What a function says in a process of its own."""
    try:
        ((_, answer),) = run_jobs([function], [gpu], LOOK_SECONDS, start_timeout=LOOK_SECONDS)
    except WorkerError as error:
        return str(error)
    return answer.reason if isinstance(answer, Lost) else answer


def _count_gpus(_: int) -> int | str:
    """Asked of the driver itself: torch takes seconds to load."""
    if not has_driver():
        return "no NVIDIA driver is installed"
    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return "NVIDIA's driver finds no GPU; is one in the machine, and this process allowed to use it?"
    return count.value


def _look(number: int) -> Gpu | str:
    from codecsieve.pipelines.precompute.gpu_job import check_statistics, see_only

    see_only(number)
    import torch

    from codecsieve.codec.nvdec_support import nvdec_engines

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} cannot use CUDA here; install its CUDA build, and driver 580 or later"
    try:
        engines = nvdec_engines(0, "h264", 8)
        if not engines:
            return "cannot decode H.264"
        return Gpu(number, torch.cuda.get_device_name(0), driver_version(), engines, check_statistics(0))
    except Exception as error:  # whatever it is, this GPU is not to be used
        return one_line(str(error)) or type(error).__name__


def has_driver() -> bool:
    """Whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def driver_version() -> str:
    """The driver's version; "unknown" where it cannot be asked."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "unknown"
    text = ctypes.create_string_buffer(96)
    if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text))):
        return "unknown"
    return text.value.decode(errors="replace")
