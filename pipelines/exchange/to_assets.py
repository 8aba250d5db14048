"""The folders that LLaVA-style evaluation looks up by a key: `assets/KEY/`, see `mosaics` for what is in them.

KEY is what the column `key` of the clips says, as their evaluation's list has it; without one it is the clip's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from codecsieve.cache.parquet import column
from codecsieve.errors import ConfigError
from codecsieve.text import quoted

from .clip_folders import write_clip_folders
from .config import ExportOptions
from .mosaics import check_mosaics, mosaic_files
from .names import keys_of
from .selection import Count, Selection

ASSETS, STEM = "assets", "mosaic"


def check_assets(selection: Selection, options: ExportOptions) -> None:
    """Raise ConfigError where the clips cannot have such folders."""
    check_mosaics(selection, "assets", options.canvas)
    keys_of(_given(selection))


def write_assets(selection: Selection, folder: Path, count: Count, options: ExportOptions) -> None:
    """Write the folders that are not in `folder` yet. count: told of clips as they are done."""
    keys = keys_of(_given(selection))

    def files(number: int, row: dict[str, Any], arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
        return mosaic_files(selection, row, arrays, STEM, keys[number], options.canvas)

    write_clip_folders(selection, folder / ASSETS, keys, files, count)


def _given(selection: Selection) -> list[str]:
    """What folders are called after. Raises ConfigError where two clips have one key."""
    ids = column(selection.table, "id")
    if "key" not in selection.table.column_names:
        return ids
    keys = [
        clip_id if key is None else str(key) for clip_id, key in zip(ids, column(selection.table, "key"), strict=True)
    ]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"--to assets: two clips have the key {quoted(twice)}; give each its own in the column `key`")
    return keys
