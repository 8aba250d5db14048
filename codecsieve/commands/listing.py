"""The commands `list` and `label`: what is known of a cache's clips, and saying something else of them."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from codecsieve.cache import SparseCache

_LIST_NOTES = """
"kept" counts a clip's patches; a clip that failed has none, and `codecsieve info CACHE --failed` says why. The CSV has
whole paths, and is a table that `codecsieve label` and `precompute` read: change it and give it back.

\b
Example:
  codecsieve list cache --where "label is null and fps > 25"
  codecsieve list cache --csv > clips.csv
"""

_LABEL_NOTES = """
The table at the end counts the clips that TABLE names, those whose label is another now, and the rows that name no clip
of the cache, of which the first are shown. Exit status: 0 also where there are such rows, 2 where no row names a clip.

\b
Example:
  codecsieve label cache corrected.csv
  codecsieve label cache annotations.jsonl --columns path=file_name,label=verb
"""

WHERE = click.option(
    "--where", metavar="SQL", help="Only clips that meet this condition, such as \"label = 'run' and fps > 25\"."
)
COLUMNS = click.option(
    "--columns",
    metavar="OURS=THEIRS,...",
    default="",
    help="What a manifest calls our columns, such as path=filename,label=action.",
)


@click.command("list", epilog=_LIST_NOTES)
@click.argument("cache")
@WHERE
@click.option("--json", "as_json", is_flag=True, help="All that is known of each, as JSON, for programs.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, whole paths and further columns with it.")
def list_(cache: str, where: str | None, as_json: bool, as_csv: bool) -> None:
    """List the clips of a cache: id, file, label, status, frames, patches kept, further columns."""
    from codecsieve.cache import open_cache
    from codecsieve.commands.console import print_columns, say_csv, say_json

    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two forms of the list; give one of them.")
    opened = open_cache(cache)
    rows = clips_of(opened, where)
    if as_json:
        say_json(rows.to_pylist())
        return
    further = [name for name in rows.column_names if name not in opened.index.column_names]
    kept = [opened.layout.k_keep if status == "ok" else None for status in rows["status"].to_pylist()]
    if as_csv:
        names = ["id", "path", "label", "start", "end", "status", "frames", "kept", *further]
        columns = {**{name: rows[name].to_pylist() for name in rows.column_names}, "kept": kept}
        columns["path"] = columns["uri"]
        say_csv(names, zip(*(columns[name] for name in names), strict=True))
        return
    shown = [
        rows["id"].to_pylist(),
        [PurePath(uri).name for uri in rows["uri"].to_pylist()],
        *(rows[name].to_pylist() for name in ("label", "status", "frames")),
        kept,
        *(rows[name].to_pylist() for name in further),
    ]
    print_columns(["id", "file", "label", "status", "frames", "kept", *further], shown)


def clips_of(cache: SparseCache, where: str | None) -> pa.Table:
    """All that is known of the clips that were tried, or of those that meet a condition."""
    if where is None:
        return cache.table
    from codecsieve.cache.where import matching

    return matching(cache.table, where)


@click.command(epilog=_LABEL_NOTES)
@click.argument("cache")
@click.argument("table")
@COLUMNS
@click.option("--blank-clears", is_flag=True, help="A blank label, or other column, takes away what a clip has.")
@click.option("--quiet", is_flag=True, help="Show nothing but rows that name no clip.")
def label(cache: str, table: str, columns: str, blank_clears: bool, quiet: bool) -> None:
    """Give clips of a cache other labels and further columns, without sieving anything again.

    TABLE is CSV, TSV, JSONL or Parquet, with a column `id` or `path`, and `label` or whatever else there is to say.
    A path alone is said of all the file's clips; one that no clip has stands for the file whose last parts are the
    same. What TABLE does not name stays as it is.
    """
    from codecsieve.commands.console import print_facts, print_listed
    from codecsieve.pipelines.inputs.row import ColumnNames
    from codecsieve.pipelines.precompute.label import label_clips

    found = label_clips(cache, table, ColumnNames.parse(columns), blank_clears)
    if not quiet:
        facts: list[tuple[str, object]] = [
            ("clips named", found.clips),
            ("of them with another label", found.relabelled),
            ("further columns", ", ".join(found.columns) or "none"),
            ("rows that name no clip", len(found.unknown)),
        ]
        if found.guessed:
            facts.insert(1, ("of them by the file's name alone", found.guessed))
        print_facts(f"Cache {cache}", facts)
    print_listed("no clip", list(found.unknown), f"codecsieve list {cache}")
