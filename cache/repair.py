"""Repair a cache: what can be told from the rest is written anew, what is lost is put back to be made.

After it every file is as it must be, and the index lists no clip that cannot be read; the same `precompute` then makes
what is missing. What is wrong is found by `verify`.
"""

from __future__ import annotations

import os
from pathlib import Path

from codecsieve.errors import CacheError
from codecsieve.files import cannot_write, lock, make_folder, publish, remove, remove_partial_files

from .index import part_name, records, write_part
from .layout import INDEX, LOCK, PLAN, metadata_files
from .location import Location
from .metadata import GroupMetadata, read_group
from .plan import contradiction, plan_of_parts, rows_of, write_plan
from .salvage import ASIDE, read_arrays, read_index
from .table import TABLE, read_table
from .verify import Progress, Verified, verify_cache


def repair_cache(path: str | os.PathLike[str], progress: Progress | None = None) -> Verified:
    """Verify the cache in a local folder, which nobody may be writing, and repair it.

    An array's metadata and a plan that does not agree with the index are written anew. A damaged table of labels is put
    aside. A part of the index that is damaged is removed, and of the others those clips are that cannot be read: they
    are missing then, and made by the next run with their inputs. Failed clips of a part that was lost are tried again
    as well.

    Returns how the cache stood before. Raises CacheError where `path` is no cache, its group's metadata is damaged, or
    it cannot be written.
    """
    folder = Path(path).absolute()
    group = read_group(Location(folder))
    held = lock(folder / LOCK, folder)
    try:
        found = verify_cache(folder, progress=progress)
        if found.damages:
            _mend(folder, group, found)
        return found
    finally:
        held.close()


def _mend(folder: Path, group: GroupMetadata, found: Verified) -> None:
    location, layout = Location(folder), group.layout
    for name in (INDEX, *(array.name for array in layout.arrays())):
        make_folder(folder / name)
        remove_partial_files(folder / name)
    index = read_index(location)
    for name in read_arrays(location, layout, index).damages:
        _clear(folder / name)
    try:
        read_table(location)
    except CacheError:
        _put_aside(folder / TABLE)  # not removed: people wrote it, and nothing makes it again
    for shard in index.unreadable:
        _clear(folder / INDEX / part_name(shard))
    plan = plan_of_parts(index.plan or [], index.parts)
    if plan != index.plan:
        _clear(folder / PLAN)
        write_plan(folder, plan)
    for shard, part in list(index.parts.items()):
        if contradiction(shard, part, rows_of(plan)):  # two parts list the same clip
            _clear(folder / INDEX / part_name(shard))
            del index.parts[shard]
    for name, metadata in metadata_files(layout.arrays(), len(plan), group.attributes).items():
        if not (folder / name).exists():
            publish(folder / name, [metadata])
    for damage in found.damages:
        if damage.shard in index.parts and damage.lost:
            kept = [one for one in records(index.parts[damage.shard]) if one.id not in damage.lost]
            index.parts[damage.shard] = write_part(folder, damage.shard, kept)


def _clear(path: Path) -> None:
    """Remove what stands in a file's place; a folder, which may hold what somebody wants, is put aside."""
    if path.is_dir() and not path.is_symlink():
        _put_aside(path)
    else:
        remove(path)


def _put_aside(path: Path) -> None:
    try:
        path.rename(path.with_name(path.name + ASIDE))
    except OSError as error:
        raise cannot_write(path, error) from error
