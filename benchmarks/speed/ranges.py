"""What planning takes of a run's own process: seconds and memory, by the rows of the inputs.

    python -m benchmarks.speed.ranges

The inputs are a Parquet data set whose rows have ids, parts of one short video. They are planned as one of so many
parts that none of their shards is this run's: every row is read, checked and planned, and nothing is made. Then the
same again, of a cache in which all are planned. Each run has a process to itself; memory is its peak, and beside it
what Python takes with all that a run imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import save, show

_FILE_ROWS = 1 << 18
_NOBODY = "999999/999999"
MEASURE = """
import json, resource, sys, time
import codecsieve as cs
import codecsieve.pipelines.precompute.run
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
summary = cs.precompute(sys.argv[1], sys.argv[2], part=sys.argv[3], num_frames=8, input_size=56, k_keep=16)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([time.perf_counter() - begun, before / 1024, after / 1024]))
"""


@click.command(help=__doc__)
@click.option("--rows", default="262144,1048576,2097152", show_default=True, help="Of the inputs, with commas between.")
def main(rows: str) -> None:
    """Measure; print the table; write the JSON."""
    found = []
    for count in map(int, rows.split(",")):
        with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
            inputs, cache = Path(folder) / "list", Path(folder) / "cache"
            _write_inputs(inputs, count)
            for what in ("planned", "planned before"):
                seconds, begin, peak = _measure(inputs, cache)
                found.append({"rows": count, "what": what, "seconds": seconds, "begin_mb": begin, "peak_mb": peak})
    table = [(f"{one['rows']:,}", one["what"], f"{one['seconds']:.1f}", f"{one['begin_mb']:.0f}",
              f"{one['peak_mb']:.0f}") for one in found]  # fmt: skip
    show("Planning", ["rows", "what", "s", "MB before", "MB at most"], table)
    fresh = [one for one in found if one["what"] == "planned"]
    slope = (fresh[-1]["peak_mb"] - fresh[-2]["peak_mb"]) * (1 << 20) / (fresh[-1]["rows"] - fresh[-2]["rows"])  # type: ignore[operator]
    ten_million = fresh[-1]["peak_mb"] + slope * (10_000_000 - fresh[-1]["rows"]) / (1 << 20)  # type: ignore[operator]
    print(f"{slope:.0f} bytes a row between the last two; so 10 million rows take {ten_million:.0f} MB (not measured)")
    save("ranges", {"runs": found, "bytes_a_row": slope, "extrapolated_mb_at_10_million": ten_million})


def _write_inputs(folder: Path, rows: int) -> None:
    folder.mkdir()
    (folder.parent / "clip.mp4").write_bytes(bytes(1000))  # nobody opens it as a video
    for first in range(0, rows, _FILE_ROWS):
        some = range(first, min(rows, first + _FILE_ROWS))
        columns = {"path": ["../clip.mp4"] * len(some), "id": [f"{row:016x}" for row in some],
                   "start": [row / 100 for row in some]}  # fmt: skip
        pq.write_table(pa.table(columns), folder / f"{first:012}.parquet")


def _measure(inputs: Path, cache: Path) -> tuple[float, float, float]:
    command = [sys.executable, "-c", MEASURE, str(inputs), str(cache), _NOBODY]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, before, after = json.loads(done.stdout.splitlines()[-1])
    return seconds, before, after


if __name__ == "__main__":
    main()
