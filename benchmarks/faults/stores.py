"""Caches in an S3 store, attacked: writers side by side, a line that fails, processes killed at any instant.

    python -m benchmarks.faults.stores [KIND]... [--quick] [--server HOST:PORT] [--only ID]

The store is moto's S3 server; or one that runs already, with a bucket `codecsieve` and its keys in the environment.
Every request goes over a line that answers 500 (before or after it did what it was asked), is slow, or breaks off. What
must hold in the end: nothing lost, nothing twice, `verify` clean, the same clips as in a folder. What trials come to is
told as in `benchmarks.faults.run`.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.common import RESULTS, save, show
from benchmarks.faults.outcome import BAD, COLUMNS, rows
from benchmarks.faults.s3_line import KEYS, make_bucket, serving
from benchmarks.faults.store_trials import ACTS, BUCKET, FAILING, KINDS, Scene, StoreTrial, try_store
from codecsieve.commands.console import Meter


@click.command(help=__doc__)
@click.argument("kinds", nargs=-1)
@click.option("--quick", is_flag=True, help="A tenth of all that. Nothing is written.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", metavar="ID", help="These trials only. Nothing is written.")
@click.option("--server", metavar="HOST:PORT", help="Of a server that runs already.  [default: moto's, started]")
@click.option("--name", help="What it is, and its version.  [default: moto's]")
def main(
    kinds: tuple[str, ...], quick: bool, seed: int, only: str | None, server: str | None, name: str | None
) -> None:
    """Try; show what did not hold as it comes, and the table; write the JSON."""
    name = name or f"moto {importlib.metadata.version('moto')}"
    began, tried, bad = time.monotonic(), [], []
    with serving(server) as line, tempfile.TemporaryDirectory() as folder, Meter("trials") as meter:
        os.environ |= {**KEYS, **({k: os.environ[k] for k in KEYS if k in os.environ} if server else {})}
        os.environ["AWS_ENDPOINT_URL"] = line.endpoint
        if server is None:
            make_bucket(line, BUCKET)
        scene = Scene(line)
        chosen = list(_trials(scene, kinds, seed, 10 if quick else 1, only))
        for done, trial in enumerate(chosen, 1):
            one = try_store(scene, trial, Path(folder))
            tried.append(one)
            if one.verdict.outcome != "held":
                bad.append({"id": one.id, "what": one.what, **asdict(one.verdict)})
                click.echo(f"{one.id}: {one.verdict.outcome}: {one.verdict.said}")
            meter.update(done, len(chosen), len(bad))
    table = [COLUMNS, *rows(tried, "all of them")[:-1]]
    printed = [place for place, column in enumerate(COLUMNS) if column != "unsteady"]
    columns, *lines = [[row[place] for place in printed] for row in table]
    show(f"Caches in {name}", columns, lines)
    if not only and not quick and not kinds:
        path, minutes = RESULTS / "store_faults.json", round((time.monotonic() - began) / 60, 1)
        written = json.loads(path.read_text())["servers"] if path.exists() else {}
        figures = [dict(zip(["kind", *columns[1:]], row, strict=True)) for row in lines]
        save("store_faults", {"servers": {
            **written, name: {"seed": seed, "failing": FAILING, "minutes": minutes, "table": figures, "not_held": bad}
        }})  # fmt: skip
    if any(one.verdict.outcome in BAD for one in tried):
        sys.exit(1)


def _trials(scene: Scene, kinds: tuple[str, ...], seed: int, less: int, only: str | None) -> Iterator[StoreTrial]:
    for kind, count in KINDS.items():
        if kinds and not any(fnmatch.fnmatchcase(kind, f"*{one}*") for one in kinds):
            continue
        if kind.endswith(" killed") and kind.partition(" ")[0] in ACTS:
            count = min(count, scene.changes(kind.partition(" ")[0]))
        for number in range(0, count, less):
            trial = StoreTrial(seed, kind, number)
            if only is None or fnmatch.fnmatchcase(trial.id, only):
                yield trial


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server must not be left behind
    multiprocessing.set_forkserver_preload(["benchmarks.faults.store_clips"])
    main()
