"""The GPU that is measured: its driver, its packages, what its NVDEC decodes and tells, and how full it gets."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cupy
import numpy as np
import torch
import triton

from benchmarks.common import show
from benchmarks.gpu.scenes import Encoding, Scale, encode
from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_support import CODECS, first_layout, nvdec_engines
from codecsieve.codec.nvdec_trial import statistics_agree
from codecsieve.codec.packets import open_source
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.local import run_jobs
from codecsieve.pipelines.precompute.gpu_look import driver_version

BIT_DEPTHS = (8, 10)
LOOK_S = 120.0
LOOKS_S = 0.02
"""Between two looks at the GPU's memory."""


def machine(scale: Scale) -> dict[str, Any]:
    """The section. What could not be found out is null, and `reasons` says why."""
    index, reasons = scale.device.index or 0, dict[str, str]()

    def found(name: str, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except Exception as error:  # the rest is found out all the same
            reasons[name] = f"{type(error).__name__}: {error}"
            return None

    properties = torch.cuda.get_device_properties(scale.device)
    told = found("decode_statistics", lambda: _in_own_process(decode_statistics, scale.device)) or {}
    figures = {
        "gpu": torch.cuda.get_device_name(scale.device),
        "memory_mb": properties.total_memory / 2**20,
        "multiprocessors": properties.multi_processor_count,
        "driver": found("driver", driver_version),
        "cuda_of_driver": found("cuda_of_driver", cupy.cuda.runtime.driverGetVersion),
        "cuda_of_torch": torch.version.cuda,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cupy": cupy.__version__,
        "pynvvideocodec": found("pynvvideocodec", lambda: version("PyNvVideoCodec")),
        "nvdec_engines": {
            f"{codec} {bit_depth} bits": found(
                f"nvdec {codec}", lambda c=codec, b=bit_depth: nvdec_engines(index, c, b)
            )
            for codec in CODECS
            for bit_depth in BIT_DEPTHS
        },
        "decode_stats_size_bytes": told.get("decode_stats_size_bytes"),
        "statistics_agree": told.get("statistics_agree"),
        "reasons": reasons,
    }
    show("GPU", ["", "value"], [(name, str(value)) for name, value in figures.items()])
    return figures


def _in_own_process(look: Callable[[torch.device], dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """What a function tells of a device, from a process that it may crash. Raises RuntimeError where it fails."""
    ((_, answer),) = run_jobs([partial(_told, look)], [device], LOOK_S)
    if isinstance(answer, Lost | str):
        raise RuntimeError(answer if isinstance(answer, str) else answer.reason)
    return answer


def _told(look: Callable[[torch.device], dict[str, Any]], device: torch.device) -> dict[str, Any] | str:
    """What a function tells, or its error in one line: what it raises would end the process."""
    try:
        return look(device)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def decode_statistics(device: torch.device) -> dict[str, Any]:
    """How many bytes of statistics come with a picture of H.264 that has motion, and whether they mean FFmpeg's."""
    with tempfile.TemporaryDirectory() as folder, _NotingSession(device.index or 0, 0, device) as session:
        path = encode(Encoding("trial", "libx264", (192, 320)), Path(folder), 8)
        wanted = np.arange(8)
        with open_source(str(path)) as source:
            layout, _ = first_layout(source, wanted)
            for _ in session.pictures(source, wanted, layout, statistics=True):
                pass
        return {"decode_stats_size_bytes": max(session.sizes), "statistics_agree": statistics_agree(session)}


class _NotingSession(NvdecSession):
    """A session that notes down how many bytes of statistics its pictures come with."""

    def __init__(self, gpu: int, stream: int, device: torch.device) -> None:
        super().__init__(gpu, stream, device)
        self.sizes: list[int] = []

    def _picture(self, frame: Any, *about: Any) -> Any:
        self.sizes.append(int(frame.decode_stats_size))
        return super()._picture(frame, *about)


class GpuMemory:
    """The most memory that is taken on a GPU while this is entered: by this process's tensors, and by all there is."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.free, self.total = torch.cuda.mem_get_info(device)
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> GpuMemory:
        torch.cuda.reset_peak_memory_stats(self.device)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(LOOKS_S):
            self.free = min(self.free, torch.cuda.mem_get_info(self.device)[0])

    def peaks(self) -> dict[str, float]:
        """MB."""
        tensors = torch.cuda.max_memory_allocated(self.device)
        return {"tensors": tensors / 2**20, "taken_on_the_device": (self.total - self.free) / 2**20}
