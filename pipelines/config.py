"""The options of the sieve and of a run: validated dataclasses that command line, cache and API share.

Names and defaults are those of OneVision-Encoder's evaluation, as far as it has them. How an option acts is said
where it acts: in `codec` and `kernels`, in `sieve`, in `precompute`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

from codecsieve.codec.fields import DECODER_FIELDS
from codecsieve.codec.signals import SIGNALS
from codecsieve.codec.spread import SPREADS, Spread
from codecsieve.errors import ConfigError
from codecsieve.kernels.rules import (
    CAMERA_MODES,
    FITS,
    FUSE_MODES,
    GROUPINGS,
    INCONSISTENCY_MODES,
    LEAST_KSIZE,
    MAX_CENTER_PRIOR,
    MOST_KSIZE,
    SCALE_MODES,
    SUPPRESS_MODES,
    TOKEN_ORDERS,
    Fit,
    Grouping,
    Measure,
    Native,
    Scoring,
    Selection,
)
from codecsieve.machine import MAX_MEMORY
from codecsieve.options import check_names, check_options, declared, option
from codecsieve.text import quoted

METHOD = 1
"""Part of a cache's config, see `SieveConfig.method`: raised whenever the same options would keep other patches.

Not raised when frames and colours of odd files were mended (timestamps that are decode times, sizes that change, rare
pixel formats): of all other files the patches are the same, and a cache is weeks of work. Rows made before that have
no `order` in the index.
"""

LEAST_MEMORY = 200 * 10**6
"""Bytes without which a worker cannot make the smallest of clips."""
POLICIES = ("saliency", "sampling", "random")
STORES = ("patches", "indices")
PRUNES = ("missing", "failed")

Preset = Literal["contrast", "onevision", "onevision-lmm", "surprise"]
PRESETS: dict[Preset, dict[str, Any]] = {
    "contrast": {"mv_inconsistency": "mean", "mv_incon_ksize": 9, "center_prior": 0.0},
    "onevision": {"mv_compensate": "similarity", "static_fallback": True},
    "onevision-lmm": {
        "fit": "letterbox",
        "input_size": 504,
        "k_keep": 8 * 36 * 36,
        "anchors": 1,
        "mv_compensate": "median",
        "center_prior": 0.0,
    },
    "surprise": {"w_mv": 1.0, "w_res": 3.0},
}
"""Options by one name; all others are at their defaults, which are the published ones, one by one.

`contrast` keeps what moves unlike its surroundings, and what was not predicted, wherever in the picture. `onevision` is
what OneVision-Encoder's probe does where nothing is said, `onevision-lmm` what it prepares for language models: whole
pictures, the first slot whole. `surprise` counts what the codec could not predict three times as much as motion. What
each is worth: docs/evidence.md.
"""

SHAPES = ("fit", "input_size", "k_keep", "anchors")
"""Options of presets that say what is seen and how much is kept of it, not how it is chosen."""

PRESET_OPTIONS = sorted({option for preset in PRESETS.values() for option in preset} - {*SHAPES})
"""Options that presets choose by."""

DEFAULT_PRESET: Preset = "contrast"
"""Of all who name none, see `precompute.chosen` for caches that are gone on with."""


GIVEN = "given"
"""What stands for the policy, and a clip's signals, where somebody else chose the patches (`importing`)."""


def check_sieved(config: Mapping[str, Any], cache: object) -> None:
    """Raise ConfigError where a cache, by its config, was imported: by which options it was sieved nobody knows."""
    if config.get("policy") == GIVEN:
        raise ConfigError(
            f"the patches of cache {cache} were chosen elsewhere and imported; no options of the sieve make them, so "
            "use another cache"
        )


IDLE_UNLESS = {"fps": ("spread", "fps"), "max_pixels": ("fit", "native")}
"""Options that say nothing unless another has this value."""


def refuse_idle(given: Mapping[str, Any], config: SieveConfig) -> None:
    """Raise ConfigError for an option that somebody gave and that says nothing beside the others: `fps` alone would
    sample as without it.
    """
    for name, (other, value) in IDLE_UNLESS.items():
        if name in given and (is_now := getattr(config, other)) != value:
            raise ConfigError(f"{name} ({getattr(config, name)}) is for {other} {value}; here {other} is {is_now}")


def options_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a cache says of itself, the sieve's options; those that it does not know are at their defaults."""
    return {own.name: config.get(own.name, own.default) for own in declared(SieveConfig)}


