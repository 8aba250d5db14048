"""How a command shows itself on a terminal: a progress bar, tables, lists of what failed.

Progress and failures go to standard error, results to standard output. Where standard error is no terminal
the bar becomes a plain line now and then. Whatever a command shows passes through here, and is printable after that.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from codecsieve.text import one_line, printable, shortened

_LISTED = 20
_WIDEST = 60
_SECONDS_BETWEEN_LINES = 10.0


def say(line: str = "") -> None:
    """A line of a result, on standard output."""
    click.echo(printable(line))


def tell(line: str) -> None:
    """A line about the run, such as what failed, on standard error; bounded."""
    click.echo(one_line(line), err=True)


def say_json(value: Any) -> None:
    """A result as JSON, for programs: ASCII, whatever is in it, and null for numbers that JSON does not have."""
    click.echo(json.dumps(_finite(value), indent=1))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say_csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A result as CSV, for programs and spreadsheets, printable as all else is."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for row in (names, *rows):
        writer.writerow([printable(value) if isinstance(value, str) else value for value in row])


class _Words(TextColumn):
    """Words of the progress line that give way where it is narrow, cut off on one line: the count beside them stays."""

    def __init__(self, text_format: str) -> None:
        super().__init__(text_format, markup=False, table_column=Column())

    def render(self, task: Task) -> Text:
        words = super().render(task)
        words.no_wrap, words.overflow = True, "ellipsis"
        return words


class Meter:
    """Progress of a run over many clips. Use as a context manager."""

    def __init__(self, what: str, quiet: bool = False) -> None:
        """`what` is counted, such as "clips encoded", of which so many clips a second; a quiet meter shows nothing."""
        self._what = printable(what)
        self._unit = self._what.partition(" ")[0]
        self._quiet = quiet
        console = Console(stderr=True)
        self._bar = Progress(
            _Words("{task.description}"),
            BarColumn(min(40, console.width // 4)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            _Words("{task.fields[facts]}"),
            console=console,
            disable=quiet or not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),  # what is printed meanwhile must reach a file or a pipe
        )
        self._plain = not quiet and not console.is_terminal
        self._task = self._bar.add_task(self._what, total=None, facts="")
        self._began: float | None = None
        self._said = 0.0

    def update(self, done: int, total: int, failed: int) -> None:
        """Show how many of `total` are done, failed ones among them. The clock starts with the first call."""
        if self._began is None:
            self._began = self._said = time.monotonic()
        seconds = time.monotonic() - self._began
        rate = done / seconds if seconds else 0.0
        facts = f"{rate:.1f} {self._unit}/s"
        if rate and done < total:
            facts += f", {datetime.timedelta(seconds=round((total - done) / rate))} left"
        if failed:
            facts += f", {failed} failed"
        self._bar.update(self._task, completed=done, total=total, facts=facts)
        due = time.monotonic() - self._said > _SECONDS_BETWEEN_LINES or done == total
        if self._plain and total and due:
            self._said = time.monotonic()
            tell(f"{done} of {total} {self._what}, {facts}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def print_facts(title: str, facts: Iterable[tuple[str, object]]) -> None:
    """A table of names and values on standard output; nothing of it is cut off."""
    table = Table(title=_cell(title, style="bold"), title_justify="left", show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(_cell(name), _cell(value))
    Console().print(table)


def print_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table with a head on standard output; the first column to the left, the others to the right."""
    table = Table(title=_cell(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    for index, name in enumerate(columns):
        table.add_column(_cell(name), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*[_cell(f"{value:.0f}" if isinstance(value, float) else value) for value in row])
    Console().print(table)


def print_columns(names: Sequence[str], columns: Sequence[Sequence[object]]) -> None:
    """A table on standard output for however many rows, a line each: numbers to the right, blanks for what is None."""
    texts = [["" if value is None else shortened(str(value), _WIDEST) for value in column] for column in columns]
    widths = [max(map(cell_len, [printable(name), *column])) for name, column in zip(names, texts, strict=True)]
    right = [any(isinstance(value, int | float) for value in column) for column in columns]
    for row in (names, *zip(*texts, strict=True)):
        cells = []
        for text, width, numbers in zip(map(printable, row), widths, right, strict=True):
            blanks = " " * (width - cell_len(text))
            cells.append(blanks + text if numbers else text + blanks)
        say("  ".join(cells).rstrip())


def print_failures(lines: Sequence[str], rest: str) -> None:
    """The first failures, one a line, on standard error; `rest` tells where the others are to be seen."""
    print_listed("failed", lines, rest)


def print_listed(what: str, lines: Sequence[str], rest: str) -> None:
    """The first of what went wrong, one a line, on standard error; `rest` tells where all of it is to be seen."""
    for line in lines[:_LISTED]:
        tell(f"{what}: {line}")
    if len(lines) > _LISTED:
        tell(f"… and {len(lines) - _LISTED} more: {rest}")


def _cell(value: object, style: str = "") -> Text:
    return Text(printable(str(value)), style)
