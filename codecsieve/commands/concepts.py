"""The command `concepts`: the clips of a cache clustered, for `train`, and a page to see the clusters on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from codecsieve.commands.group import OneLineError
from codecsieve.commands.options import options_of, take
from codecsieve.pipelines.concepts.config import ConceptsOptions

if TYPE_CHECKING:
    from codecsieve.pipelines.concepts.make import ConceptsMade

_NOTES = """
OUT gets the centres (Zarr), labels.parquet with the nearest centres of each clip, and index.html: open it in a browser
to see some clusters. What the encoder makes of each clip is kept, so other --centres cost no encoding. Clustering reads
all clips in every pass; it takes 16 bytes for each number of the centres, and keeps features in memory where
--max-memory has room for them. A run that was cut off, or killed, is gone on with by the same command. Several
processes share the encoding under torchrun: torchrun --nproc-per-node 8 -m codecsieve concepts ...

\b
Example:
  codecsieve concepts cache concepts --encoder encoder/ --centres 1000
  codecsieve concepts frames concepts --encoder facebook/dinov2-large --feature frames --dims 512 --metric l2
"""


@click.command(epilog=_NOTES)
@click.argument("cache")
@click.argument("out")
@click.option(
    "--encoder",
    required=True,
    metavar="FOLDER_OR_HUB_ID|NAME",
    help="Whose features: a folder or hub id, of ours or a model of transformers, or a name of timm's.",
)
@options_of(ConceptsOptions, max_memory="SIZE")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="For the encoder.")
@click.option("--features-dir", metavar="FOLDER", help="For the features.  [default: one in CACHE.features]")
@click.option("--quiet", is_flag=True, help="Show nothing but what is wrong.")
def concepts(
    cache: str, out: str, encoder: str, device: str, features_dir: str | None, quiet: bool, **options: Any
) -> None:
    """Cluster the clips of CACHE by what an encoder makes of them, and write the concepts to OUT."""
    try:
        from codecsieve.pipelines.concepts.make import make_concepts
        from codecsieve.pipelines.learn.ranks import joined
    except ModuleNotFoundError as error:
        raise OneLineError(f"{error.name} is not installed; pip install 'codecsieve[train]'", 1) from error
    from codecsieve.commands.probe_shown import Meters

    chosen = take(options, ConceptsOptions)
    with joined(device) as ranks, Meters(quiet or not ranks.first) as meters:
        made = make_concepts(
            cache,
            out,
            encoder=encoder,
            features_dir=features_dir,
            ranks=ranks,
            progress=meters.update,
            **chosen,
        )
        first = ranks.first
    if first and not quiet:
        _print(made)


def _print(made: ConceptsMade) -> None:
    from codecsieve.commands.console import print_facts
    from codecsieve.pipelines.concepts.page import facts_of

    title = "Concepts" if made.new else "Concepts, which were there already"
    print_facts(title, [*facts_of(made.counts), ("folder", made.folder), ("to browse", made.page)])
