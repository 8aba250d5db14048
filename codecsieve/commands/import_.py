"""The command `import`: what others chose of videos as a cache."""

from __future__ import annotations

from typing import Any

import click

from codecsieve.commands.listing import COLUMNS
from codecsieve.commands.options import options_of, take
from codecsieve.pipelines.importing.config import ImportOptions

_NOTES = """
Nothing is unpickled: of pickles, arrays of integers are read as data, and whatever else one holds is refused. A clip
that is not taken over is listed with the reason; the same command tries it again, and goes on where it was cut off.
Exit status: 0 all clips are in, 1 some are not, 2 the source or options make no sense, 130 interrupted.

\b
Example:
  codecsieve import cache_residuals cache --videos train.csv --videos-were /data/hmdb51 --store patches
  codecsieve import offline_root cache --store patches
"""


@click.command("import", epilog=_NOTES)
@click.argument("source")
@click.argument("cache")
@click.option("--videos", multiple=True, metavar="INPUT", help="Videos, folder or manifest that the indices are of.")
@options_of(ImportOptions, videos_were="FOLDER", cache_key="TEXT")
@COLUMNS
@click.option("--quiet", is_flag=True, help="Show nothing but what failed.")
def import_(source: str, cache: str, videos: tuple[str, ...], columns: str, quiet: bool, **options: Any) -> None:
    """Make a cache of what others chose.

    SOURCE is a folder of OneVision-Encoder's cached indices (visible_indices_*.pkl), or of .npy, .npz; one such file of
    all videos; or a folder of LLaVA-style assets, or an export to llava or assets.
    """
    from codecsieve.commands.console import Meter, print_facts, print_failures
    from codecsieve.pipelines.importing.run import import_cache
    from codecsieve.pipelines.inputs.row import ColumnNames

    with Meter("clips", quiet) as meter:
        imported = import_cache(
            source,
            cache,
            videos,
            columns=ColumnNames.parse(columns),
            progress=meter.update,
            **take(options, ImportOptions),
        )
    if not quiet:
        facts = [
            ("in the cache", f"{imported.clips}, {imported.made} of them new"),
            ("failed", len(imported.failures)),
            ("cache", imported.out),
        ]
        print_facts("Import", facts)
    print_failures(list(imported.failures.values()), f"codecsieve info {cache} --failed")
    if imported.failures:
        click.get_current_context().exit(1)
