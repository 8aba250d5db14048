"""Which patches lie on a clip's canvases of whole 2x2 blocks, and where: the form of LLaVA-OneVision-2's tools.

    src_patch_position.npy    frame, row, column of each patch, canvas after canvas, row by row; -1 where there is none
    frame_ids.npy             the frame of each slot

Our own `export --to ov2` and codec-video-prep write it. The latter's frames are squares only where the video is one:
they lie in the middle of the square that our caches have, as a letterboxed picture does. Folders, pictures and what
meta.json says are left to others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codecsieve.errors import CacheError
from codecsieve.pipelines.exchange.blocks import SIDE, block_order
from codecsieve.pipelines.exchange.to_ov2 import POSITIONS
from codecsieve.text import shortened

from .arrays import parse_npy, read_bytes
from .meta import About


def read_canvases(root: Path, name: str, about: About, frame_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the patches that a folder keeps, and their places on its canvases: both int64 [K].

    They are block by block, as they lie there. Raises CacheError where they are not read.
    """
    what = f"{shortened(name)}/{POSITIONS}"
    positions = parse_npy(read_bytes(root, f"{name}/{POSITIONS}"), what)
    rows, columns = about.canvas
    canvases = len(about.files)
    if positions.shape != (canvases * rows * columns, 3):
        raise CacheError(f"{what} is {list(positions.shape)}, not frame, row and column of each patch on {canvases} "
                         f"canvases of {rows}x{columns}")  # fmt: skip
    order = block_order(rows, columns, canvases)
    places = order[positions[order, 0] >= 0]
    kept = positions[places].astype(np.int64)
    frame = np.array(about.frame)
    if (kept[:, 1:] < 0).any() or (kept[:, 1:] >= frame).any():
        raise CacheError(f"{what} has places outside of frames of {frame[0]}x{frame[1]} patches")
    kept[:, 1:] += (about.grid - frame) // (2 * SIDE) * SIDE  # to the middle, and blocks remain blocks
    slots = _slots_of(kept, about.grid, frame_ids, what)
    indices = (slots * about.grid + kept[:, 1]) * about.grid + kept[:, 2]
    if len(np.unique(indices)) < len(indices):
        raise CacheError(f"{what} has a patch twice")
    return indices, places


def _slots_of(kept: np.ndarray, grid: int, frame_ids: np.ndarray, what: str) -> np.ndarray:
    """The slot of each patch: int64 [K].

    A frame that several slots show (of a short clip) is in the first of them, up to a block that does not come behind
    the block before: there the next one begins.
    """
    shown: dict[int, list[int]] = {}
    for slot, frame in enumerate(frame_ids.tolist()):
        shown.setdefault(frame, []).append(slot)
    block = kept[:, 1] // SIDE * grid + kept[:, 2] // SIDE
    key = (block * SIDE + kept[:, 1] % SIDE) * SIDE + kept[:, 2] % SIDE
    last: dict[int, int] = {}
    slots = np.empty(len(kept), np.int64)
    for number, (frame, place) in enumerate(zip(kept[:, 0].tolist(), key.tolist(), strict=True)):
        left = shown.get(frame, [])
        if left and place <= last.get(frame, -1):
            left.pop(0)
        if not left:
            raise CacheError(f"{what} has patches of frame {frame}, which is in no slot, or too often")
        slots[number], last[frame] = left[0], place
    return slots
