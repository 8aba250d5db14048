"""codec-video-prep: 64 frames, two groups of 32, four canvases of at most 224x224 px each; the rest by its defaults.

The canvases are JPEG files that it writes itself; 2,048 patches of 14 px at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from codec_video_prep import run_preinfer
from loop import Shown, main
from PIL import Image

PATCH, PIXELS = 14, 224 * 224
TOKEN, FRAME = 32, 49


@dataclass(frozen=True)
class Prepared:
    """What was written of a video, in a folder."""

    folder: Path
    summary: dict[str, Any]
    given: int = 0


def run(video: str, folder: Path) -> Prepared:
    """Prepare a video by one decoding thread."""
    done = run_preinfer(
        video=video, out_dir=str(folder), num_sampled_frames=64, grouping_mode="fixed", group_size=32,
        images_per_group=4, max_pixels=PIXELS, thread_count=1,
    )  # fmt: skip
    return Prepared(folder, done.summary)


def shown(prepared: Prepared) -> Shown:
    """The patches on the canvases."""
    files = sorted(prepared.folder.glob("canvas_*.jpg"))
    canvases = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    positions = np.load(prepared.folder / "src_patch_position.npy")
    return Shown.of_canvases(canvases, positions, PATCH, tuple(prepared.summary["resize_hw"]))


def choose(video: str, folder: Path, budget: int) -> np.ndarray:
    """One group of all frames, of which one is kept whole, in single patches of 32 px."""
    run_preinfer(
        video=video, out_dir=str(folder), num_sampled_frames=64, grouping_mode="fixed", group_size=64,
        images_per_group=budget // FRAME, patch=TOKEN, block_size=1, max_pixels=PIXELS, thread_count=1,
    )  # fmt: skip
    positions = np.load(folder / "src_patch_position.npy")
    return positions[positions[:, 0] >= 0]


if __name__ == "__main__":
    main(run, shown, choose)
