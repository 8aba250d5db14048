"""What it costs to plan and to sieve a clip against an earlier version, in turns: processor time, one process each.

    pip install --no-deps --target FOLDER codecsieve==VERSION
    python -m benchmarks.speed.planning --before FOLDER VIDEO...

VIDEO are files or folders; files that either version cannot use are left out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import click

from benchmarks.common import save, show
from codecsieve.pipelines.inputs.clips import read_inputs

MEASURE = """
import json, sys, time
import codecsieve as cs
from codecsieve.codec.packets import open_source
times = {}
for path in json.loads(sys.argv[1]):
    try:
        cs.sieve(path)
    except ValueError:
        continue
    begun = time.process_time()
    for _ in range(10):
        open_source(path).close()
    planned = time.process_time()
    cs.sieve(path)
    times[path] = [(planned - begun) / 10, time.process_time() - planned]
print(json.dumps(times))
"""
"""Runs under either version: it uses nothing but what both have."""


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, required=True)
@click.option("--before", required=True, type=click.Path(exists=True), help="Where the earlier version is.")
@click.option("--rounds", default=5, show_default=True)
def main(videos: tuple[str, ...], before: str, rounds: int) -> None:
    """Measure in turns; print the table; write the JSON."""
    paths = json.dumps([request.path for request in read_inputs(list(videos))])
    runs = [(_measure(paths, before), _measure(paths, None)) for _ in range(rounds)]
    files = [path for path in runs[0][0] if all(path in of for run in runs for of in run)]
    rows = [[os.path.basename(path), *_compared(runs, [path])] for path in files]
    rows.append(["all", *_compared(runs, files)])
    columns = ["file", "plan ms", "its ratio", "sieve ms", "ratio"]
    show("Processor time against the version before, medians", columns, rows)
    save("planning", {"rounds": rounds, "files": [dict(zip(columns, row, strict=True)) for row in rows]})


def _measure(paths: str, version: str | None) -> dict[str, list[float]]:
    """Seconds to plan and to sieve each file, by an earlier version or by this one."""
    with tempfile.TemporaryDirectory() as elsewhere:
        environment = {**os.environ, "PYTHONPATH": version or ""}
        command = [sys.executable, "-c", MEASURE, paths]
        done = subprocess.run(command, env=environment, cwd=elsewhere, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def _compared(runs: list[tuple[dict[str, list[float]], dict[str, list[float]]]], files: list[str]) -> list[Any]:
    """Milliseconds to plan and to sieve these files, and the median of the rounds' ratios, for each."""
    found: list[Any] = []
    for step in (0, 1):
        sums = [[sum(of[path][step] for path in files) for of in run] for run in runs]
        found += [1e3 * statistics.median(after for _, after in sums)]
        found += [round(statistics.median(after / before for before, after in sums), 3)]
    return found


if __name__ == "__main__":
    main()
