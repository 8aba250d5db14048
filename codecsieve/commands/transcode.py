"""The command `transcode`: videos re-encoded so that their bitstream says plainly what moved."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from codecsieve.commands.options import options_of, take
from codecsieve.pipelines.transcode.config import TranscodeOptions

_NOTES = """
The table at the end counts what became of the videos; those that failed are listed with the reason. Exit
status: 0 every video has its output, 1 some have not, 2 the options make no sense, 130 interrupted.

\b
Example:
  codecsieve transcode videos/ --out plain --crf 20
"""


@click.command(epilog=_NOTES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="FOLDER", help="Where the outputs go.")
@options_of(TranscodeOptions, preset="NAME")
@click.option("--workers", type=click.IntRange(min=1), help="Files at a time.  [default: one a core]")
@click.option("--quiet", is_flag=True, help="Show nothing but what failed, and warnings.")
def transcode(inputs: tuple[str, ...], out: str, workers: int | None, quiet: bool, **options: Any) -> None:
    """Re-encode videos so that their bitstream says plainly what moved.

    INPUT is a video or a folder, whose structure is kept. Outputs are .mp4 with one reference picture, no
    B-pictures, GOPs of fixed length, the same frames at the same times, no sound. Each is verified; those
    that are there already are kept.
    """
    from codecsieve.commands.console import Meter, print_facts, tell
    from codecsieve.machine import available_cores
    from codecsieve.pipelines.transcode.plan import plan_transcode
    from codecsieve.pipelines.transcode.run import transcode_many

    jobs = plan_transcode(inputs, out)
    counts: Counter[str] = Counter()
    with Meter("videos", quiet) as meter:
        meter.update(0, len(jobs), 0)

        def count(status: str) -> None:
            counts[status] += 1
            meter.update(counts.total(), len(jobs), counts["failed"])

        results = transcode_many(
            jobs,
            TranscodeOptions(**take(options, TranscodeOptions)),
            workers or available_cores(),
            on_done=lambda result: count(result.status),
        )
    if not quiet:
        facts = [
            ("done", counts["done"]),
            ("there already", counts["skipped"]),
            ("failed", counts["failed"]),
            ("frames", sum(result.frames for result in results)),
            ("packets that did not decode", sum(result.damaged for result in results)),
            ("folder", out),
        ]
        print_facts("Videos", facts)
    for result in results:
        if result.error is not None:
            tell(f"failed: {result.error}")
    if counts["failed"]:
        click.get_current_context().exit(1)
