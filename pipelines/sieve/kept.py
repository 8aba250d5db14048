"""What is kept of a clip: its selection, and all that is known of it once it is sieved.

The same for a clip that was sieved on a processor (`clip`) and on a GPU (`gpu_clip`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from codecsieve.codec.plan import FrameSample
from codecsieve.codec.source import PacketSource
from codecsieve.kernels.cpu.select import select_patches
from codecsieve.kernels.groups import seen_slots, select_in_groups
from codecsieve.kernels.rules import Selection
from codecsieve.mosaic import Pictured, draw_kept
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.native import grid_to_keep_of, in_square, seen_grid

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, repr=False)
class SievedClip(Pictured):
    """What is kept of one clip."""

    patches: np.ndarray
    """uint8 [K, 3, P, P], RGB; [0, 3, P, P] where pixels were not asked for."""
    positions: np.ndarray
    """uint16 [K, 3]: slot, patch row, patch column of each kept patch, slot by slot; with `target_frames`, in place of
    the slot, where in the clip its frame is."""
    scores: np.ndarray
    """int32 [K]: energy (0..255) summed over the patch's pixels; -1 where it shows nothing of the picture."""
    frame_ids: np.ndarray
    """int32 [T]: display index in the file of the frame in each slot."""
    indices: np.ndarray
    """int32 [K]: slot * gh * gw + row * gw + column, in the order of positions."""
    slot_scores: np.ndarray
    """int64 [T, gh, gw]: scores of all patches, kept or not."""
    codec: str
    width: int
    """Of the clip's first picture, upright, in luma samples."""
    height: int
    grid: tuple[int, int]
    """Rows and columns of patches that its pictures have: the square's, or at a size of its own those that show it."""
    fps: float
    frames: int
    """Frames in the clip."""
    distinct_frames: int
    """Different frames among the slots."""
    filled: int
    """Slots that show the nearest frame, since their own could not be decoded."""
    order: str
    """`timestamps` or `decoder`: what told the order of the frames."""
    signals: str
    """`bitstream`, `search`, `difference` or `bits`: what was used."""
    decoder: str
    """`ffmpeg` or `nvdec`: what decoded it."""
    pictures_decoded: int

    def __repr__(self) -> str:
        return (
            f"SievedClip: {self.codec}, {self.width}x{self.height}, {self.frames} frames at {self.fps:.4g}/s, "
            f"signals: {self.signals}, decoder: {self.decoder}\n"
            f"  patches    uint8 {list(self.patches.shape)}\n"
            f"  positions  uint16 {list(self.positions.shape)}: slot, row, column\n"
            f"  {len(self.indices)} of {self.slot_scores.size} patches kept of {len(self.slot_scores)} slots"
        )

    def show(self, slots: int = 8) -> Image.Image:
        """The picture of the patches kept, see `Pictured.show`."""
        patches = self.patches if len(self.patches) else None
        return draw_kept(patches, self.positions, self.slot_scores.shape[-1], slots)


class Decoded(Protocol):
    """What is asked of whatever was decoded: a `codec.clip.ClipDecoder`, or a window of a stream."""

    @property
    def source(self) -> PacketSource: ...
    @property
    def sample(self) -> FrameSample: ...
    @property
    def signals(self) -> str: ...
    @property
    def pictures_decoded(self) -> int: ...


