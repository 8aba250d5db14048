"""The command `export`: a cache's clips in the formats of others."""

from __future__ import annotations

from typing import Any

import click

from codecsieve.commands.listing import WHERE
from codecsieve.commands.options import options_of, take
from codecsieve.pipelines.exchange.config import FORMATS, ExportOptions

_NOTES = """
\b
webdataset  tar files of samples: KEY.json, KEY.patches.npy, KEY.positions.npy, ...
hf          a folder for Hugging Face datasets: load_from_disk("OUT/data"), or load_dataset("OUT")
npz         numpy's files, one a clip, and index.parquet
lance       one dataset, OUT/clips.lance; needs pip install 'codecsieve[export]'
llava       eight pictures of 36x36 patches a clip, their positions, clips.jsonl: LLaVA's fine-tuning
assets      the same pictures in OUT/assets/KEY: LLaVA's evaluation
ov2         canvases of 2x2 blocks, positions, clips.jsonl: LLaVA-OneVision-2, codec-video-prep

OUT becomes an export as a whole: run an interrupted one again to go on with it. Clips that failed are not exported.
Exit status: 0 all is there, 1 the cache is damaged or OUT cannot be written, 2 the options make no sense, 130
interrupted.

\b
Example:
  codecsieve export cache tars --to webdataset --where "label = 'run' and fps > 25"
  codecsieve export cache tuning --to llava --question "What is done in this video?"
"""


@click.command(epilog=_NOTES)
@click.argument("cache")
@click.argument("out")
@click.option("--to", required=True, type=click.Choice(FORMATS), help="The format.")
@WHERE
@options_of(ExportOptions, shard_size="SIZE", question="TEXT", path_prefix="PATH")
@click.option("--quiet", is_flag=True, help="Show nothing but what is wrong.")
def export(cache: str, out: str, to: Any, where: str | None, quiet: bool, **options: Any) -> None:
    """Write the clips of a cache, with labels and all that is known of them, in another format."""
    from codecsieve.commands.console import Meter, print_facts
    from codecsieve.pipelines.exchange.export import export_cache

    with Meter("clips", quiet) as meter:
        exported = export_cache(
            cache,
            out,
            to,
            where=where,
            progress=lambda done, total: meter.update(done, total, 0),
            **take(options, ExportOptions),
        )
    if not quiet:
        facts = [
            ("clips", exported.clips),
            ("there already", exported.clips - exported.made),
            ("failed in the cache", exported.failed),
            ("shards", exported.shards),
            ("folder", exported.out),
        ]
        print_facts(f"Export to {to}", facts)
