"""Clips as LLaVA-OneVision-2, codec-video-prep and lmms-video-utils have them: canvases of whole 2x2 blocks.

    clips/KEY/canvas_000.png, ...       n canvases of rows x columns patches, blocks packed densely, row by row
    clips/KEY/patch_positions.npy       int32 [n * rows * columns, 3]: frame, row, column, block after block, as a model
                                        takes them (a block is what it merges to one token)
    clips/KEY/src_patch_position.npy    the same canvas after canvas, row by row, as codec-video-prep reads them
    clips/KEY/image_grid_thw.npy        int64 [n, 3]: 1, rows, columns
    clips/KEY/gop_ids.npy               int64 [n]: which group of slots a canvas belongs to, 0 for the first
    clips/KEY/source_pts.npy            float32 [n]: seconds of the first frame on a canvas, by the video's frame rate
    clips/KEY/frame_ids.npy             int32 [T]
    clips/KEY/meta.json                 fps, canvas_files, video, configuration; `padding`: places that hold no patch
    clips.jsonl                         {"id", "messages", "images", "patch_positions", "fps", "images_source"}

A canvas is as large as the model's own frame. Only where the kept patches do not fill a whole number of them are they
lower, and what is left of the last one is black, at position -1. Each group of slots has as many canvases of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from codecsieve.cache.parquet import column
from codecsieve.errors import ConfigError
from codecsieve.files import publish
from codecsieve.text import quoted, shortened

from .blocks import in_blocks, raster_order
from .canvases import SUFFIXES, Sheet, check_canvases, encode, pack
from .clip_folders import write_clip_folders
from .config import ExportOptions
from .conversations import check_conversations, conversation
from .names import keys_of
from .selection import Count, Selection, npy

CLIPS, LINES = "clips", "clips.jsonl"
POSITIONS = "src_patch_position.npy"
_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def check_ov2(selection: Selection, options: ExportOptions) -> None:
    """Raise ConfigError where the clips cannot be such data; of blocks, the first clip is looked at."""
    check_canvases(selection, "ov2", options.canvas)
    check_conversations(selection, options.question)
    if selection.cache.config.get("target_frames") is not None:
        raise ConfigError(
            "--to ov2 wants each patch's frame, which a cache made with target_frames does not tell; make it without"
        )
    groups, kept = groups_of(selection), selection.cache.layout.k_keep
    if not isinstance(groups, int) or groups < 1 or kept % groups:
        raise ConfigError(
            f"--to ov2: cache {selection.cache.location} says that it has {quoted(groups)} groups, of {kept} patches; "
            "make it again"
        )
    clip = selection.cache[column(selection.table, "id")[0]]
    _blocks(selection, clip.positions, clip.clip_id)


def write_ov2(selection: Selection, folder: Path, count: Count, options: ExportOptions) -> None:
    """Write the clips' folders that are not in `folder` yet, and the lines. count: told of clips as they are done.

    Raises ConfigError where a clip is not kept in whole blocks.
    """
    keys = keys_of(column(selection.table, "id"))

    def files(_: int, row: dict[str, Any], arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
        return _files(selection, row, arrays, options.canvas)

    write_clip_folders(selection, folder / CLIPS, keys, files, count)
    publish(folder / LINES, _lines(selection, keys, options))


def groups_of(selection: Selection) -> int:
    """How many groups of slots a clip has. Each keeps as many patches, and these follow each other."""
    return selection.cache.config.get("groups", 1)


def sheet_of(selection: Selection) -> tuple[Sheet, int]:
    """What fits on a canvas, and how many a group has: as few as can be, no larger than the model's frame."""
    grid, layout = selection.cache.grid, selection.cache.layout
    across = grid // 2
    blocks = layout.k_keep // groups_of(selection) // 4
    count = math.ceil(blocks / across**2)
    return Sheet(2 * math.ceil(blocks / (count * across)), 2 * across, layout.patch), count


