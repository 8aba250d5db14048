"""The commands that make another cache of caches: `merge`, `compact`, `drop`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from codecsieve.commands.group import OneLineError
from codecsieve.commands.listing import clips_of

if TYPE_CHECKING:
    from codecsieve.cache import Dropped, SparseCache

_MERGE_NOTES = """
The table at the end counts the clips of all caches: those that are in OUT, that failed wherever they were tried, and
that no cache has made yet. "said otherwise" are clips of which two caches give other labels or columns, "with other
bytes" those that were not sieved alike: of both the first named counts, and OUT before all. Exit status: 0 all that the
caches hold is in OUT, 1 it is not.

\b
Example:
  codecsieve precompute videos/ --out a --part 1/2     # on one machine
  codecsieve precompute videos/ --out b --part 2/2     # on another
  codecsieve merge whole a b
"""

_COMPACT_NOTES = """
The table at the end counts the index's files: parts, one for 64 clips, that were put into packs, one for 65,536, and
the packs there are now. Codecsieve from before there were packs refuses such a cache (format 2). Exit status: 0 done.

\b
Example:
  codecsieve compact cache
"""

_DROP_NOTES = """
The table at the end counts the clips that went by what had become of them, and the bytes of the arrays that are free
now. Killed at any time, it is finished by the next command that writes the cache, or by `codecsieve drop CACHE`. Exit
status: 0 they are out, 1 a clip is not there or the cache cannot be written, 2 no clip was named.

\b
Example:
  codecsieve drop cache 3f2a holiday.mp4
  codecsieve drop cache --where "label = 'blurred'" --dry-run
  codecsieve drop cache --failed
"""


@click.command(epilog=_MERGE_NOTES)
@click.argument("out")
@click.argument("caches", nargs=-1, required=True, metavar="CACHE...")
@click.option("--quiet", is_flag=True, help="Show nothing but warnings.")
def merge(out: str, caches: Sequence[str], quiet: bool) -> None:
    """Put the clips of several caches into the cache OUT; each is a folder or an object store's URL.

    All must have been made with the same options. OUT is made, or gone on with if it is there. A clip that failed in
    one cache and is in another is taken from there. A merge that was cut off is finished by the same command.
    """
    from codecsieve.cache import merge_caches
    from codecsieve.commands.console import Meter, print_facts

    with Meter("clips", quiet) as meter:
        merged = merge_caches(out, caches, progress=lambda done, total: meter.update(done, total, 0))
    facts: list[tuple[str, object]] = [
        ("in the cache", f"{merged.before + merged.copied}, {merged.copied} of them new"),
        ("failed", merged.failed),
        ("not made", merged.unmade),
        ("said otherwise", merged.said),
        ("with other bytes", merged.differing),
    ]
    if not quiet:
        print_facts(f"Cache {out}", [fact for fact in facts if fact[1] or fact[0] in ("in the cache", "failed")])


@click.command(epilog=_COMPACT_NOTES)
@click.argument("cache")
@click.option("--quiet", is_flag=True, help="Show nothing.")
def compact(cache: str, quiet: bool) -> None:
    """Put the many files of a cache's index into few, so that it opens faster.

    Clips, their order and their bytes stay as they are, and others may read the cache meanwhile.
    """
    from codecsieve.cache import compact_cache
    from codecsieve.commands.console import Meter, print_facts

    with Meter("parts", quiet) as meter:
        done = compact_cache(cache, progress=lambda done, total: meter.update(done, total, 0))
    if not quiet:
        print_facts(f"Cache {cache}", [("parts put into packs", done.parts), ("packs", done.packs)])


@click.command(epilog=_DROP_NOTES)
@click.argument("cache")
@click.argument("clips", nargs=-1, metavar="[CLIP]...")
@click.option("--where", metavar="SQL", help="Those that meet this condition, such as \"label = 'run' and fps > 25\".")
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--unmade", is_flag=True, help="Those that were planned and not made.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--quiet", is_flag=True, help="Show nothing but what is wrong.")
def drop(
    cache: str, clips: Sequence[str], where: str | None, failed: bool, unmade: bool, dry_run: bool, quiet: bool
) -> None:
    """Take clips out of a cache, with their bytes.

    CLIP is an id, the beginning of one, or the file's name. With several ways to name them, the clips of all go. The
    same `precompute` as before makes them again.
    """
    from codecsieve.cache import drop_clips, open_cache, to_drop, unfinished_drop, unmade_clips
    from codecsieve.commands.console import Meter, tell

    unfinished = [] if dry_run else unfinished_drop(cache)
    if unfinished:
        drop_clips(cache, [])
        tell(f"finished a drop of {len(unfinished)} clips that was cut off")
    elif not (clips or where or failed or unmade):
        raise OneLineError("name the clips to drop, or say --where, --failed or --unmade", 2)
    opened = open_cache(cache)
    planned = unmade_clips(cache)
    ids = {_named(opened, planned, name, unfinished) for name in clips} - {None}
    if where is not None:
        ids |= set(clips_of(opened, where)["id"].to_pylist())
    if failed:
        ids |= set(_with_status(opened, "failed"))
    if unmade:
        ids |= set(planned)
    wanted = sorted(clip_id for clip_id in ids if clip_id is not None)
    if dry_run:
        found = to_drop(cache, wanted)
    else:
        with Meter("shards", quiet) as meter:
            found = drop_clips(cache, wanted, progress=lambda done, total: meter.update(done, total, 0))
    if not quiet:
        print_dropped(found, cache, dry_run)
    if found.lost:
        tell(f"{found.lost} other clips of their shards were damaged: the same precompute makes them again")


def print_dropped(found: Dropped, cache: str, dry_run: bool) -> None:
    from codecsieve.commands.console import print_facts
    from codecsieve.options import in_units

    facts: list[tuple[str, object]] = [
        ("clips", found.clips),
        ("failed ones", found.failed),
        ("only planned", found.unmade),
        ("bytes", in_units(found.nbytes)),
    ]
    print_facts(f"{'Would go' if dry_run else 'Dropped'} from {cache}", facts)


def _with_status(cache: SparseCache, status: str) -> Iterable[str]:
    pairs = zip(cache.index["id"].to_pylist(), cache.index["status"].to_pylist(), strict=True)
    return (clip_id for clip_id, was in pairs if was == status)


def _named(cache: SparseCache, planned: Sequence[str], name: str, gone: Sequence[str]) -> str | None:
    """The id of the clip that a name means, whatever became of it; None where that has just gone."""
    import pyarrow as pa

    from codecsieve.cache.naming import find_clip

    known = cache.index.select(["id", "uri"])
    others = pa.table({"id": pa.array(planned, pa.string()), "uri": pa.nulls(len(planned), pa.string())})
    try:
        return find_clip(pa.concat_tables([known, others]), name)
    except KeyError as error:
        if gone:
            return None
        raise OneLineError(f"cache {cache.location}: {error.args[0]}", 1) from None
