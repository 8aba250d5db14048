"""lmms-video-utils: 64 frames, two groups of 32, four canvases of at most 224x224 px each; the rest by its defaults.

That is 2,048 patches of 14 px at most, scored by differences of frames, which PyAV decodes. It returns arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from lmms_video_utils import fetch_codec_video
from lmms_video_utils.config import CodecConfig
from lmms_video_utils.pack import canvas_shape_for
from loop import Shown, main

PATCH, PIXELS = 14, 224 * 224
OPTIONS: dict[str, Any] = {"target_canvas": 8, "group_size": 32, "images_per_group": 4, "max_pixels": PIXELS}
TOKEN, FRAME = 32, 49


@dataclass(frozen=True)
class Fetched:
    """Canvases uint8 [n, 3, H, W], positions int64 [K, 3], and what else is returned."""

    video: str
    canvases: np.ndarray
    positions: np.ndarray
    groups: np.ndarray
    given: int


def run(video: str, folder: Path) -> Fetched:
    """Fetch a video."""
    made: Any = fetch_codec_video(video, **OPTIONS)
    arrays = [made.canvases.numpy(), made.patch_positions.numpy(), made.gop_ids.numpy(), made.source_pts.numpy()]
    return Fetched(video, *arrays[:3], sum(array.nbytes for array in arrays))


def shown(fetched: Fetched) -> Shown:
    """The patches on the canvases.

    Blocks are cut from pictures of a size, and the whole first frame of a group is brought to the canvas's, which can
    be another; rows and columns count in either.
    """
    canvases = fetched.canvases.transpose(0, 2, 3, 1)
    with av.open(fetched.video) as container:
        stream = container.streams.video[0]
        cut_from = canvas_shape_for(CodecConfig(**OPTIONS), stream.height, stream.width)
    each = len(fetched.positions) // len(canvases)
    first = np.diff(fetched.groups, prepend=-1) != 0
    parts = [
        Shown.of_canvases(
            canvases[own], fetched.positions.reshape(-1, each, 3)[own].reshape(-1, 3), PATCH, tuple(extent)
        )
        for own, extent in ((first, canvases.shape[1:3]), (~first, cut_from))
    ]
    columns = zip(*((part.frames, part.boxes, part.means) for part in parts), strict=True)
    return Shown(*map(np.concatenate, columns))


def choose(video: str, folder: Path, budget: int) -> np.ndarray:
    """One group of all frames, of which one is kept whole, in single patches of 32 px."""
    count = budget // FRAME
    made: Any = fetch_codec_video(
        video, target_canvas=count, group_size=64, images_per_group=count, max_pixels=PIXELS, patch=TOKEN, block=1
    )
    positions = made.patch_positions.numpy()
    return positions[positions[:, 0] >= 0]


if __name__ == "__main__":
    main(run, shown, choose)
