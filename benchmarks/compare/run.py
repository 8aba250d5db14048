"""codecsieve beside other people's tools: one command, from PyPI's packages to a table.

    python -m benchmarks.compare.run --videos FOLDER [--labelled FOLDER] [--work build/compare] [--publish]
    python -m benchmarks.compare.run --table

Every tool of `tools` gets an environment of its own in WORK and is given the same videos: which of them it takes and
whether the frames are those it says (`videos`), how fast it is on those that all take (`speed`); and, where there are
labelled clips, what is told apart by the tokens that each way of choosing keeps (`accuracy`). Steps that were done are
kept in WORK, and not done again for the same videos. --publish writes `benchmarks/results/compare.json`, the picture
and the figures of `docs/compare.md`; --table prints these as Markdown from that file.

What it wants beside the package: the extras `dev` (PyAV's encoder of H.264, scikit-learn, torch, matplotlib) and PyPI.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.common import RESULTS, machine, save
from benchmarks.compare.contest import measure_accuracy
from benchmarks.compare.plot import draw
from benchmarks.compare.speed import clips_for_speed, measure_speed
from benchmarks.compare.table import markdown, publish_in, show_tables
from benchmarks.compare.tools import ROOT, TOOLS, Installed, Tool, install_all
from benchmarks.compare.videos import Row, describe_videos, find_videos, try_tools
from codecsieve.errors import CodecsieveError
from codecsieve.machine import available_cores
from codecsieve.pipelines.sieve.warm import warm_up

DOCUMENT = ROOT / "docs" / "compare.md"
PICTURE = ROOT / "docs" / "compare.png"


@click.command(help=__doc__)
@click.option("--videos", multiple=True, type=click.Path(exists=True, path_type=Path), help="Folders of videos.")
@click.option("--labelled", type=click.Path(exists=True, path_type=Path), help="Folder with labels.csv.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/compare"), show_default=True)
@click.option("--clips", default=120, show_default=True, help="Labelled clips at most, in whole groups.")
@click.option("--only", multiple=True, help="These tools alone, by name.")
@click.option("--publish", is_flag=True, help="Write the result, the picture and the figures of the document.")
@click.option("--table", is_flag=True, help="Print the published result as Markdown, and measure nothing.")
def main(
    videos: tuple[Path, ...],
    labelled: Path | None,
    work: Path,
    clips: int,
    only: tuple[str, ...],
    publish: bool,
    table: bool,
) -> None:
    """Measure; show; publish where that is asked for."""
    if table:
        click.echo(markdown(json.loads((RESULTS / "compare.json").read_text())))
        return
    unknown = set(only) - {tool.name for tool in TOOLS}
    if not videos or unknown:
        raise click.UsageError(f"no such tool: {', '.join(sorted(unknown))}" if unknown else "--videos is missing")
    try:
        figures = compare(videos, labelled, work, clips, only)
    except CodecsieveError as error:
        raise click.ClickException(str(error)) from None
    show_tables(figures)
    if publish:
        save("compare", figures)
        draw(figures, PICTURE)
        publish_in(DOCUMENT, {"machine": machine(), **figures})


def compare(
    folders: Sequence[Path], labelled: Path | None, work: Path, clips: int, only: Sequence[str]
) -> dict[str, Any]:
    """All figures; raises ConfigError where there is nothing to measure on."""
    work.mkdir(parents=True, exist_ok=True)
    steps = Steps(work / "steps")
    processes = available_cores()
    chosen = tuple(tool for tool in TOOLS if not only or tool.name in only)
    packages = {tool.name: [*tool.packages, *tool.carried] for tool in chosen}
    tools = _environments(chosen, work, steps)
    ready = {name: "ready" if isinstance(tool, Installed) else tool for name, tool in tools.items()}
    paths = find_videos(folders)
    facts = steps.do("facts", [paths], lambda: describe_videos(paths, processes))
    rows = steps.do("videos", [paths, packages, ready], lambda: try_tools(tools, paths, processes, steps.say))
    fast = clips_for_speed(rows, {path: facts[path]["pixels"] for path in paths})
    speed = {
        name: steps.do(
            f"speed of {name}", [fast, packages[name]], lambda tool=tool: measure_speed(tool, fast, processes)
        )
        for name, tool in tools.items()
    }
    accuracy = labelled and steps.do(
        "accuracy",
        [str(labelled), clips, packages, ready],
        lambda: measure_accuracy(labelled, tools, work, processes, clips, steps.say),
    )
    return {
        "processes": processes,
        "seconds": {name: round(seconds) for name, seconds in steps.seconds.items()},
        "tools": {
            tool.name: {"does": tool.does, "packages": packages[tool.name], "speed": speed[tool.name]}
            for tool in chosen
        },
        "speed clips": [Path(path).name for path in fast],
        "videos": [_row(path, facts[path], rows) for path in paths],
        "accuracy": accuracy,
    }


def _environments(chosen: tuple[Tool, ...], work: Path, steps: Steps) -> dict[str, Installed | str]:
    """Each tool as it is installed, or why it is not; and the kernels of this package, compiled."""
    steps.say(f"{len(chosen)} tools: their environments")
    start = time.perf_counter()
    tools = install_all(chosen, work)
    steps.seconds["environments"] = time.perf_counter() - start
    for name, tool in tools.items():
        steps.say(f"{name}: {'ready' if isinstance(tool, Installed) else tool}")
    steps.say("codecsieve: its kernels compiled, as `make warm` does")
    warm_up()
    return tools


def _row(path: str, facts: Mapping[str, Any], rows: Mapping[str, Mapping[str, Row] | str]) -> dict[str, Any]:
    """A video as the tables have it: its facts, and what every tool did with it."""
    return {
        "video": Path(path).name,
        **facts,
        "tools": {name: _nameless(own, path) for name, own in rows.items()},
    }


def _nameless(own: Mapping[str, Row] | str, path: str) -> Row | str:
    """What a tool did with a video, without the folder that this lies in; or why it does nothing."""
    if isinstance(own, str):
        return own
    return {**own[path], "reason": own[path]["reason"].replace(path, Path(path).name)}


class Steps:
    """Parts of a comparison that are kept in a folder, each with what it was made of and the seconds that it took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()
        folder.mkdir(exist_ok=True)

    def say(self, line: str) -> None:
        """Print a line of progress, with the time since the beginning."""
        click.echo(f"{time.perf_counter() - self._start:5.0f} s  {line}")

    def do(self, name: str, made_of: Any, make: Callable[[], Any]) -> Any:
        """A part as it is kept, if it was made of the same; else made, and kept unless it is why there is none."""
        key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        file = self.folder / f"{name}.json"
        if file.exists() and (kept := json.loads(file.read_text()))["made of"] == key:
            self.say(f"{name}: as measured before, {file}")
        else:
            self.say(f"{name}: begun")
            start = time.perf_counter()
            made = make()
            kept = {"made of": key, "seconds": time.perf_counter() - start, "made": made}
            if isinstance(made, str):
                self.say(f"{name}: {made}")
            else:
                file.write_text(json.dumps(kept))
        self.seconds[name] = kept["seconds"]
        return kept["made"]


if __name__ == "__main__":
    main()