def assemble_clip(
    clip: Decoded,
    config: SieveConfig,
    ids: np.ndarray,
    slot_scores: np.ndarray,
    indices: np.ndarray,
    patches: np.ndarray,
    size: tuple[int, int],
    decoder: str,
) -> SievedClip:
    """What is known of a clip once it is sieved; size: height and width of its first picture, upright."""
    facts = clip.source.facts
    positions = np.stack(np.unravel_index(indices, slot_scores.shape), axis=1)
    if config.target_frames is not None:
        positions[:, 0] = clip.sample.places(ids, config.target_frames)[positions[:, 0]]
    return SievedClip(
        patches=patches,
        positions=positions.astype(np.uint16),
        scores=slot_scores.ravel()[indices].astype(np.int32),
        frame_ids=ids.astype(np.int32),
        indices=indices,
        slot_scores=slot_scores,
        codec=facts.codec,
        width=size[1],
        height=size[0],
        grid=seen_grid(slot_scores) if config.fit == "native" else (config.grid, config.grid),
        fps=facts.fps,
        frames=clip.sample.frames,
        distinct_frames=len(np.unique(ids)),
        filled=int((ids != clip.sample.frame_ids).sum()),
        order=clip.source.order,
        signals=clip.signals,
        decoder=decoder,
        pictures_decoded=clip.pictures_decoded,
    )


def without_spare(scores: np.ndarray, sample: FrameSample) -> np.ndarray:
    """Scores of slots [T, gh, gw], but -1, as of what shows nothing, in the slots that are left over of a sample."""
    if sample.spare:
        scores[-sample.spare :] = -1
    return scores


def select_from(scores: np.ndarray, config: SieveConfig) -> np.ndarray:
    """The patches that a configuration keeps of a clip: int32 [K], indices slot by slot, ascending, or block by block.

    By saliency, `select_patches`. By sampling, whole slots, round(i / (n - 1) * (T - 1)). At random, all patches alike,
    but for padding, which comes last: a clip's scores are the seed, so that each clip has patches of its own, the same
    ones every time. With `merge`, blocks stand for patches in all of this, and blocks are in ascending order. With
    `groups`, each stands for the clip. In zigzag the order within slots is another, and nothing else. Last slots of
    which nothing is seen count only where the others are too few. Of clips at a size of their own it is chosen in that.
    """
    if config.fit == "native":
        own = grid_to_keep_of(scores, config)
        return in_square(_select(scores[:, : own[0], : own[1]], config), own, config.grid)
    return _select(scores, config)


def select_by_sampling(scores: np.ndarray, config: SieveConfig) -> np.ndarray:
    """What `--policy sampling` keeps for as many tokens, as far as these pay for whole slots: int32, ascending."""
    own = seen_grid(scores) if config.fit == "native" else (config.grid, config.grid)
    scores = scores[:, : own[0], : own[1]]
    rule = Selection(config.k_keep - config.k_keep % scores[0].size)
    if not rule.k_keep:
        return np.zeros(0, np.int32)
    kept = _whole_slots(seen_slots(scores, rule), rule.k_keep)
    return in_square(kept, own, config.grid)


def _select(scores: np.ndarray, config: SieveConfig) -> np.ndarray:
    def keep(group: np.ndarray) -> np.ndarray:
        return _kept_of(seen_slots(group, config.selection), config)

    return select_in_groups(scores, config.merge, config.grouping, keep, config.token_order)


def _kept_of(scores: np.ndarray, config: SieveConfig) -> np.ndarray:
    """The blocks that are kept of a group, by their scores [T, bh, bw]: integers, ascending."""
    if config.policy == "sampling":
        return _whole_slots(scores, config.selection.k_keep)
    if config.policy == "random":
        random = np.random.RandomState(zlib.crc32(np.ascontiguousarray(scores).tobytes()))  # the same in every numpy
        drawn = random.permutation(scores.size)
        last = scores.ravel()[drawn] < 0
        return np.sort(np.concatenate([drawn[~last], drawn[last]])[: config.selection.k_keep])
    return select_patches(scores, config.selection)


def _whole_slots(scores: np.ndarray, k_keep: int) -> np.ndarray:
    """All of so many slots, uniformly spaced, as k_keep pays for: int64, ascending."""
    blocks, count = scores[0].size, min(k_keep // scores[0].size, len(scores))
    slots = [(2 * i * (len(scores) - 1) + count - 1) // max(2 * (count - 1), 1) for i in range(count)]
    return (np.array(slots)[:, None] * blocks + np.arange(blocks)).ravel()
