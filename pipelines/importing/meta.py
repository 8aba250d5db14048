"""What the meta.json of a folder of pictures says of its clip, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecsieve.cache.layout import is_id
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.exchange.mosaics import IMAGES, META, OURS
from codecsieve.text import shortened

from .arrays import read_json

_MOST = 1 << 15
LAID = ("fit", "max_pixels", "merge", "token_order", "groups", "groups_by", "min_group_frames", "max_group_frames",
        "target_frames")  # fmt: skip
"""Options of the sieve that tell what lies where in a clip that was imported, too, whoever chose its patches."""
LETTERBOXED = {"fit": "letterbox"}
"""What others' pictures are."""


@dataclass(frozen=True)
class About:
    """A clip, by its folder.

    num_frames: slots; patch: side in pixels; grid: patches on each side of its square; laid: of `LAID`, options that
    are not at their defaults; is_ours: whether they say in which order the clip's patches stood; seen: rows and columns
    of patches that show its pictures, where that is said; kept: how many of its positions count, None: all; config: how
    they were chosen; error: why the folder is not read, if so; canvas: rows and columns of patches of a picture;
    pictures: how many mosaics there are. Of canvases also: frame: rows and columns of patches of one; files: names of
    canvases; fps.
    """

    id: str
    video: str = ""
    label: str | None = None
    num_frames: int = 0
    patch: int = 0
    grid: int = 0
    laid: Mapping[str, Any] = field(default_factory=dict)
    is_ours: bool = False
    seen: tuple[int, int] | tuple[None, None] = (None, None)
    kept: int | None = None
    canvas: tuple[int, int] = (0, 0)
    pictures: int = 0
    frame: tuple[int, int] = (0, 0)
    files: tuple[str, ...] = ()
    fps: float | None = None
    config: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def places(self) -> int:
        """What the first of a position's three numbers counts: slots, or with target_frames places in time."""
        return int(self.laid.get("target_frames", self.num_frames))


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
    except ConfigError as error:
        return About(folder.name, error=f"{shortened(name)}: {error}")
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return About(folder.name, error=f"{shortened(name)} does not say how many slots, and how large patches are")


def _about(meta: dict[str, Any], name: str) -> About:
    return _of_canvases(meta, name) if "hb_wb" in meta else _of_mosaics(meta, name)


def _of_mosaics(meta: dict[str, Any], name: str) -> About:
    cfg, ours = meta["cfg"], meta.get(OURS)
    num_frames, patch = int(cfg["seq_len_frames"]), int(cfg["patch_size"])
    side, pictures = int(cfg["square_size"]) // patch, int(cfg.get("num_images", IMAGES))
    grid = int(ours["grid"]) if ours else side
    if not all(0 < number <= _MOST for number in (num_frames, patch, grid, side, pictures)):
        raise ValueError(f"{num_frames} slots of {grid}x{grid} patches of {patch} px")
    json.dumps(ours or cfg, allow_nan=False)  # it goes into the cache's own JSON
    video = str(meta.get("video") or "")
    if not ours:  # whose square is letterboxed
        return About(str(meta.get("key") or name), video, None, num_frames, patch, grid, LETTERBOXED,
                     canvas=(side, side), pictures=pictures, config=dict(cfg))  # fmt: skip
    config, kept = dict(ours["config"]), int(ours["kept"])
    return About(str(ours["id"]), video, _label(ours), num_frames, patch, grid,
                 _laid(config, num_frames, patch, grid, kept), True, _seen(ours, grid), kept, canvas=(side, side),
                 pictures=pictures, config=config)  # fmt: skip


def _of_canvases(meta: dict[str, Any], name: str) -> About:
    ours = meta.get(OURS)
    num_frames, patch, fps = int(meta["seq_len"]), int(meta["patch"]), float(meta["fps"] or 0)
    rows, columns = map(int, meta["hb_wb"])
    config = dict(ours["config"] if ours else meta["config"])
    for of_one_video in () if ours else ("video", "out_dir"):
        config.pop(of_one_video, None)
    grid = int(config["input_size"]) // patch if ours else max(rows, columns)
    if not all(0 < number <= _MOST for number in (num_frames, patch, grid, rows, columns)) or rows % 2 or columns % 2:
        raise ValueError(f"{num_frames} slots of {rows}x{columns} patches of {patch} px")
    json.dumps(config, allow_nan=False)
    return About(
        id=str(ours["id"]) if ours else name,
        video=str(meta.get("video") or ""),
        label=_label(ours) if ours else None,
        num_frames=num_frames,
        patch=patch,
        grid=grid,
        laid=_laid(config, num_frames, patch, grid, int(ours["kept"])) if ours else LETTERBOXED,
        is_ours=bool(ours),
        seen=_seen(ours, grid) if ours else (None, None),
        canvas=(rows, columns),
        frame=(grid, grid) if ours else (rows, columns),
        files=tuple(map(str, meta["canvas_files"])),
        fps=fps if 0 < fps < _MOST else None,
        config=config,
    )


def _label(ours: dict[str, Any]) -> str | None:
    return None if ours.get("label") is None else str(ours["label"])


def _laid(config: dict[str, Any], num_frames: int, patch: int, grid: int, kept: int) -> dict[str, Any]:
    """The options of `LAID` that are not at their defaults. Raises ConfigError where they cannot be of such a clip."""
    given = {name: config[name] for name in LAID if name in config}
    sieved = SieveConfig(num_frames, grid * patch, patch, kept, **given)
    return {name: value for name in LAID if (value := getattr(sieved, name)) != getattr(SieveConfig, name)}


def _seen(ours: dict[str, Any], grid: int) -> tuple[int, int] | tuple[None, None]:
    rows, columns = ours.get("grid_rows"), ours.get("grid_columns")
    if type(rows) is int and type(columns) is int and 0 < min(rows, columns) <= max(rows, columns) <= grid:
        return rows, columns
    return None, None
