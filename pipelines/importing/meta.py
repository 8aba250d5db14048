"""What the meta.json of a folder of pictures says of its clip, whoever wrote it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecsieve.cache.layout import is_id
from codecsieve.errors import CacheError
from codecsieve.pipelines.exchange.mosaics import META, OURS
from codecsieve.text import shortened

from .arrays import read_json

_MOST = 1 << 15


@dataclass(frozen=True)
class About:
    """A clip, by its folder.

    num_frames: slots; patch: side in pixels; grid: patches on each side of its square; kept: how many of its positions
    count, None: all; config: how they were chosen; error: why the folder is not read, if so.
    """

    id: str
    video: str = ""
    label: str | None = None
    num_frames: int = 0
    patch: int = 0
    grid: int = 0
    kept: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def read_about(root: Path, folder: Path) -> About:
    """What is said of the folder, which lies in `root`; one that says too little, or leads elsewhere, has an error."""
    name = f"{folder.relative_to(root)}/{META}"
    try:
        about = _about(read_json(root, name), folder.name)
        if not is_id(about.id):
            raise CacheError(f"{shortened(name)} gives an id that is not printable, or too long")
        return about
    except CacheError as error:
        return About(folder.name, error=str(error))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return About(folder.name, error=f"{shortened(name)} does not say how many slots, and how large patches are")


def _about(meta: dict[str, Any], name: str) -> About:
    cfg, ours = meta["cfg"], meta.get(OURS)
    num_frames, patch = int(cfg["seq_len_frames"]), int(cfg["patch_size"])
    grid = int(ours["grid"]) if ours else int(cfg["square_size"]) // patch
    if not all(0 < number <= _MOST for number in (num_frames, patch, grid)):
        raise ValueError(f"{num_frames} slots of {grid}x{grid} patches of {patch} px")
    json.dumps(ours or cfg, allow_nan=False)  # it goes into the cache's own JSON
    video = str(meta.get("video") or "")
    if not ours:
        return About(str(meta.get("key") or name), video, None, num_frames, patch, grid, None, dict(cfg))
    label = None if ours.get("label") is None else str(ours["label"])
    return About(str(ours["id"]), video, label, num_frames, patch, grid, int(ours["kept"]), dict(ours["config"]))