def _files(
    selection: Selection, row: dict[str, Any], arrays: dict[str, np.ndarray], form: str
) -> Iterator[tuple[str, bytes]]:
    (sheet, each), groups = sheet_of(selection), groups_of(selection)
    order = _blocks(selection, arrays["positions"], row["id"])
    count, padding = groups * each, groups * each * sheet.patches - len(order)
    kept = arrays["positions"][order].astype(np.int32)
    kept[:, 0] = arrays["frame_ids"][kept[:, 0]]
    places = _filled_up(kept, groups, padding, -1)
    patches = _filled_up(arrays["patches"][order], groups, padding, 0)
    raster = raster_order(sheet.rows, sheet.columns, count)
    names = _canvas_names(count, form)
    for name, canvas in zip(names, pack(patches[raster], sheet), strict=True):
        yield name, encode(canvas, form)
    yield "patch_positions.npy", npy(places)
    yield POSITIONS, npy(places[raster])
    yield "image_grid_thw.npy", npy(np.tile(np.array([[1, sheet.rows, sheet.columns]]), (count, 1)))
    yield "gop_ids.npy", npy(np.repeat(np.arange(groups), each))
    first = places[:: sheet.patches, 0]
    yield "source_pts.npy", npy((first / row["fps"] if row["fps"] else np.zeros(count)).astype(np.float32))
    yield "frame_ids.npy", npy(arrays["frame_ids"].astype(np.int32))
    yield "meta.json", json.dumps(_meta(selection, row, names, sheet, padding), ensure_ascii=False, indent=1).encode()


def _filled_up(kept: np.ndarray, groups: int, padding: int, value: int) -> np.ndarray:
    """What is kept [K, ...], with its share of so much padding behind each group's: [K + padding, ...]."""
    grouped = kept.reshape(groups, -1, *kept.shape[1:])
    behind = [(0, 0), (0, padding // groups)] + [(0, 0)] * (grouped.ndim - 2)
    return np.pad(grouped, behind, constant_values=value).reshape(-1, *kept.shape[1:])


def _blocks(selection: Selection, positions: np.ndarray, clip_id: str) -> np.ndarray:
    order = in_blocks(positions, selection.cache.grid)
    if order is None:
        raise ConfigError(
            f"clip {shortened(clip_id)} of cache {selection.cache.location} is not kept in whole 2x2 blocks, which "
            "--to ov2 needs; make the cache with precompute --merge 2"
        )
    return order


def _canvas_names(count: int, form: str) -> list[str]:
    return [f"canvas_{number:03d}{SUFFIXES[form]}" for number in range(count)]


def _meta(selection: Selection, row: dict[str, Any], names: list[str], sheet: Sheet, padding: int) -> dict[str, Any]:
    cache = selection.cache
    return {
        "video": row["uri"],
        "fps": row["fps"],
        "patch": sheet.patch,
        "block_size": 2,
        "hb_wb": [sheet.rows, sheet.columns],
        "seq_len": cache.layout.num_frames,
        "num_groups": groups_of(selection),
        "total_images": len(names),
        "total_patches": len(names) * sheet.patches,
        "canvas_files": names,
        "codecsieve": {
            "id": row["id"],
            "label": row["label"],
            "grid_rows": row["grid_rows"],
            "grid_columns": row["grid_columns"],
            "kept": cache.layout.k_keep,
            "padding": padding,
            "config": cache.config,
        },
    }


def _lines(selection: Selection, keys: list[str], options: ExportOptions) -> Iterator[bytes]:
    count = groups_of(selection) * sheet_of(selection)[1]
    for number, row in enumerate(selection.known()):
        root = PurePosixPath(options.path_prefix) / CLIPS / keys[number]
        turns = conversation(row, options.question, count)
        line = {
            "id": row["id"],
            "messages": [{"role": _ROLES[turn["from"]], "content": turn["value"]} for turn in turns],
            "images": [str(root / name) for name in _canvas_names(count, options.canvas)],
            "patch_positions": [str(root / POSITIONS)],
            "fps": [row["fps"]],
            "images_source": [row["uri"]],
        }
        yield json.dumps(line, ensure_ascii=False).encode() + b"\n"
