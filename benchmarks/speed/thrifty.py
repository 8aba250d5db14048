"""What thrifty slots save: pictures that are decoded, and processor time of the whole sieve, file by file.

    python -m benchmarks.speed.thrifty VIDEO...

VIDEO are files or folders. Beside slots from end to end, which is the default, stand the middles of equal segments, of
which thrifty slots are a variation. Times are medians over turns in one process on one thread.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import click

import codecsieve as cs
from benchmarks.common import save, show
from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.spread import Spread
from codecsieve.errors import CodecsieveError
from codecsieve.pipelines.inputs.clips import read_inputs

SPREADS = ("ends", "middle", "thrifty")


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, required=True)
@click.option("--signals", default="auto", show_default=True)
@click.option("--num-frames", default=64, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(videos: tuple[str, ...], signals: str, num_frames: int, rounds: int) -> None:
    """Measure in turns; print the table; write the JSON."""
    rows = []
    for request in read_inputs(list(videos)):
        try:
            rows.append({"file": os.path.basename(request.path), **_of(request.path, signals, num_frames, rounds)})
        except CodecsieveError as error:
            print(f"left out: {error}")
    total = {"file": "mean of the ratios"} | {
        name: statistics.mean(row[name] for row in rows)
        for name in ("pictures of ends", "pictures of middle", "time of ends", "time of middle")
    }
    columns = list(rows[0])
    show(
        f"Thrifty slots, {num_frames} a clip",
        columns,
        [[row.get(name, "") for name in columns] for row in [*rows, total]],
    )
    save("thrifty", {"signals": signals, "num_frames": num_frames, "rounds": rounds, "files": rows, "mean": total})


def _of(path: str, signals: str, num_frames: int, rounds: int) -> dict[str, Any]:
    pictures, taken = dict[str, int](), {spread: list[float]() for spread in SPREADS}
    for spread in SPREADS:
        with ClipDecoder(path, num_frames, signals, spread=Spread(spread)) as clip:
            frames, used = clip.sample.frames, clip.signals
            for _ in clip.slots(224):
                pass
            pictures[spread] = clip.pictures_decoded
    for _ in range(rounds):
        for spread in SPREADS:
            began = time.process_time()
            cs.sieve(path, signals=signals, num_frames=num_frames, spread=spread)  # type: ignore[arg-type]
            taken[spread].append(time.process_time() - began)
    ratio = {
        spread: statistics.median(a / b for a, b in zip(taken["thrifty"], taken[spread], strict=True))
        for spread in ("ends", "middle")
    }
    return {
        "signals": used,
        "frames": frames,
        "pictures": pictures["thrifty"],
        "pictures of ends": pictures["thrifty"] / pictures["ends"],
        "pictures of middle": pictures["thrifty"] / pictures["middle"],
        "time of ends": ratio["ends"],
        "time of middle": ratio["middle"],
    }


if __name__ == "__main__":
    main()
