"""What decides scores and a selection, as plain data: the modes there are, and the published method's values.

Nothing is computed here, and nothing heavy imported: the command line reads these, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

FITS = ("crop", "letterbox")
"""How a picture is brought into the model's square: its short side fills that, and what is too much of the other is cut
off on both sides; or its long side does, and beside it the square is black."""


@dataclass(frozen=True)
class Native:
    """The third: a picture is seen whole, at a size of its own that is whole blocks; see `geometry.native_size`."""

    max_pixels: int
    """The most that it has, in the model's pixels."""
    multiple: int
    """What both of its sides are a multiple of: a patch, or a block of patches."""


Fit: TypeAlias = str | Native
"""One of `FITS`, or a size of its own."""

CAMERA_MODES = ("none", "mean", "median", "similarity", "rigid", "affine")
"""How camera motion is estimated; the last three are fitted, and fall back to the median.

`similarity` is the published fit, whose axes each run from -1 to 1 whatever the picture's shape; `rigid` is a turn, a
zoom and a shift of any picture."""

FUSE_MODES = ("weighted", "max", "sum", "geomean", "product")
"""How the energies of motion and residual become one: at each pixel, and of `product` once for each cell."""

INCONSISTENCY_MODES = ("none", "mean", "variance")
"""What stands for a cell's motion: its length, or how far it differs from what is around it."""

LEAST_KSIZE, MOST_KSIZE = 3, 17
"""Sides of the neighbourhood, in cells, of which the odd ones count: 1 to 8 cells to each side."""

SCALE_MODES = ("slot", "clip", "none")
"""Over what the percentile is taken that counts as an energy of 1.0; with `none`, constants count as that."""

SUPPRESS_MODES = ("none", "time", "cell")
"""What makes patches of one place count less, once others of that place are kept."""

GROUPINGS = ("equal", "motion")
"""What groups of slots have in common: their length, or how much moves in them."""

TOKEN_ORDERS = ("raster", "zigzag")
"""In which order tokens stand, slot after slot and row after row of blocks: always from left to right, or to and fro,
so that what follows each other lies close together."""

MAX_CENTER_PRIOR = 7
"""A lifted energy must fit 32 bits."""


@dataclass(frozen=True)
class Scoring:
    """How patches are scored; see `dispatch.score_patches`."""

    mv_compensate: str = "median"
    center_prior: float = 0.3
    center_sigma: float = 0.35
    fuse: str = "weighted"
    w_mv: float = 1.0
    w_res: float = 1.0


@dataclass(frozen=True)
class Measure:
    """What is measured of motion and residual before they are fused; see `dispatch.score_patches`."""

    mv_inconsistency: str = "none"
    mv_incon_ksize: int = 3
    """Side of the neighbourhood in cells, odd, as in OneVision-Encoder's option of this name."""
    res_use_grad: bool = False
    scale: str = "slot"

    @property
    def radius(self) -> int:
        """Cells of the neighbourhood to each side of a cell."""
        return self.mv_incon_ksize // 2


@dataclass(frozen=True)
class Selection:
    """Which patches are kept of scored ones; see `reference.select.select_patches`."""

    k_keep: int = 2048
    """Patches to keep; a clip with fewer keeps all."""
    static_fallback: bool = False
    """Whether a static clip keeps whole slots."""
    static_abs_thresh: float = 126.0
    """Mean energy a pixel (0..255) below which a clip's 95th percentile is static."""
    static_rel_thresh: float = 0.38
    """Relative contrast below which twice that is static too."""
    static_uniform_frames: int = 4
    """Slots that a static clip keeps whole."""
    anchors: int = 0
    """Slots that any clip keeps whole, counted in `k_keep`."""
    patch: int = 14
    """Side of a patch in pixels, the unit of the thresholds."""
    suppress: str = "none"
    """One of `SUPPRESS_MODES`."""
    suppress_slots: int = 3
    """Slots before and behind a kept patch in which its place counts less, for `time`."""
    suppress_weight: float = 0.25
    """How much less, for `time`: what remains of a score, counted in 256ths."""


@dataclass(frozen=True)
class Grouping:
    """Which slots make a group; see `groups.group_edges`. Names and values of the bounds are codec-video-prep's."""

    groups: int = 1
    """How many there are."""
    by: str = "equal"
    """One of `GROUPINGS`."""
    min_frames: int = 8
    """Slots that a group has at least, by `motion`."""
    max_frames: int = 64
    """Slots that a group has at most, by `motion`."""

    def check(self, slots: int) -> None:
        """Raise ValueError, naming options as they are called outside, unless so many slots make such groups."""
        groups, least, most = self.groups, self.min_frames, self.max_frames
        if self.by not in GROUPINGS:
            raise ValueError(f"groups_by ({self.by!r}) must be one of {', '.join(GROUPINGS)}")
        if groups < 1:
            raise ValueError(f"groups ({groups}) must be >= 1")
        if self.by == "equal":
            if slots % groups:
                raise ValueError(f"groups ({groups}) must divide {slots}, the number of slots")
        elif not 1 <= least <= most:
            raise ValueError(f"min_group_frames ({least}) must be in 1..{most}, which is max_group_frames")
        elif not groups * least <= slots <= groups * most:
            raise ValueError(
                f"groups ({groups}) of min_group_frames ({least}) to max_group_frames ({most}) have "
                f"{groups * least} to {groups * most} slots, not {slots}"
            )
