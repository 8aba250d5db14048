"""The eight square pictures that LLaVA-style code has of a clip, with the place of every patch on them.

    NAME_000.png ... NAME_007.png   36 x 36 patches each: 504 px of 14-px patches, 576 px of 16-px ones
    positions_thw.npy               int32 [10368, 3]: slot, row, column, of picture after picture, row by row
    visible_indices.npy             int64 [10368]: slot * grid^2 + row * grid + column
    frame_ids.npy                   int32 [T]: each slot's frame in the video
    meta.json                       video, key, configuration; under `codecsieve`, which clip it is, how many are kept

Rows are sorted by slot, row, column. Where a clip keeps fewer than 10,368 patches its last one is repeated to the end,
with its own position: what made such folders first does so, and no reader is given a place that there is not. How
folders are called is left to `to_llava` and `to_assets`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from codecsieve.errors import ConfigError

from .canvases import SUFFIXES, Sheet, check_canvases, encode, pack
from .selection import Selection, npy

IMAGES, SIDE = 8, 36
ROWS = IMAGES * SIDE * SIDE
PATCHES = (14, 16)
POSITIONS, INDICES, FRAMES, META = "positions_thw.npy", "visible_indices.npy", "frame_ids.npy", "meta.json"
OURS = "codecsieve"
"""The key of meta.json below which stands what others do not have."""


def check_mosaics(selection: Selection, to: str, form: str) -> None:
    """Raise ConfigError where a cache's clips cannot be eight pictures of 36 x 36 patches."""
    check_canvases(selection, to, form)
    layout = selection.cache.layout
    if layout.patch not in PATCHES:
        raise ConfigError(f"--to {to} is for patches of 14 or 16 px, this cache has {layout.patch}")
    if layout.k_keep > ROWS:
        raise ConfigError(f"--to {to} has room for {ROWS} patches a clip, this cache keeps {layout.k_keep}")


def picture_names(stem: str, form: str) -> list[str]:
    """What the pictures of a clip are called."""
    return [f"{stem}_{number:03d}{SUFFIXES[form]}" for number in range(IMAGES)]


def mosaic_files(
    selection: Selection, row: dict[str, Any], arrays: dict[str, np.ndarray], stem: str, key: str, form: str
) -> Iterator[tuple[str, bytes]]:
    """The files of a clip's folder. row, arrays: of the clip; stem: of its pictures' names; key: of its folder."""
    grid, patch = selection.cache.grid, selection.cache.layout.patch
    order = np.lexsort(arrays["positions"].T[::-1])
    order = np.pad(order, (0, ROWS - len(order)), mode="edge")
    positions = arrays["positions"][order].astype(np.int32)
    canvases = pack(arrays["patches"][order], Sheet(SIDE, SIDE, patch))
    for name, canvas in zip(picture_names(stem, form), canvases, strict=True):
        yield name, encode(canvas, form)
    yield POSITIONS, npy(positions)
    yield INDICES, npy(positions.astype(np.int64) @ np.array([grid * grid, grid, 1]))
    yield FRAMES, npy(arrays["frame_ids"].astype(np.int32))
    yield META, json.dumps(_meta(selection, row, positions, key), ensure_ascii=False, indent=1).encode()


def _meta(selection: Selection, row: dict[str, Any], positions: np.ndarray, key: str) -> dict[str, Any]:
    layout, grid = selection.cache.layout, selection.cache.grid
    first = np.argwhere(np.ones((1, row["grid_rows"] or grid, row["grid_columns"] or grid)))
    return {
        "version": "codecsieve_1",
        "video": row["uri"],
        "key": key,
        "cfg": {
            "seq_len_frames": layout.num_frames,
            "num_images": IMAGES,
            "square_size": SIDE * layout.patch,
            "patch_size": layout.patch,
        },
        OURS: {
            "id": row["id"],
            "label": row["label"],
            "grid": grid,
            "grid_rows": row["grid_rows"],
            "grid_columns": row["grid_columns"],
            "kept": layout.k_keep,
            "repeated": ROWS - layout.k_keep,
            "first_frame_whole": bool((positions[: len(first)] == first).all()),
            "config": selection.cache.config,
        },
    }
