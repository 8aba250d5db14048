"""What a worker's memory is: its peak by picture size, and whether it grows over a thousand clips.

    python -m benchmarks.speed.memory [VIDEO] [--clips 1000]

Each size is sieved in a fresh process of its own; memory is the resident set, its peak by the kernel's account.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
from pathlib import Path

import click
import psutil

from benchmarks.common import loop_video, save, show
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.sieve.clip import sieve_clip

SIZES = {"360p": "640:360", "720p": "1280:720", "1080p": "1920:1080", "2160p": "3840:2160"}


def peak(path: str) -> float:
    """Peak resident MB of this process after three clips."""
    for _ in range(3):
        sieve_clip(path)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(paths: list[str], clips: int) -> dict[int, float]:
    """Resident MB of this process after every tenth of the clips, by their number."""
    step = max(1, clips // 10)
    sizes = {}
    for number in range(clips):
        sieve_clip(paths[number % len(paths)])
        if (number + 1) % step == 0:
            sizes[number + 1] = psutil.Process().memory_info().rss / 2**20
    return sizes


@click.command(help=__doc__)
@click.argument("video", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--clips", default=1000, show_default=True, help="Clips of the growth run.")
def main(video: Path | None, clips: int) -> None:
    """Measure peaks and growth; print the tables; write the JSON."""
    source = video or carried_videos()[0]
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        files = {name: loop_video(source, Path(folder, f"{name}.mp4"), 10, scale) for name, scale in SIZES.items()}
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            peaks = {name: pool.apply(peak, (str(path),)) for name, path in files.items()}
            short = [loop_video(s, Path(folder, f"short-{s.name}"), 1, "320:180") for s in carried_videos()]
            sizes = pool.apply(growth, ([str(path) for path in short], clips))
    show("Peak memory of a worker, MB", ["size", "MB"], list(peaks.items()))
    show("Resident memory over clips, MB", ["clips", "MB"], list(sizes.items()))
    save("memory", {"video": source.name, "peak_mb": peaks, "growth_mb": sizes})


if __name__ == "__main__":
    main()
