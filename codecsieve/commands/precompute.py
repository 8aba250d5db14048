"""The command `precompute`: videos into a cache of sparse patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from codecsieve.commands.options import config_options

if TYPE_CHECKING:
    from codecsieve.pipelines.precompute.summary import RunSummary


_NOTES = """
The table at the end counts the clips that are in the cache by codec and by signals used. Exit status: 0 every
clip of the inputs is in, 1 some are not, 2 the inputs or options make no sense, 130 interrupted.

\b
Example:
  codecsieve precompute videos/ --out cache
  codecsieve precompute train.csv --out cache --k-keep 1024 --workers 8
"""


@click.command(epilog=_NOTES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="CACHE", help="Folder of the cache; gone on with if it is there.")
@click.option(
    "--preset",
    metavar="onevision|surprise",
    default="onevision",
    show_default=True,
    help="Options by one name: the published ones, or w_res 3; others given here go before it.",
)
@config_options
@click.option(
    "--store",
    type=click.Choice(["patches", "indices"]),
    default="patches",
    show_default=True,
    help="Keep the patches' pixels, or only which they are.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N",
    help="Where clips are made: auto takes every GPU that can decode, or else the processor.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Clips at a time, on the processor or on each GPU; 0: no process but this one, for debugging.  "
    "[default: one a core; on a GPU, one a decoder engine]",
)
@click.option("--retry-failed", is_flag=True, help="Try clips again that failed before.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first clip that fails.")
@click.option(
    "--clip-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds that one clip may take.",
)
@click.option("--quiet", is_flag=True, help="Show nothing but what failed, and warnings.")
def precompute(
    inputs: tuple[str, ...],
    out: str,
    preset: str,
    store: str,
    device: str,
    workers: int | None,
    retry_failed: bool,
    fail_fast: bool,
    clip_timeout: float,
    quiet: bool,
    **options: Any,
) -> None:
    """Put videos into a cache of sparse patches.

    INPUT is a video, a folder of videos, or a manifest: a CSV, text or Parquet file with the columns
    path,label[,start,end,id]; start and end in seconds.

    A clip that fails is listed with the reason and does not keep the others from finishing. A run that was
    cut off is finished by the same command; more inputs make the cache grow.
    """
    from codecsieve.commands.console import Meter, print_failures
    from codecsieve.pipelines.config import SieveConfig
    from codecsieve.pipelines.inputs.clips import read_inputs
    from codecsieve.pipelines.precompute.run import precompute as run

    config = SieveConfig.preset(preset, **{name: value for name, value in options.items() if value is not None})
    with Meter("clips", quiet) as meter:
        summary = run(
            read_inputs(inputs),
            out,
            config,
            device=device,
            workers=workers,
            store="indices" if store == "indices" else "patches",
            retry_failed=retry_failed,
            fail_fast=fail_fast,
            clip_timeout=clip_timeout,
            progress=lambda at: meter.update(at.done, at.total, at.failed),
        )
    if not quiet:
        print_summary(summary, out)
    print_failures([failure.error for failure in summary.failures], f"codecsieve info {out} --failed")
    if not summary.complete:
        click.get_current_context().exit(1)


def print_summary(summary: RunSummary, out: str) -> None:
    from codecsieve.commands.console import in_units, print_facts

    inside = summary.made + summary.skipped
    facts: list[tuple[str, object]] = [
        ("in the cache", f"{inside}, {summary.made} of them new"),
        *((f"  {codec}, {signals}", count) for (codec, signals), count in summary.kinds.items()),
        ("failed", len(summary.failures)),
        ("not tried", summary.not_tried),
        ("repeats left out", summary.duplicates),
        ("time", f"{summary.seconds:.1f} s, {summary.clips_per_second:.1f} new clips/s"),
        ("size of a clip", in_units(summary.clip_bytes)),
        ("cache", out),
    ]
    optional = ("not tried", "repeats left out")
    print_facts("Clips", [fact for fact in facts if fact[1] or fact[0] not in optional])
