"""What decides scores and a selection, as plain data: the modes there are, and the published method's values.

Nothing is computed here, and nothing heavy imported: the command line reads these, too.
"""

from __future__ import annotations

from dataclasses import dataclass

FITS = ("crop", "letterbox")
"""How a picture is brought into the model's square: its short side fills that, and what is too much of the other is cut
off on both sides; or its long side does, and beside it the square is black."""

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
