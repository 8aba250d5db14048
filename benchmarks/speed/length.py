"""What a clip costs against its length: one hour and its first minute, at the same 64 samples.

    python -m benchmarks.speed.length [VIDEO] [--container mp4]

The hour is the video looped by stream copy; both are measured in turns, end to end, one thread.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click

from benchmarks.common import loop_video, save, show
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.sieve.clip import sieve_clip

LENGTHS = {"1 minute": 60, "10 minutes": 600, "1 hour": 3600}


@click.command(help=__doc__)
@click.argument("video", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
@click.option("--container", default="mp4", show_default=True)
def main(video: Path | None, rounds: int, container: str) -> None:
    """Measure the lengths; print the table; write the JSON."""
    source = video or carried_videos()[-1]
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        files = {name: loop_video(source, Path(folder, f"{s}.{container}"), s) for name, s in LENGTHS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in files}
        decoded = {}
        for _ in range(rounds + 1):
            for name, path in files.items():
                start = time.perf_counter()
                clip = sieve_clip(path)
                seconds[name].append(time.perf_counter() - start)
                decoded[name] = clip.frames, clip.pictures_decoded
    rows = [
        {
            "length": name,
            "frames": decoded[name][0],
            "pictures decoded": decoded[name][1],
            "ms": statistics.median(times[1:]) * 1e3,
            "of 1 minute": statistics.median(a / b for a, b in zip(times[1:], seconds["1 minute"][1:], strict=True)),
        }
        for name, times in seconds.items()
    ]
    show(f"Cost against length, {source.name} looped", list(rows[0]), [list(row.values()) for row in rows])
    save(
        "length" if container == "mp4" else f"length_{container}",
        {"video": source.name, "rounds": rounds, "lengths": rows},
    )


if __name__ == "__main__":
    main()
