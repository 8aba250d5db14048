"""Compile the CPU kernels before workers start, so that N workers do not each compile them.

Numba keeps compiled kernels on disk, beside the package or in the user's cache folder: only the first run after
an installation takes its time here, half a minute.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from codecsieve.kernels.cpu.predict import is_compiled
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip

_ALL_ELSE: dict[str, Any] = {
    "mv_inconsistency": "mean",
    "res_use_grad": True,
    "scale": "clip",
    "fuse": "product",
    "suppress": "time",
}
"""Options that call kernels which the defaults do not; `variance` is left to its first clip."""

_log = logging.getLogger(__name__)


def warm_up() -> None:
    """Sieve a tiny clip made on the spot, with either kind of signals, unless that has been done before."""
    if not is_compiled():
        _log.warning("compiling the CPU kernels, once after an installation: half a minute")
        compile_kernels()


def compile_kernels() -> None:
    """Compile what is not compiled yet."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-") as folder:
        path = Path(folder) / "tiny.mp4"
        write_tiny_clip(path)
        for signals in ("bitstream", "search"):
            for mode in ("median", "similarity"):
                config = SieveConfig(num_frames=8, input_size=56, k_keep=16, signals=signals, mv_compensate=mode)
                sieve_clip(path, config)
                sieve_clip(path, dataclasses.replace(config, **_ALL_ELSE))


def write_tiny_clip(path: Path) -> None:
    """Eight small moving pictures, as H.264 with a B-picture where this FFmpeg can, else as MPEG-4."""
    codec = "libx264" if "libx264" in av.codec.codecs_available else "mpeg4"
    noise = np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(8):
            grey = np.ascontiguousarray(noise[index : index + 64, index : index + 64])
            frame = av.VideoFrame.from_ndarray(grey, format="gray8").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
