"""The folder of an export: not there, being made, or whole, and `export.json` in it says of what.

    OUT/.unfinished/      where it grows, with the same names inside; an interrupted export goes on in here
    OUT/.whole/           the same folder when all is made, for the moment in which its contents move up; what has a
                          name that begins with a dot was for the making, and goes
    OUT/export.json       moves up last: an export that has it is whole

So nobody reads half an export for a whole one. What is in the folder is left to the formats.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from codecsieve.cache.layout import config_difference
from codecsieve.errors import CacheError
from codecsieve.files import cannot_write, kind_of_file, lock, make_folder, publish, read_regular, sync_folder

RECORD = "export.json"
UNFINISHED, WHOLE = ".unfinished", ".whole"
_LOCK = ".lock"
_MOST_BYTES = 1 << 26
_OTHER = "use another OUT or delete it"


@contextlib.contextmanager
def export_folder(out: Path, record: Mapping[str, Any]) -> Iterator[Path | None]:
    """The folder to fill, which becomes `out` where the block ends without an error; None where all is made already.

    record: what `export.json` is to say, plain JSON: `to`, `config`, `shard_clips`, `content`, `options` where a format
    has some, ... An export that was interrupted is gone on with if it says the same. Raises CacheError where `out` is
    something else or an export of something else, another process writes it, or the disk fails.
    """
    _refuse_foreign(out)
    if _is_same(out / RECORD, out, record):
        yield None
        _tidy(out)
        return
    make_folder(out)
    held = lock(out / _LOCK, out)
    try:
        if _is_same(out / RECORD, out, record):  # another process has just made it
            yield None
        elif _is_same(out / WHOLE / RECORD, out, record):
            yield None
            _finish(out)
        else:
            yield _begin(out, record)
            os.replace(out / UNFINISHED, out / WHOLE)
            sync_folder(out)
            _finish(out)
        _tidy(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        held.close()


def read_record(path: Path) -> dict[str, Any] | None:
    """What an `export.json` says; None where there is none. Raises CacheError where it is damaged, or another's."""
    try:
        record = json.loads(read_regular(path, _MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CacheError(f"{path} is damaged ({error}); {_OTHER}") from error
    if not isinstance(record, dict) or not {"to", "config", "shard_clips", "content"} <= record.keys():
        raise CacheError(f"{path} is not one that codecsieve wrote; {_OTHER}")
    return record


def _refuse_foreign(out: Path) -> None:
    if out.is_dir():
        names = {entry.name for entry in out.iterdir()}
        if not names & {RECORD, UNFINISHED, WHOLE} and names - {_LOCK}:
            raise CacheError(f"{out} is not empty and not an export; use another OUT")
    elif out.exists():
        raise CacheError(f"{out} is a {kind_of_file(out)}, not an export; use another OUT")


def _is_same(path: Path, out: Path, record: Mapping[str, Any]) -> bool:
    """Whether the record is there; CacheError where another is."""
    made = read_record(path)
    if made is None:
        return False
    if made["to"] != record["to"]:
        raise CacheError(f"{out} is an export to {made['to']}, you asked for {record['to']}; {_OTHER}")
    if made["config"] != record["config"]:
        difference = config_difference(made["config"], record["config"])
        raise CacheError(f"{out} is an export of a cache that {difference}; {_OTHER}")
    if made["content"] != record["content"]:
        raise CacheError(
            f"{out} is an export of other clips, or said other things of them ({made.get('clips')} clips there, "
            f"{record.get('clips')} here); {_OTHER}"
        )
    if made.get("options") != record.get("options"):
        difference = config_difference(made.get("options") or {}, record.get("options") or {})
        raise CacheError(f"{out} {difference}; {_OTHER}")
    if made["shard_clips"] != record["shard_clips"]:
        raise CacheError(f"{out} has shards of {made['shard_clips']} clips, you asked for {record['shard_clips']}; "
                         f"{_OTHER}")  # fmt: skip
    return True


def _begin(out: Path, record: Mapping[str, Any]) -> Path:
    inside = out / UNFINISHED
    if not _is_same(inside / RECORD, out, record):
        make_folder(inside)
        publish(inside / RECORD, [json.dumps(record, indent=1).encode()])
    return inside


def _finish(out: Path) -> None:
    """Move what was made to its place, the record last."""
    for entry in (out / WHOLE).iterdir():
        if entry.name.startswith("."):
            shutil.rmtree(entry)
        elif entry.name != RECORD:
            os.replace(entry, out / entry.name)
    sync_folder(out)
    os.replace(out / WHOLE / RECORD, out / RECORD)
    sync_folder(out)


def _tidy(out: Path) -> None:
    """Remove what a whole export has no use for; what cannot be removed does no harm."""
    with contextlib.suppress(OSError):
        (out / WHOLE).rmdir()
    with contextlib.suppress(OSError):
        (out / _LOCK).unlink()
