"""A folder a clip: each is whole or not there, and those that are there are not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codecsieve.files import make_folder, publish_folder

from .selection import Count, Selection

Files = Callable[[int, dict[str, Any], dict[str, np.ndarray]], Iterator[tuple[str, bytes]]]
"""Of a clip, by its number, what is known of it, and its arrays: names and bytes of the files in its folder."""


def write_clip_folders(selection: Selection, folder: Path, names: Sequence[str], files: Files, count: Count) -> None:
    """Write the folders, one name a clip, that are not in `folder` yet. count: told of clips as they are done.

    Raises CacheError where a clip is damaged or the disk fails.
    """
    make_folder(folder)
    paths = [folder / name for name in names]
    for number, path, row, arrays in selection.missing(paths, Path.is_dir, count):
        publish_folder(path, files(number, row, arrays))
