"""What a choice of patches costs: the whole sieve by each preset, over that by the published scoring's own options.

    python -m benchmarks.speed.presets [VIDEO...] [--rounds N]

Without videos, those of `decoder_fields`. Processor time of one thread, the least of three in each round, in turns;
ratios are medians over the rounds. The published scoring is the median camera, percentiles of the slot, centre prior
0.3: the options' own defaults.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.common import save, show
from benchmarks.speed.decoder_fields import clock, make_videos
from benchmarks.speed.throughput import ratio
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip

PRESETS = ("contrast", "onevision", "surprise")
"""Those that see the same square and keep as much of it."""
SIGNALS = ("bitstream", "search")


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
def main(videos: tuple[Path, ...], rounds: int) -> None:
    """Measure every video; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        chosen = list(videos) or make_videos(Path(folder))
        rows = [measure(video, signals, rounds) for video in chosen for signals in SIGNALS]
    show("Sieve by preset, over the published scoring", list(rows[0]), [list(row.values()) for row in rows])
    save("presets", {"rounds": rounds, "videos": rows})


def measure(video: Path, signals: Any, rounds: int) -> dict[str, Any]:
    """All figures of one video by one kind of signals."""
    ways = {"published": SieveConfig(signals=signals)}
    ways |= {name: SieveConfig.preset(name, signals=signals) for name in PRESETS}
    turns = [
        {name: clock(lambda config=config: sieve_clip(video, config)) for name, config in ways.items()}  # type: ignore[misc]
        for _ in range(rounds + 1)
    ][1:]
    published = [turn["published"] for turn in turns]
    row: dict[str, Any] = {"video": video.name, "signals": signals, "published ms": 1e3 * statistics.median(published)}
    return row | {name: ratio([turn[name] for turn in turns], published) for name in PRESETS}


if __name__ == "__main__":
    main()
