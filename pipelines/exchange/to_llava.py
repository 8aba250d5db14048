"""LLaVA-style training data: one line of JSON a clip, and beside it the clip's pictures, see `mosaics`.

    clips.jsonl                            {"id", "conversations", "image": [8 paths], "positions_thw": path}
    sample_KEY__STEM__HASH/STEM_000.png    and so on: KEY is made of the clip's id, STEM is its video's name without the
                                           suffix, HASH the first 8 hex digits of SHA-1 of its video's path

Paths are relative to the export unless they are given a prefix. What is said and asked is left to `conversations`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from codecsieve.cache.parquet import column
from codecsieve.files import publish

from .clip_folders import write_clip_folders
from .config import ExportOptions
from .conversations import check_conversations, conversation
from .mosaics import IMAGES, POSITIONS, check_mosaics, mosaic_files, picture_names
from .names import keys_of, stem_of
from .selection import Count, Selection

LINES = "clips.jsonl"
_LONGEST_KEY = 60  # so that a folder's name has room for the video's


def check_llava(selection: Selection, options: ExportOptions) -> None:
    """Raise ConfigError where the clips cannot be such data."""
    check_mosaics(selection, "llava", options.canvas)
    check_conversations(selection, options.question)


def write_llava(selection: Selection, folder: Path, count: Count, options: ExportOptions) -> None:
    """Write the clips' folders that are not in `folder` yet, and the lines. count: told of clips as they are done."""
    stems = [stem_of(uri) for uri in column(selection.table, "uri")]
    names = _names(selection, stems)

    def files(number: int, row: dict[str, Any], arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
        return mosaic_files(selection, row, arrays, stems[number], names[number], options.canvas)

    write_clip_folders(selection, folder, names, files, count)
    publish(folder / LINES, _lines(selection, names, stems, options))


def _names(selection: Selection, stems: list[str]) -> list[str]:
    ids = column(selection.table, "id")
    keys = [
        key if len(key) <= _LONGEST_KEY else hashlib.sha256(clip_id.encode()).hexdigest()[:32]
        for key, clip_id in zip(keys_of(ids), ids, strict=True)
    ]
    hashes = [
        hashlib.sha1(uri.encode(), usedforsecurity=False).hexdigest()[:8] for uri in column(selection.table, "uri")
    ]
    return [f"sample_{key}__{stem}__{digits}" for key, stem, digits in zip(keys, stems, hashes, strict=True)]


def _lines(selection: Selection, names: list[str], stems: list[str], options: ExportOptions) -> Iterator[bytes]:
    for number, row in enumerate(selection.known()):
        root = PurePosixPath(options.path_prefix) / names[number]
        line = {
            "id": row["id"],
            "conversations": conversation(row, options.question, IMAGES),
            "image": [str(root / name) for name in picture_names(stems[number], options.canvas)],
            "positions_thw": str(root / POSITIONS),
        }
        yield json.dumps(line, ensure_ascii=False).encode() + b"\n"
