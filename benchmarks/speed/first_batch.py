"""How long a fresh process takes from `import codecsieve` to the first batch of a local cache.

    python -m benchmarks.speed.first_batch [--rounds N]

A cache of full size (2048 patches of 14 x 14 a clip) is read 16 clips at a time. Importing torch is most of it, so that
alone is measured in turns beside it. Processor time is told as well: on a busy machine it is what wall time would be.
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks.common import save, show
from benchmarks.speed.loader import write_cache

BATCH = 16
FIRST_BATCH = f"""
import codecsieve as cs
next(iter(cs.make_loader(cs.open_cache(sys.argv[1]), batch_size={BATCH})))
"""
STEPS = {"import torch": "import torch", "import codecsieve, open_cache, make_loader, first batch": FIRST_BATCH}


@dataclass(frozen=True)
class Seconds:
    """Medians of the rounds. wall: as a clock has it; processor: of all threads."""

    what: str
    wall: float
    processor: float


@click.command(help=__doc__)
@click.option("--rounds", default=7, show_default=True, help="Fresh processes of each; one more before, not counted.")
def main(rounds: int) -> None:
    """Measure; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        cache = Path(folder) / "cache"
        write_cache(64, cache)
        measured: dict[str, list[tuple[float, float]]] = {what: [] for what in STEPS}
        for _ in range(rounds + 1):
            for what, program in STEPS.items():
                measured[what].append(seconds_of(program, cache))
    medians = [
        Seconds(what, *(round(statistics.median(column), 3) for column in zip(*values[1:], strict=True)))
        for what, values in measured.items()
    ]
    rows = [(row.what, f"{row.wall:.2f}", f"{row.processor:.2f}") for row in medians]
    show("Seconds in a fresh process", ["what", "wall", "processor"], rows)
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "pyarrow", "torch")}
    save("first_batch", {"versions": versions, "batch_size": BATCH, "seconds": [asdict(row) for row in medians]})


def seconds_of(program: str, cache: Path) -> tuple[float, float]:
    """Wall and processor seconds of a program in a process of its own, Python's own start left out."""
    clocked = (
        "import json, sys, time\n"
        "wall, processor = time.perf_counter(), time.process_time()\n"
        f"{program}\n"
        "print(json.dumps([time.perf_counter() - wall, time.process_time() - processor]))\n"
    )
    done = subprocess.run([sys.executable, "-c", clocked, str(cache)], capture_output=True, text=True, check=True)
    wall, processor = json.loads(done.stdout)
    return wall, processor


if __name__ == "__main__":
    main()
