"""What the GPU road reaches on this machine; about seven minutes on an H100 with 16 cores.

    python -m benchmarks.gpu.run [--videos FOLDER] [--quick]

Five sections, in this order: the machine; whether the GPU's results are the processor's, bit for bit; each kernel's
time against the bytes that it moves; what NVDEC decodes; and whole clips, beside what NVDEC decodes of the same
packets. Without --videos, the videos are made on the spot. The JSON is written after every section, so that a run
that is cut short keeps what it has; a section that fails says why, and the others go on.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import save
from benchmarks.gpu.clips import clips
from benchmarks.gpu.decode import decode
from benchmarks.gpu.equality import equality
from benchmarks.gpu.kernels import kernels
from benchmarks.gpu.machine import machine
from benchmarks.gpu.scenes import VIDEOS, Scale, encode, videos_in

QUICK: dict[str, Any] = {
    "clips": 16,
    "large_clips": 2,
    "repeats": 5,
    "sessions": (1, 7, 14),
    "window_s": 0.7,
    "rounds": 1,
    "frames": 120,
    "cached_clips": 32,
    "videos": VIDEOS[1::2],
}


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Measured instead.")
@click.option("--quick", is_flag=True, help="Smaller batches, fewer repeats and videos: under two minutes.")
def main(videos: Path | None, quick: bool) -> None:
    """Measure every section; print the tables; write the JSON after each."""
    if not torch.cuda.is_available():
        raise click.ClickException("no NVIDIA GPU that torch can use; run this on a machine that has one")
    torch.cuda.set_device(0)
    run(Scale(**QUICK) if quick else Scale(), videos)


def run(scale: Scale, videos: Path | None) -> dict[str, Any]:
    """All sections, as they are in the JSON."""
    name = f"gpu-{'-'.join(torch.cuda.get_device_name(scale.device).lower().split())}"
    figures: dict[str, Any] = {"scale": _described(scale)}
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as scratch:
        folder = Path(scratch)
        files = functools.cache(lambda: _files(scale, videos, folder))
        sections: dict[str, Callable[[], dict[str, Any]]] = {
            "gpu": lambda: machine(scale),
            "equality": lambda: equality(scale, folder),
            "kernels": lambda: kernels(scale),
            "decode": lambda: decode(scale, files()),
            "clips": lambda: clips(scale, files(), folder),
        }
        for section, measure in sections.items():
            figures[section] = _measured(section, measure)
            save(name, figures)
            torch.cuda.empty_cache()
    return figures


def _measured(section: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    begun = time.perf_counter()
    try:
        found = measure()
    except Exception as error:  # the other sections are measured all the same
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"}
        click.echo(f"{section}: {found['error']}", err=True)
    return {**found, "section_s": time.perf_counter() - begun}


def _files(scale: Scale, videos: Path | None, folder: Path) -> dict[str, Path]:
    """The videos to measure, by name."""
    found = videos_in(videos) if videos else {video.name: encode(video, folder, scale.frames) for video in scale.videos}
    if not found:
        raise FileNotFoundError(f"{videos}: holds no video")
    return found


def _described(scale: Scale) -> dict[str, Any]:
    described = {field.name: getattr(scale, field.name) for field in dataclasses.fields(scale)}
    videos = [dataclasses.asdict(video) for video in scale.videos]
    return {**described, "device": str(scale.device), "config": scale.config.to_dict(), "videos": videos}


if __name__ == "__main__":
    main()