def decoder_fields_of(reader: str | None) -> str:
    """What `decoder_fields` is of a cache, by its `bitstream_reader`: `auto` where nobody read a bitstream."""
    return "auto" if reader is None else "on" if reader == "decoder" else "off"


class WindowKeywords(TypedDict, total=False):
    """The fields of `SieveConfig` that can be meant of any frames, whoever says which; see `SieveKeywords`."""

    input_size: int
    patch_size: int
    k_keep: int
    signals: Literal["auto", "bitstream", "search", "difference", "bits"]
    mv_compensate: Literal["none", "mean", "median", "similarity", "rigid", "affine"]
    center_prior: float
    center_sigma: float
    fuse: Literal["weighted", "max", "sum", "geomean", "product"]
    w_mv: float
    w_res: float
    static_fallback: bool
    static_abs_thresh: float
    static_rel_thresh: float
    static_uniform_frames: int
    anchors: int
    policy: Literal["saliency", "sampling", "random"]
    target_frames: int | None
    decoder_fields: Literal["auto", "on", "off"]
    mv_inconsistency: Literal["none", "mean", "variance"]
    mv_incon_ksize: int
    res_use_grad: bool
    scale: Literal["slot", "clip", "none"]
    suppress: Literal["none", "time", "cell"]
    suppress_slots: int
    suppress_weight: float
    fit: Literal["crop", "letterbox", "native"]
    merge: int
    groups: int
    groups_by: Literal["equal", "motion"]
    min_group_frames: int
    max_group_frames: int
    token_order: Literal["raster", "zigzag"]
    max_pixels: int


class SieveKeywords(WindowKeywords, total=False):
    """The fields of `SieveConfig` as functions take them, so that type checkers and editors know each by name.

    A test holds names, types and choices against the dataclass's.
    """

    num_frames: int
    spread: Literal["ends", "middle", "jitter", "thrifty", "off-keyframe", "fps"]
    spread_seed: int
    fps: float


