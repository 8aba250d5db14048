"""Repair a cache: what can be told from the rest is written anew, what is lost is put back to be made.

After it every file is as it must be, and the index lists no clip that cannot be read; the same `precompute` then makes
what is missing. What is wrong is found by `verify`.
"""

from __future__ import annotations

import os

from codecsieve.errors import CacheError
from codecsieve.files import cannot_write

from .index import part_name, records, write_part
from .layout import INDEX, PLAN, metadata_files
from .location import Location
from .metadata import GroupMetadata, read_group
from .part import hold_alone
from .plan import contradiction, plan_of_parts, rows_of, write_plan
from .salvage import ASIDE, read_arrays, read_index
from .table import TABLE, mark_table, read_table
from .verify import Progress, Verified, verify_cache


def repair_cache(path: str | os.PathLike[str], progress: Progress | None = None) -> Verified:
    """Verify a cache, which nobody may be writing, and repair it.

    An array's metadata and a plan that does not agree with the index are written anew. A damaged table of labels is put
    aside. A file of the index that is damaged is removed, and of the others those clips are that cannot be read: they
    are missing then, and made by the next run with their inputs. Failed clips of a file that was lost are tried again
    as well.

    Returns how the cache stood before. Raises CacheError where `path` is no cache, its group's metadata is damaged, or
    it cannot be written.
    """
    location = Location.of(path)
    group = read_group(location)
    with hold_alone(location):
        found = verify_cache(location, progress=progress)
        if found.damages:
            _mend(location, group, found)
        return found


def _mend(location: Location, group: GroupMetadata, found: Verified) -> None:
    layout = group.layout
    for name in (INDEX, *(array.name for array in layout.arrays())):
        location.make_folder(name)
        location.clear(name)
    index = read_index(location)
    for name in read_arrays(location, layout, index).damages:
        _clear(location, name)
    try:
        read_table(location)
    except CacheError:
        if location.exists(TABLE):
            _put_aside(location, TABLE)  # not removed: people wrote it, and nothing makes it again
        mark_table(location, False)
    for file, shard in index.unreadable.items():
        _clear(location, f"{INDEX}/{file}")
        if shard in index.packed:  # which tells what was so before that part
            index.parts[shard] = write_part(location, shard, [])
    plan = plan_of_parts(index.plan or [], index.parts)
    if plan != index.plan:
        _clear(location, PLAN)
        write_plan(location, plan)
    for shard, part in list(index.parts.items()):
        if contradiction(shard, part, rows_of(plan)):  # two parts list the same clip
            _clear(location, f"{INDEX}/{part_name(shard)}")
            del index.parts[shard]
            if shard in index.packed:
                write_part(location, shard, [])
    for name, metadata in metadata_files(layout.arrays(), len(plan), group.attributes).items():
        if not location.exists(name):
            location.publish(name, [metadata])
    for damage in found.damages:
        if damage.shard in index.parts and damage.lost:
            kept = [one for one in records(index.parts[damage.shard]) if one.id not in damage.lost]
            index.parts[damage.shard] = write_part(location, damage.shard, kept)


def _clear(location: Location, name: str) -> None:
    """Remove what stands in a file's place; a folder, which may hold what somebody wants, is put aside."""
    path = location.folder / name if location.local else None
    if path is not None and path.is_dir() and not path.is_symlink():
        _put_aside(location, name)
    else:
        location.remove([name])


def _put_aside(location: Location, name: str) -> None:
    if location.local:
        path = location.folder / name
        try:
            path.rename(path.with_name(path.name + ASIDE))
        except OSError as error:
            raise cannot_write(path, error) from error
    else:
        data = location.read(name)
        location.publish(name + ASIDE, [data], lambda there: None if there == data else [data])
        location.remove([name])
