"""The command `precompute`: videos into a cache of sparse patches."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from codecsieve.commands.listing import COLUMNS
from codecsieve.commands.options import options_of, refuse, take
from codecsieve.pipelines.config import DEFAULT_PRESET, PRESETS, Preset, RunOptions, SieveConfig
from codecsieve.pipelines.precompute.ray_options import RayOptions

if TYPE_CHECKING:
    from codecsieve.pipelines.precompute.summary import RunSummary


_NOTES = """
The table at the end counts the clips that are in the cache by codec and by signals used. Exit status: 0 every
clip of the inputs is in, 1 some are not, 2 the inputs or options make no sense, 130 interrupted.

\b
Example:
  codecsieve precompute videos/ --out cache
  codecsieve precompute train.csv --out cache --k-keep 1024
  codecsieve precompute s3://bucket/videos --out s3://bucket/cache --part 3/16
"""


@click.command(epilog=_NOTES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--out", required=True, metavar="CACHE", help="Folder of the cache, or a URL (s3://...); gone on with if there."
)
@click.option(
    "--preset",
    metavar="|".join(PRESETS),
    help="Options by one name; others given here go before it.  [default: those of the cache, where it is there; new: "
    f"{DEFAULT_PRESET}]",
)
@options_of(SieveConfig, defaults=PRESETS[DEFAULT_PRESET])
@options_of(RunOptions, device="auto|cpu|cuda|cuda:N")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="What makes the clips: this machine's workers, or actors of a Ray cluster.")  # fmt: skip
@options_of(RayOptions)
@COLUMNS
@click.option("--labels-from-folders", is_flag=True, help="A folder's videos are labelled by the folder they lie in.")
@click.option("--quiet", is_flag=True, help="Show nothing but what failed, and warnings.")
def precompute(
    inputs: tuple[str, ...],
    out: str,
    preset: Preset | None,
    columns: str,
    labels_from_folders: bool,
    engine: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Put videos into a cache of sparse patches.

    INPUT is a video, a folder of videos, the URL of either in an object store (s3://, gs://, az://), or a manifest: a
    CSV, TSV, text, JSONL or Parquet file with the columns path,label[,start,end,id]; start and end in seconds. Further
    columns are kept with the clips. A label or column that is another now is updated; nothing is made again for it.

    A clip that fails is listed with the reason and does not keep the others from finishing. A run that was
    cut off is finished by the same command; more inputs make the cache grow.
    """
    from codecsieve.commands.console import Meter, print_failures
    from codecsieve.pipelines.inputs.clips import read_ranges
    from codecsieve.pipelines.inputs.row import ColumnNames
    from codecsieve.pipelines.precompute.chosen import options_of_run
    from codecsieve.pipelines.precompute.run import precompute as run

    config = options_of_run(out, preset, **take(options, SieveConfig))
    run_options = RunOptions(**take(options, RunOptions))
    of_ray = take(options, RayOptions)
    if engine == "local":
        refuse(of_ray, "--engine ray")
    with Meter("clips", quiet) as meter:
        summary = run(
            read_ranges(inputs, ColumnNames.parse(columns), labels_from_folders),
            out,
            config,
            **dataclasses.asdict(run_options),
            ray=RayOptions(**of_ray) if engine == "ray" else None,
            progress=lambda at: meter.update(at.done, at.total, at.failed),
        )
    if not quiet:
        print_summary(summary, out, run_options.part)
    print_failures([failure.error for failure in summary.failures], f"codecsieve info {out} --failed")
    if not summary.complete:
        click.get_current_context().exit(1)


def print_summary(summary: RunSummary, out: str, part: str | None = None) -> None:
    from codecsieve.commands.console import print_facts
    from codecsieve.options import in_units

    inside = summary.made + summary.skipped
    facts: list[tuple[str, object]] = [
        ("in the cache", f"{inside}, {summary.made} of them new"),
        *((f"  {codec}, {signals}", count) for (codec, signals), count in summary.kinds.items()),
        ("failed", len(summary.failures)),
        ("not tried", summary.not_tried),
        ("repeats left out", summary.duplicates),
        ("lost before, made again", summary.lost),
        ("with another label than before", summary.relabelled),
        ("whose video has moved", summary.moved),
        ("taken out", summary.pruned),
        ("time", f"{summary.seconds:.1f} s, {summary.clips_per_second:.1f} new clips/s"),
        ("size of a clip", in_units(summary.clip_bytes)),
        ("cache", out),
    ]
    always = ("in the cache", "failed", "time", "size of a clip", "cache")
    print_facts(f"Clips of part {part}" if part else "Clips", [fact for fact in facts if fact[1] or fact[0] in always])
