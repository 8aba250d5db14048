"""Whether what is promised holds when things go wrong: damaged caches, damaged videos, runs that are killed.

    python -m benchmarks.faults.run [caches] [videos] [kills] [--videos FOLDER]... [--quick] [--only ID]

Each trial comes to one of six: held, unsteady (FFmpeg itself gives other pixels each time), lost (a clip is missing
without a word), wrong (what differs from the truth without a word), hung (past its time limit, or something left
behind), crashed (a traceback, an exception that is none of ours, a death by a signal, more than one line). All but the
first two should be 0. Every trial that did not hold stands in the JSON with its id, and `--only ID` repeats it; of
several, those whose ids begin so, or match a pattern with *.

Without --videos, those made on the spot by all of PyAV's encoders are damaged; the files of folders come besides.
Kills want Linux, and fill a disk by mounting a small one where they may.
"""

from __future__ import annotations

import fnmatch
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from benchmarks.common import RESULTS, save, show
from benchmarks.faults import caches, disks, kills, videos
from benchmarks.faults.outcome import BAD, COLUMNS, Tried, rows
from codecsieve.commands.console import Meter
from codecsieve.machine import available_cores

TOTALS = {"caches": "damaged caches", "videos": "damaged videos", "kills": "disturbed runs"}
PARTS = tuple(TOTALS)


@dataclass(frozen=True)
class Scale:
    """How much is tried: caches that are damaged, videos that are, runs that are killed, runs of each other mishap."""

    caches: int = 2000
    videos: int = 4000
    kills: int = 210
    mishaps: int = 10


QUICK = Scale(caches=40, videos=110, kills=8, mishaps=1)


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--videos", "folders", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--quick", is_flag=True, help="A fiftieth of all that: under two minutes. Nothing is written.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", metavar="ID", help="These trials only. Nothing is written.")
@click.option("--workers", type=click.IntRange(min=1), help="Trials at a time.  [default: one a core]")
def main(
    parts: tuple[str, ...], folders: tuple[Path, ...], quick: bool, seed: int, only: str | None, workers: int | None
) -> None:
    """Try; show what did not hold as it comes, and a table of each part; write the JSON after each."""
    if only:
        part, seed = only.split("/")[0], int(only.split("/")[1])
        parts = (part,)
    held = True
    for part in parts or PARTS:
        attack = Attack(QUICK if quick else Scale(), folders, seed, only, workers or available_cores())
        tried, figures = attack.run(part)
        table = [COLUMNS, *rows(tried, TOTALS[part])]
        printed = [place for place, name in enumerate(COLUMNS) if name != "unsteady" or table[-1][place]]
        columns, *lines = [[row[place] for place in printed] for row in table]
        show(part.capitalize(), columns, lines)
        held &= all(one.verdict.outcome not in BAD for one in tried)
        if not only and not quick:
            save("faults", {**_kept_parts(), part: figures})
    if not held:
        sys.exit(1)


def _kept_parts() -> dict[str, Any]:
    """The figures that were written before, for the parts that are not tried now."""
    path = RESULTS / "faults.json"
    written = json.loads(path.read_text()) if path.exists() else {}
    return {part: written[part] for part in PARTS if part in written}


class Trial(Protocol):
    """What has an id."""

    @property
    def id(self) -> str:
        """What repeats it."""


@dataclass(frozen=True)
class Attack:
    """What is asked for, see `main`."""

    scale: Scale
    folders: Sequence[Path]
    seed: int
    only: str | None
    workers: int

    def run(self, part: str) -> tuple[list[Tried], dict[str, Any]]:
        """One part: its trials, and its figures for the JSON."""
        began, tried, bad = time.monotonic(), [], []
        parts = {"caches": self._caches, "videos": self._videos, "kills": self._kills}
        with tempfile.TemporaryDirectory(prefix="codecsieve-faults-") as scratch, Meter("trials") as meter:
            trials, begin, facts = parts[part](Path(scratch))
            chosen = [trial for trial in trials if self.only is None or _is_one_of(trial.id, self.only)]
            for done, one in enumerate(begin(chosen), 1):
                tried.append(one)
                if one.verdict.outcome != "held":
                    bad.append({"id": one.id, "what": one.what, **asdict(one.verdict)})
                if one.verdict.outcome != "held" or self.only:
                    click.echo(" ".join(f"{one.id}: {one.verdict.outcome}: {one.what}: {one.verdict.said}".split()))
                meter.update(done, len(chosen), len(bad))
        table = [dict(zip(["kind", *COLUMNS[1:]], row, strict=True)) for row in rows(tried, TOTALS[part])]
        minutes = round((time.monotonic() - began) / 60, 1)
        return tried, {"seed": self.seed, **facts, "minutes": minutes, "table": table, "not_held": bad}

    def _caches(self, scratch: Path) -> _Part:
        trials = list(caches.cache_trials(self.seed, self.scale.caches))
        return trials, lambda chosen: caches.try_caches(chosen, self.workers), {"skipped": caches.skipped()}

    def _videos(self, scratch: Path) -> _Part:
        files, lacking = videos.gather(self.folders, scratch)
        trials = list(videos.video_trials(self.seed, self.scale.videos, files))
        facts = {"files": [Path(file).name for file in files], "not_made": lacking}
        return trials, lambda chosen: videos.try_videos(chosen, self.workers, files), facts

    def _kills(self, scratch: Path) -> _Part:
        killed = list(kills.kill_trials(self.seed, self.scale.kills))
        trials: list[Any] = [*killed, *disks.mishaps(self.seed, self.scale.kills, self.scale.mishaps)]
        return trials, lambda chosen: kills.try_kills(chosen, 2 * self.workers), {"means": disks.means()}


_Part = tuple[Sequence[Trial], Callable[[Sequence[Any]], Iterator[Tried]], dict[str, Any]]
"""Of a part, its trials, what does them, and what the JSON says of it besides."""


def _is_one_of(trial: str, only: str) -> bool:
    return trial == only or trial.startswith(f"{only}/") or fnmatch.fnmatchcase(trial, only)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # runs in groups of their own must not be left behind
    main()