@dataclass(frozen=True)
class SieveConfig:
    """What is sampled, how it is scored, and what is kept. Raises ConfigError for values that cannot work."""

    num_frames: int = option(64, "Frames sampled a clip.", at_least=1, at_most=65535)
    input_size: int = option(224, "Side of the square the model sees, px.", above=0)
    patch_size: int = option(Selection.patch, "Side of a patch, px.", above=0)
    k_keep: int = option(Selection.k_keep, "Patches kept a clip.", above=0)
    signals: str = option(
        "auto",
        "The codec's own motion and residual; block matching; what changed since the frame before; what the encoder "
        "spent; auto: the first where the file has it, else the second.",
        choices=SIGNALS,
    )
    mv_compensate: str = option(Scoring.mv_compensate, "Camera motion that is taken out.", choices=CAMERA_MODES)
    center_prior: float = option(
        Scoring.center_prior, "How much more the centre counts.", at_least=0, at_most=MAX_CENTER_PRIOR
    )
    center_sigma: float = option(Scoring.center_sigma, "Its width, of the short side.", at_least=0)
    fuse: str = option(Scoring.fuse, "How motion and residual become one energy.", choices=FUSE_MODES)
    w_mv: float = option(Scoring.w_mv, "Weight of motion.", at_least=0)
    w_res: float = option(Scoring.w_res, "Weight of residual.", at_least=0)
    static_fallback: bool = option(
        Selection.static_fallback, "Keep whole slots of clips in which little happens.", both=True
    )
    static_abs_thresh: float = option(Selection.static_abs_thresh, "Energy (0..255) of such clips.", at_least=0)
    static_rel_thresh: float = option(Selection.static_rel_thresh, "Contrast of such clips.", at_least=0)
    static_uniform_frames: int = option(Selection.static_uniform_frames, "Slots kept whole of them.", at_least=0)
    anchors: int = option(Selection.anchors, "Slots kept whole of every clip; one is the first.", at_least=0)
    policy: str = option(
        "saliency",
        "What is kept: the highest scores; whole slots, uniformly spaced; any.",
        choices=POLICIES,
    )
    spread: str = option(
        "ends",
        "Which frames the slots show: evenly from first to last; of equal segments the middle one, any one, the one "
        "for which the fewest pictures are decoded, or the middle one but for keyframes, which predict nothing; --fps "
        "frames a second, as far as there are slots.",
        choices=SPREADS,
        added=True,
    )
    spread_seed: int = option(0, "Seed of --spread jitter.", at_least=0, at_most=2**32 - 1, added=True)
    target_frames: int | None = option(
        None,
        "A patch's time is its frame's place in the clip, in so many.",
        new="its slot",
        at_least=1,
        at_most=65536,
        added=True,
    )
    decoder_fields: str = option(
        "auto",
        "Read motion and references that the decoder keeps in memory, for exact signals of H.264 and HEVC: where this "
        "FFmpeg is known, and as an existing cache has it; or it must be; or never.",
        choices=DECODER_FIELDS,
        added=True,
    )
    mv_inconsistency: str = option(
        Measure.mv_inconsistency,
        "What stands for a cell's motion in place of its length: how far it is from the mean of the motion around it; "
        "the variance of lengths there.",
        choices=INCONSISTENCY_MODES,
        added=True,
    )
    mv_incon_ksize: int = option(
        Measure.mv_incon_ksize,
        "Side of the square around it, in cells of 4x4 pixels, odd: 3 is one cell to each side, 9 four.",
        at_least=LEAST_KSIZE,
        at_most=MOST_KSIZE,
        added=True,
    )
    res_use_grad: bool = option(
        Measure.res_use_grad,
        "Take how steeply the residual changes, in place of how large it is.",
        both=True,
        added=True,
    )
    scale: str = option(
        Measure.scale,
        "What counts as an energy of 1: 95th percentiles of the slot; of the clip, for which residuals are held until "
        "its end; none, but 16 px of motion (a variance of 16 px^2) and a residual of 255.",
        choices=SCALE_MODES,
        added=True,
    )
    suppress: str = option(
        Selection.suppress,
        "What makes patches count less where others of their row and column are kept: one kept in a slot nearby; their "
        "rank among all of these, by which scores are divided.",
        choices=SUPPRESS_MODES,
        added=True,
    )
    suppress_slots: int = option(
        Selection.suppress_slots, "Slots to either side that --suppress time counts as nearby.", at_least=1, added=True
    )
    suppress_weight: float = option(
        Selection.suppress_weight, "What a score counts there of itself.", at_least=0, at_most=1, added=True
    )
    fit: str = option(
        "crop",
        "How a picture is brought into the square: its short side fills it, and the long one is cropped; its long side "
        "fills it, centred on black, whose patches are kept last; or it is as large as it is, in whole blocks, up to "
        "--max-pixels and the square's side.",
        choices=(*FITS, "native"),
        added=True,
    )
    merge: int = option(
        1,
        "Side of the blocks of patches of which all are kept or none, side by side: 2 for language models that merge "
        "2x2 patches to one token.",
        at_least=1,
        added=True,
    )
    groups: int = option(
        1,
        "Groups of slots, each of which keeps its share of --k-keep as if it were a clip, --anchors and all.",
        at_least=1,
        added=True,
    )
    groups_by: str = option(
        Grouping.by,
        "What groups have in common: as many slots; or as much motion and residual, so that they are short where much "
        "moves.",
        choices=GROUPINGS,
        added=True,
    )
    min_group_frames: int = option(
        Grouping.min_frames, "Slots that a group by motion has at least.", at_least=1, added=True
    )
    max_group_frames: int = option(
        Grouping.max_frames, "Slots that a group by motion has at most.", at_least=1, added=True
    )
    token_order: str = option(
        "raster",
        "In which order a slot's patches stand, or its blocks with --merge: row by row from left to right; or every "
        "second row from right to left, so that neighbours follow each other.",
        choices=TOKEN_ORDERS,
        added=True,
    )
    max_pixels: int = option(
        392 * 392, "Pixels that a picture of --fit native has at most, once it is resized.", at_least=1, added=True
    )
    fps: float = option(Spread.fps, "Slots a second of --spread fps.", at_least=0.001, at_most=1000, added=True)

    def __post_init__(self) -> None:
        """Check every value against its rule, and against the others."""
        check_options(self)
        if self.input_size % self.patch_size:
            raise ConfigError(f"input_size ({self.input_size}) must be a multiple of patch_size ({self.patch_size})")
        if self.k_keep > self.patches_per_clip:
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be <= {self.patches_per_clip}, the patches of "
                f"{self.num_frames} slots of {self.grid}x{self.grid}"
            )
        if self.grid % self.merge:
            raise ConfigError(f"merge ({self.merge}) must divide {self.grid}, the patches on each side of the square")
        if self.k_keep % self.merge**2:
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be a multiple of {self.merge**2}, the patches of a block, "
                f"for merge {self.merge}"
            )
        try:
            self.grouping.check(self.num_frames)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if self.k_keep % (self.groups * self.merge**2):
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be a multiple of {self.groups * self.merge**2}, for groups {self.groups}"
                + (f" of blocks of {self.merge**2}" if self.merge > 1 else "")
            )
        slots, of = self.group_slots, " of a group" if self.groups > 1 else ""
        if self.k_keep > self.groups * slots * self.grid**2:
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be <= {self.groups * slots * self.grid**2}, the patches of {self.groups} "
                f"groups of {slots} slots, which is min_group_frames"
            )
        if self.anchors > slots:
            raise ConfigError(f"anchors ({self.anchors}) must be in 0..{slots}, the number of slots{of}")
        if self.policy == "sampling" and self.k_keep % (self.groups * self.grid**2):
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be a multiple of {self.groups * self.grid**2}, the patches of a slot"
                f"{' of every group' if of else ''}, for policy sampling"
            )
        if self.fit == "native":
            self._check_native()
        if self.mv_incon_ksize % 2 == 0:
            raise ConfigError(f"mv_incon_ksize ({self.mv_incon_ksize}) must be odd: the side of a square about a cell")
        if self.w_mv + self.w_res == 0:
            raise ConfigError("w_mv (0) and w_res (0) must not both be 0")

    def _check_native(self) -> None:
        block, square = (self.patch_size * self.merge) ** 2, self.input_size**2
        if not block <= self.max_pixels <= square:
            raise ConfigError(
                f"max_pixels ({self.max_pixels}) must be in {block}..{square}, a block's and those of the square of "
                f"input_size ({self.input_size}), which is the longest that a side may be"
            )
        most = self.num_frames * (self.max_pixels // block) * self.merge**2
        if self.k_keep > most:
            raise ConfigError(
                f"k_keep ({self.k_keep}) must be <= {most}, the patches of {self.num_frames} slots of "
                f"{self.max_pixels} pixels"
            )
        if self.policy == "sampling":
            raise ConfigError("policy ('sampling') keeps whole slots, of which patches of clips of --fit native have "
                              "different numbers; use fit crop or letterbox")  # fmt: skip

    @classmethod
    def preset(cls, name: Preset, /, **options: Unpack[SieveKeywords]) -> SieveConfig:
        """The options of a preset, with others in their place where they are given.

        Raises ConfigError where there is no such preset, an option cannot work, or one says nothing beside the others;
        OptionError for one there is not.
        """
        if name not in PRESETS:
            raise ConfigError(f"preset ({quoted(name)}) must be one of {', '.join(PRESETS)}")
        check_names(cls.preset, options, cls)
        config = cls(**{**PRESETS[name], **options})
        refuse_idle(options, config)
        return config

    def by_preset(self, name: Preset) -> SieveConfig:
        """The same chosen by another preset: what only other presets choose by is at its default again, and `SHAPES`
        stay as they are.
        """
        own = PRESETS[name]
        chosen = {option: own.get(option, getattr(type(self), option)) for option in PRESET_OPTIONS}
        return dataclasses.replace(self, **chosen)

    @property
    def fused(self) -> str:
        """How motion and residual are fused: as `fuse` says, but the residual alone of signals that have no motion, of
        which a product is 0 everywhere.
        """
        still = self.signals in ("difference", "bits") and self.fuse in ("geomean", "product")
        return "max" if still else self.fuse

    @property
    def grid(self) -> int:
        """Patches on each side of the model's square."""
        return self.input_size // self.patch_size

    @property
    def patches_per_clip(self) -> int:
        """Patches of all slots."""
        return self.num_frames * self.grid * self.grid

    @property
    def method(self) -> int:
        """METHOD, and one more where only these options keep other patches than they did: a cache is weeks of work, and
        one that was made with others can be gone on with. `similarity` is another fit than it was.
        """
        return METHOD + (self.mv_compensate == "similarity")

    @property
    def fitting(self) -> Fit:
        """How a picture is brought into the square, with its numbers."""
        return Native(self.max_pixels, self.patch_size * self.merge) if self.fit == "native" else self.fit

    @property
    def spreading(self) -> Spread:
        """Which frames the slots show."""
        return Spread(self.spread, self.spread_seed, self.fps)

    @property
    def grouping(self) -> Grouping:
        """Which slots make a group."""
        return Grouping(self.groups, self.groups_by, self.min_group_frames, self.max_group_frames)

    @property
    def group_slots(self) -> int:
        """Slots that every group has at least."""
        if self.groups == 1 or self.groups_by == "equal":
            return self.num_frames // self.groups
        return self.min_group_frames

    @property
    def selection(self) -> Selection:
        """Those of the options that choose among scores: of a group's patches, or of the blocks that these make."""
        return Selection(
            self.k_keep // (self.groups * self.merge**2),
            self.static_fallback,
            self.static_abs_thresh,
            self.static_rel_thresh,
            self.static_uniform_frames,
            self.anchors,
            self.patch_size * self.merge,
            self.suppress,
            self.suppress_slots,
            self.suppress_weight,
        )

    @property
    def measure(self) -> Measure:
        """Those of the options that say what is measured of motion and residual."""
        return Measure(self.mv_inconsistency, self.mv_incon_ksize, self.res_use_grad, self.scale)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON values, in the order above; of those that older caches do not know, as far as
        they are not at their defaults: a cache without one was made with its default.
        """
        unsaid = {own.name for own in declared(type(self)) if own.metadata["added"]}
        values = dataclasses.asdict(self)
        default = dataclasses.asdict(type(self)())
        return {name: value for name, value in values.items() if name not in unsaid or value != default[name]}


class RunKeywords(TypedDict, total=False):
    """The fields of `RunOptions`, likewise; a size may be given as text such as "4 GB"."""

    store: Literal["patches", "indices"]
    device: str
    workers: int | None
    retry_failed: bool
    fail_fast: bool
    clip_timeout: float
    max_memory: int | str
    part: str | None
    prune: Sequence[Literal["missing", "failed"]]


@dataclass(frozen=True)
class RunOptions:
    """How clips are put into a cache; what is put there does not depend on it. Raises ConfigError."""

    store: str = option("patches", "Keep the patches' pixels, or only which they are.", choices=STORES)
    device: str = option("auto", "Where clips are made: auto takes every GPU that can decode, or else the processor.")
    workers: int | None = option(
        None,
        "Clips at a time, on the processor or on each GPU; 0: no process but this one, for debugging.",
        new="one a core; on a GPU, one a decoder engine",
        at_least=0,
    )
    retry_failed: bool = option(False, "Try clips again that failed before.")
    fail_fast: bool = option(False, "Stop at the first clip that fails.")
    clip_timeout: float = option(600.0, "Seconds that one clip may take.", above=0)
    max_memory: int = option(
        MAX_MEMORY,
        "Memory that one clip may take, such as 500 MB; one that may take more is refused before it is decoded.",
        size=True,
        at_least=LEAST_MEMORY,
    )
    part: str | None = option(
        None,
        "Make only the shards, 64 clips each, of one of N parts, such as 2/4: the others are for other machines.",
        new="all of it",
    )
    prune: tuple[str, ...] = option(
        (),
        "At the end, take clips out of the cache: those whose video is gone and that the inputs do not name, or those "
        "that failed. May be given twice.",
        choices=PRUNES,
    )

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        check_options(self)
        if self.part is not None and not re.fullmatch(r"[1-9][0-9]{0,5}/[1-9][0-9]{0,5}", self.part, re.ASCII):
            raise ConfigError(f"part ({quoted(self.part)}) must be I/N, such as 2/4")
        if self.shards[0] > self.shards[1]:
            raise ConfigError(
                f"part ({quoted(self.part)}) must be one of 1/{self.shards[1]} to {self.shards[1]}/{self.shards[1]}"
            )
        if self.part is not None and self.prune:
            raise ConfigError(f"prune ({', '.join(self.prune)}) must not be said with part: other parts may be written "
                              "meanwhile; prune when all are done")  # fmt: skip

    @property
    def shards(self) -> tuple[int, int]:
        """The part as numbers: which, and of how many."""
        number, of = (self.part or "1/1").split("/")
        return int(number), int(of)


class PrecomputeKeywords(SieveKeywords, RunKeywords, total=False):
    """Both, as `codecsieve.precompute` takes them."""
