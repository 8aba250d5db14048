"""What a worker's memory is: its peak by codec, resolution and chroma, and whether it grows over a thousand clips.

    python -m benchmarks.speed.memory [VIDEO] [--clips 1000]

Each file is sieved in a fresh process of its own; memory is the resident set, its peak by the kernel's account. Beside
it stands what `codec.memory` tells of the file from its header, which is what `--max-memory` is held against: a clip
that takes more than that is a fault.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
import psutil

from benchmarks.common import loop_video, save, show
from codecsieve.codec.facts import open_container, read_facts
from codecsieve.codec.memory import clip_bytes
from codecsieve.machine import MAX_MEMORY
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.sieve.clip import sieve_clip

SIZES = {"360p": (640, 360), "1080p": (1920, 1080), "2160p": (3840, 2160), "4320p": (7680, 4320), "8192": (8192, 8192)}
FORMATS = {"4:2:0": "yuv420p", "4:2:2": "yuv422p", "4:4:4": "yuv444p", "4:2:0, 10 bits": "yuv420p10le"}
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "ultrafast", "bf": "3", "refs": "4"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=error:bframes=4:ref=4"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1"}),
    "av1": ("libsvtav1", {"preset": "12"}),
    "mpeg4": ("mpeg4", {"bf": "2"}),
    "mjpeg": ("mjpeg", {}),
}
FRAMES = 24
UNLIMITED = 10**15


def cases() -> Iterator[tuple[str, str, str]]:
    """Codec, size and samples: all of H.264, and of the others what tells how they differ."""
    for size in SIZES:
        for samples in FORMATS if size != "8192" else ("4:2:0", "4:4:4"):
            yield "h264", size, samples
    for codec, samples in (
        ("hevc", "4:2:0"),
        ("hevc", "4:2:0, 10 bits"),
        ("vp9", "4:2:0"),
        ("vp9", "4:4:4"),
        ("av1", "4:2:0"),
        ("mpeg4", "4:2:0"),
        ("mjpeg", "4:4:4"),
    ):
        for size in ("1080p", "2160p", "4320p"):
            yield codec, size, samples


def encode(path: Path, codec: str, size: str, samples: str) -> Path:
    """A clip in which something moves over a still ground, so that large ones are quickly made."""
    encoder, options = ENCODERS[codec]
    width, height = SIZES[size]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = FORMATS[samples].replace("yuv", "yuvj") if codec == "mjpeg" else FORMATS[samples]
        ground = (np.arange(width) // 8 + np.arange(height)[:, None] // 8).astype(np.uint8)
        for number in range(FRAMES):
            picture, x = ground.copy(), 37 * number % (width - 64)
            picture[height // 4 : height // 4 + 64, x : x + 64] = 250
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def peak(path: str) -> tuple[float, float]:
    """Resident MB of this process before its first clip, and at its peak in it."""
    before = psutil.Process().memory_info().rss / 1e6
    sieve_clip(path, max_memory=UNLIMITED)
    # And not ru_maxrss, which begins with what the process had that started this one.
    status = Path("/proc/self/status").read_text().splitlines()
    return before, next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM:"))


def told(path: Path) -> float:
    """MB that the clip takes by its header."""
    with open_container(path) as container:
        facts = read_facts(container, path, UNLIMITED)
    return clip_bytes(facts.codec, facts.pixel_format, facts.width, facts.height, facts.references) / 1e6


def growth(paths: list[str], clips: int) -> dict[int, float]:
    """Resident MB of this process after every tenth of the clips, by their number."""
    step = max(1, clips // 10)
    sizes = {}
    for number in range(clips):
        sieve_clip(paths[number % len(paths)])
        if (number + 1) % step == 0:
            sizes[number + 1] = psutil.Process().memory_info().rss / 1e6
    return sizes


@click.command(help=__doc__)
@click.argument("video", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--clips", default=1000, show_default=True, help="Clips of the growth run.")
def main(video: Path | None, clips: int) -> None:
    """Measure peaks and growth; print the tables; write the JSON."""
    source = video or carried_videos()[0]
    peaks: list[dict[str, Any]] = []
    workers = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder, workers.Pool(1, maxtasksperchild=1) as pool:
        for codec, size, samples in cases():
            path = encode(Path(folder, "clip.mkv"), codec, size, samples)
            before, most = pool.apply(peak, (str(path),))
            case: dict[str, Any] = {"codec": codec, "size": size, "samples": samples}
            peaks.append(case | {"peak_mb": most, "clip_mb": most - before, "told_mb": told(path)})
        scaled = loop_video(source, Path(folder, "real.mp4"), 10, "640:360")
        real = pool.apply(peak, (str(scaled),))[1]
        short = [loop_video(s, Path(folder, f"short-{s.name}"), 1, "320:180") for s in carried_videos()]
        sizes = pool.apply(growth, ([str(path) for path in short], clips))
    rows = [[*case.values(), "no" if 1e6 * case["told_mb"] > MAX_MEMORY else "yes"] for case in peaks]
    show(
        "Peak memory of a worker, MB",
        ["codec", "size", "samples", "peak", "of it the clip's", "told before", "made by default"],
        rows,
    )
    show("Resident memory over clips, MB", ["clips", "MB"], list(sizes.items()))
    save("memory", {"video": source.name, "peaks": peaks, "real_360p_mb": real, "growth_mb": sizes})


if __name__ == "__main__":
    main()
