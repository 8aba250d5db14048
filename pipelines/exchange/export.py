"""Export a cache: its clips, or some of them, to a format of others, into a folder that is whole or goes on.

Which clips and columns is left to `selection`, the folder to `folder`, each format to its `to_...`; bars and tables to
the command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecsieve.cache import Condition, SparseCache, open_cache
from codecsieve.errors import ConfigError
from codecsieve.text import quoted

from .config import CANVAS_FORMATS, FORMATS, QUESTION, SHARD_SIZE, Canvas, ExportOptions, Format
from .folder import export_folder
from .selection import Count, Selection, select
from .to_assets import check_assets, write_assets
from .to_huggingface import write_huggingface
from .to_lance import check_lance, write_lance
from .to_llava import check_llava, write_llava
from .to_npz import write_npz
from .to_ov2 import check_ov2, write_ov2
from .to_webdataset import write_webdataset

_ARRAYS: dict[str, Callable[[Selection, Path, Count], None]] = {
    "webdataset": write_webdataset,
    "hf": write_huggingface,
    "npz": write_npz,
    "lance": write_lance,
}
_CANVASES: dict[str, Callable[[Selection, Path, Count, ExportOptions], None]] = {
    "llava": write_llava,
    "assets": write_assets,
    "ov2": write_ov2,
}
_CHECKS = {"llava": check_llava, "assets": check_assets, "ov2": check_ov2}
_OF_CANVASES = ("canvas", "question", "path_prefix")


@dataclass(frozen=True)
class Exported:
    """What there is now.

    clips: in the export; made: of these, now; shards: files or folders of clips; failed: clips that the cache lists
    with an error, which nobody can export.
    """

    out: Path
    clips: int
    made: int
    shards: int
    failed: int


def export_cache(
    cache: SparseCache | str | os.PathLike[str],
    out: str | os.PathLike[str],
    to: Format,
    *,
    where: Condition | None = None,
    shard_size: int | str = SHARD_SIZE,
    canvas: Canvas = "png",
    question: str = QUESTION,
    path_prefix: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Export the clips of a cache, with their labels and all other columns of its table, to the folder `out`.

    `out` becomes an export as a whole; one that was interrupted is gone on with, and ends with the same files (of
    Lance: the same rows). Each clip's bytes are held against their checksum. A cache of indices is exported without
    patches.

    Args:
        cache: opened, or where it is.
        out: a folder that is not there, is empty, or holds this very export, whole or begun.
        to: "webdataset", "hf" (for Hugging Face datasets), "npz", "lance" (which needs pylance), or, for language
            models, "llava", "assets", "ov2", which have patches on pictures (docs/exchange.md).
        where: only clips that meet this condition, see `SparseCache.where`.
        shard_size: bytes, or text such as "1 GB": as many clips as fit are a file, or a folder.
        canvas: of pictures, "png" or "jpeg"; the latter of 16-px patches only.
        question: what is asked of clips that come without a question; of "llava" and "ov2".
        path_prefix: what paths in `clips.jsonl` begin with; without one they are relative to `out`.
        progress: told of clips done, and of how many there are.

    Raises ConfigError where an option cannot work or no clip is left, CacheError where the cache is damaged, `out` is
    something else, or it cannot be written.
    """
    if to not in FORMATS:
        raise ConfigError(f"to ({quoted(to)}) must be one of {', '.join(FORMATS)}")
    options = ExportOptions(shard_size, canvas, question, path_prefix)  # type: ignore[arg-type]  # text becomes a number
    _check_options(options, to)
    opened = cache if isinstance(cache, SparseCache) else open_cache(cache)
    selection = select(opened, where, options.shard_size)
    if to == "lance":
        check_lance(selection)
    if to in _CHECKS:
        _CHECKS[to](selection, options)
    done = made = 0

    def count(clips: int, there: bool = False) -> None:
        nonlocal done, made
        done += clips
        made += 0 if there else clips
        if progress is not None:
            progress(done, len(selection))

    count(0)  # the time begins
    with export_folder(Path(out).absolute(), _record(selection, to, options)) as folder:
        if folder is None:
            count(len(selection), there=True)
        elif to in _ARRAYS:
            _ARRAYS[to](selection, folder, count)
        else:
            _CANVASES[to](selection, folder, count, options)
    return Exported(Path(out), len(selection), made, selection.shards, len(opened.index) - len(opened))


def _check_options(options: ExportOptions, to: str) -> None:
    default = ExportOptions()
    for name in _OF_CANVASES:
        if to not in CANVAS_FORMATS and getattr(options, name) != getattr(default, name):
            raise ConfigError(f"{name} ({quoted(getattr(options, name))}) is for {', '.join(CANVAS_FORMATS)}, not {to}")


def _record(selection: Selection, to: str, options: ExportOptions) -> dict[str, Any]:
    """What `export.json` says; an export is this one by `to`, `options`, `config`, `shard_clips` and `content`."""
    of_canvases = {name: getattr(options, name) for name in _OF_CANVASES}
    return {
        "to": to,
        **({"options": of_canvases} if to in CANVAS_FORMATS else {}),
        "clips": len(selection),
        "shards": selection.shards,
        "shard_clips": selection.shard_clips,
        "config": selection.cache.config,
        "columns": {field.name: str(field.type) for field in selection.table.schema},
        "arrays": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in selection.shapes.items()},
        "content": selection.digest(),
    }
