"""Compile the CPU kernels before workers start, so that N workers do not each compile them.

Numba keeps compiled kernels on disk, beside the package or in the user's cache folder: only the first run after
an installation takes its time here, one to two minutes of a core.
"""

from __future__ import annotations

import logging
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from codecsieve.codec.fields.proof import STREAMS, usable_table
from codecsieve.kernels.cpu import compensate, predict
from codecsieve.kernels.cpu.compiled import is_compiled
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
    """Sieve tiny clips, with either kind of signals, unless that has been done before."""
    kernels = [predict.COMPILED_LAST] + ([compensate.COMPILED_LAST] if usable_table("auto") else [])
    if not all(map(is_compiled, kernels)):
        _log.warning("compiling the CPU kernels, once after an installation: one to two minutes")
        compile_kernels()


def compile_kernels() -> None:
    """Compile what is not compiled yet."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-") as folder:
        path = Path(folder) / "tiny.mp4"
        write_tiny_clip(path)
        for signals in ("bitstream", "search"):
            for mode in ("median", "similarity"):
                _sieve_small(path, signals=signals, mv_compensate=mode, decoder_fields="off")
                _sieve_small(path, signals=signals, mv_compensate=mode, decoder_fields="off", **_ALL_ELSE)
    if usable_table("auto"):
        for stream in STREAMS.iterdir():
            _sieve_small(stream, decoder_fields="on")


def _sieve_small(path: Path, **options: Any) -> None:
    sieve_clip(path, SieveConfig(num_frames=8, input_size=56, k_keep=16, **options))


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
