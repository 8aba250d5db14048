"""The options of the sieve: one validated dataclass that the CLI, the cache's attributes and the API share.

Names and defaults are those of OneVision-Encoder's evaluation, as far as it has them. How an option acts is said
where it acts, in `codec` and `kernels`.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from dataclasses import dataclass
from typing import Any

from codecsieve.codec.facts import SIGNALS
from codecsieve.errors import ConfigError
from codecsieve.kernels.camera import CAMERA_MODES
from codecsieve.kernels.geometry import MAX_CENTER_PRIOR
from codecsieve.kernels.reference.energy import FUSE_MODES

METHOD = 1
"""Part of a cache's config: raised whenever the same options would keep other patches."""

POLICIES = ("saliency", "sampling", "random")
CHOICES = {"signals": SIGNALS, "mv_compensate": CAMERA_MODES, "fuse": FUSE_MODES, "policy": POLICIES}
"""The values of each option that is a word."""


PRESETS: dict[str, dict[str, Any]] = {
    "onevision": {},
    "surprise": {"w_mv": 1.0, "w_res": 3.0},
}
"""Options by one name. `onevision` is what OneVision-Encoder's evaluation does, and the default; `surprise` counts what
the codec could not predict three times as much as motion: better on MPEG-4 streams, much the same on H.264 and `search`
(docs/evidence.md)."""


@dataclass(frozen=True)
class SieveConfig:
    """What is sampled, how it is scored, and what is kept. Raises ConfigError for values that cannot work."""

    num_frames: int = 64
    """Slots: frames sampled a clip."""
    input_size: int = 224
    """Side of the square that the model sees, in its pixels: short side resized to it, centre cropped."""
    patch_size: int = 14
    """Side of a patch, in the model's pixels."""
    k_keep: int = 2048
    """Patches kept a clip."""
    signals: str = "auto"
    """`bitstream` (the codec's own motion, exact residual), `search` (block matching), `difference` (what changed since
    the frame before), or `auto`: the first where the file has it, else the second."""
    mv_compensate: str = "median"
    """Camera motion taken out: none, mean, median, similarity, affine."""
    center_prior: float = 0.3
    """How much more an energy in the picture's centre counts."""
    center_sigma: float = 0.35
    """Width of that prior, as a part of the short side."""
    fuse: str = "weighted"
    """How motion and residual become one energy: weighted, max, sum, geomean."""
    w_mv: float = 1.0
    """Weight of motion, for `weighted`."""
    w_res: float = 1.0
    """Weight of residual, for `weighted`."""
    static_fallback: bool = False
    """Keep a few whole slots of a clip in which little happens."""
    static_abs_thresh: float = 126.0
    """A clip is static if the 95th percentile of its patches' mean energy (0..255) is below this."""
    static_rel_thresh: float = 0.38
    """... or below twice that, with a relative contrast (p95 - p50) / p95 below this."""
    static_uniform_frames: int = 4
    """Slots kept whole of a static clip."""
    anchors: int = 0
    """Uniformly spaced slots kept whole in every clip, counted in `k_keep`."""
    policy: str = "saliency"
    """What the selection goes by: `saliency`, the scores; `sampling`, whole slots, uniformly spaced; `random`."""

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        for name in ("num_frames", "input_size", "patch_size", "k_keep", "static_uniform_frames", "anchors"):
            try:
                value = operator.index(getattr(self, name))
            except TypeError:
                raise ConfigError(f"{name} ({getattr(self, name)!r}) must be a whole number") from None
            object.__setattr__(self, name, value)  # numpy's integers become plain ones, as JSON wants them
            if value <= 0 and name not in ("anchors", "static_uniform_frames"):
                raise ConfigError(f"{name} ({value}) must be > 0")
        if self.input_size % self.patch_size:
            raise ConfigError(f"input_size ({self.input_size}) must be a multiple of patch_size ({self.patch_size})")
        if self.num_frames > 65535:
            raise ConfigError(f"num_frames ({self.num_frames}) must be <= 65535")
        if self.k_keep > self.patches_per_clip:
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be <= {self.patches_per_clip}, the patches of "
                f"{self.num_frames} slots of {self.grid}x{self.grid}"
            )
        if not 0 <= self.anchors <= self.num_frames:
            raise ConfigError(f"anchors ({self.anchors}) must be in 0..{self.num_frames}, the number of slots")
        if self.policy == "sampling" and self.k_keep % self.grid**2:
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be a multiple of {self.grid**2}, the patches of a slot, "
                "for policy sampling"
            )
        if self.static_uniform_frames < 0:
            raise ConfigError(f"static_uniform_frames ({self.static_uniform_frames}) must be >= 0")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} ({getattr(self, name)!r}) must be one of {', '.join(choices)}")
        for name in ("center_prior", "center_sigma", "w_mv", "w_res", "static_abs_thresh", "static_rel_thresh"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} ({value!r}) must be a number >= 0")
        if self.center_prior > MAX_CENTER_PRIOR:
            raise ConfigError(f"center_prior ({self.center_prior}) must be <= {MAX_CENTER_PRIOR}")
        if self.w_mv + self.w_res == 0:
            raise ConfigError("w_mv (0) and w_res (0) must not both be 0")

    @classmethod
    def preset(cls, name: str, **options: Any) -> SieveConfig:
        """The options of a preset, with others in their place where they are given.

        Raises ConfigError where there is no such preset, or an option cannot work.
        """
        if name not in PRESETS:
            raise ConfigError(f"preset ({name!r}) must be one of {', '.join(PRESETS)}")
        return cls(**PRESETS[name] | options)

    @property
    def grid(self) -> int:
        """Patches on each side of the model's square."""
        return self.input_size // self.patch_size

    @property
    def patches_per_clip(self) -> int:
        """Patches of all slots."""
        return self.num_frames * self.grid * self.grid

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON values, in the order above."""
        return dataclasses.asdict(self)
