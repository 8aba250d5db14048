"""What decides scores and a selection, as plain data: the modes there are, and the published method's values.

Nothing is computed here, and nothing heavy imported: the command line reads these, too.
"""

from __future__ import annotations

from dataclasses import dataclass

CAMERA_MODES = ("none", "mean", "median", "similarity", "rigid", "affine")
"""How camera motion is estimated; the last three are fitted, and fall back to the median.

`similarity` is the published fit, whose axes each run from -1 to 1 whatever the picture's shape; `rigid` is a turn, a
zoom and a shift of any picture."""

FUSE_MODES = ("weighted", "max", "sum", "geomean")
"""How the energies of motion and residual become one."""

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
