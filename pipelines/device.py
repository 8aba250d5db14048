"""What clips are made on: this machine's processor, or its GPUs, and what these can do.

Nothing of CUDA is loaded into the calling process: the GPUs are looked at in a process of its own, which may crash
as it likes. What is done with them is left to `device_job`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from dataclasses import dataclass

from codecsieve.pipelines.config import ConfigError, SieveConfig
from codecsieve.pipelines.workers import Lost, WorkerError, run_jobs

DEVICES = ("auto", "cpu", "cuda")
GPU_PACKAGES = ("torch", "triton", "cupy", "PyNvVideoCodec")
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
            ConfigError: `bitstream` is asked for and cannot be had.
        """
        if config.signals in ("search", "difference"):
            return config.signals, None
        if self.statistics:
            return config.signals, "nvdec" if self.gpus else "ffmpeg"
        if config.signals == "bitstream":
            drivers = ", ".join(sorted({gpu.driver for gpu in self.gpus}))
            raise ConfigError(
                f"signals ('bitstream') on a GPU needs decode statistics, NVIDIA driver 590 or later (here: "
                f"{drivers}); use signals search, or device cpu"
            )
        _log.warning("these GPUs give no decode statistics (they need driver 590): signals are found by search")
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
    answer = _missing() or look_at_gpus()
    found, missing = ([], answer) if isinstance(answer, str) else (answer, "")
    if number:
        found = [gpu for gpu in found if gpu.index == int(number)]
    if found:
        return Device(tuple(found))
    if kind == "cuda":
        raise ConfigError(f"device ({asked!r}) cannot be used: {missing or 'no such GPU'}; use device cpu")
    _log.info("clips are made on the processor: %s", missing or "no GPU can decode")
    return Device()


def _missing() -> str:
    """What a GPU would need and is plainly not there; "" where nothing is missing."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed"
    packages = [name for name in GPU_PACKAGES if importlib.util.find_spec(name) is None]
    if packages:
        return f"{', '.join(packages)} not installed; pip install 'codecsieve[gpu]'"
    return ""


def look_at_gpus() -> list[Gpu] | str:
    """The GPUs that can decode H.264, or in one line why none can. In a process of its own."""
    try:
        ((_, answer),) = run_jobs([_look], ["gpus"], LOOK_SECONDS)
    except WorkerError as error:
        return str(error)
    return f"looking at the GPUs failed: {answer.reason}" if isinstance(answer, Lost) else answer


def _look(_: str) -> list[Gpu] | str:
    import torch

    from codecsieve.codec.nvdec_packets import NvdecError
    from codecsieve.codec.nvdec_support import load_nvdec, nvdec_engines
    from codecsieve.pipelines.device_job import check_statistics

    try:
        load_nvdec()
        gpus = []
        for index in range(torch.cuda.device_count()):
            engines = nvdec_engines(index, "h264", 8)
            if engines:
                name, statistics = torch.cuda.get_device_name(index), check_statistics(index)
                gpus.append(Gpu(index, name, _driver(), engines, statistics))
        return gpus or "no GPU here can decode H.264"
    except (NvdecError, RuntimeError, OSError) as error:
        return " ".join(str(error).split())


def _driver() -> str:
    """The driver's version; "unknown" where it cannot be asked."""
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    text = ctypes.create_string_buffer(96)
    if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text))):
        return "unknown"
    return text.value.decode(errors="replace")
