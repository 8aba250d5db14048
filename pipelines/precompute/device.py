"""What clips are made on: this machine's processor, or its GPUs, and which signals can be had there.

What the GPUs can do is left to `gpu_look`, what is done with them to `gpu_job`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from dataclasses import dataclass

from codecsieve.codec.fields.proof import fields_off, usable_table
from codecsieve.errors import ConfigError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.precompute.gpu_look import Gpu, has_driver, look_at_gpus
from codecsieve.text import quoted

DEVICES = ("auto", "cpu", "cuda")
GPU_PACKAGES = ("torch", "triton", "cupy", "PyNvVideoCodec")
LARGEST_GPU_PATCH = 32

_log = logging.getLogger(__name__)


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
            signals: `auto`, `bitstream` or `bits` where the codec's own is read, else `search` or `difference`.
            reader: `decoder` (its fields), `ffmpeg` (what it exports) or `nvdec`, which tell different things of one
                stream; None where none is read.

        Raises:
            ConfigError: `bitstream`, `bits` or the decoder's fields are asked for and cannot be had, or patches are too
                large for the GPU's kernels, or what only the processor does is asked of it.
        """
        if self.gpus and config.patch_size > LARGEST_GPU_PATCH:
            raise ConfigError(
                f"patch_size ({config.patch_size}) must be <= {LARGEST_GPU_PATCH} on a GPU; use device cpu"
            )
        if self.gpus and config.scale == "clip":
            raise ConfigError("scale ('clip') is the processor's; use device cpu")
        if self.gpus and config.fit != "crop":
            raise ConfigError(f"fit ({config.fit!r}) is the processor's; use device cpu")
        if config.signals in ("search", "difference"):
            return config.signals, None
        if config.signals == "bits":
            if self.gpus:
                raise ConfigError("signals ('bits') are the processor's; use device cpu")
            if (reason := fields_off(config.decoder_fields)) is not None:
                raise ConfigError(f"signals ('bits') need what decoders keep in memory, which cannot be read: {reason}")
        if self.statistics:
            if self.gpus:
                return config.signals, "nvdec"
            return config.signals, "decoder" if usable_table(config.decoder_fields) else "ffmpeg"
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
        raise ConfigError(f"device ({quoted(asked)}) must be one of {', '.join(DEVICES)}, cuda:N")
    if kind == "cpu":
        return Device()
    answer = _missing() or look_at_gpus(int(number) if number else None)
    if not isinstance(answer, str):
        return Device(tuple(answer))
    if kind == "cuda":
        raise ConfigError(f"device ({quoted(asked)}) cannot be used: {answer}; use device cpu")
    if has_driver():
        _log.warning("clips are made on the processor: %s", answer)
    return Device()


def _missing() -> str:
    """What a GPU would need and is plainly not there; "" where nothing is missing."""
    if not has_driver():
        return "no NVIDIA driver is installed"
    packages = [name for name in GPU_PACKAGES if importlib.util.find_spec(name) is None]
    if packages:
        return f"{', '.join(packages)} not installed; pip install 'codecsieve[gpu]'"
    if not any(shutil.which(compiler) for compiler in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return "Triton needs a C compiler and Python's headers; install gcc and python3-dev"
    return ""
