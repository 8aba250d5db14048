"""What is probed, and how probes are trained: options that command line and API share.

How they act is said in `run` and `training`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecsieve.options import check_options, option

SMALL_SET = 20_000
"""Fewer training clips than this are trained on for 30 epochs, not 10."""


@dataclass(frozen=True)
class ProbeRun:
    """What is probed, and where things are."""

    data_root: Path
    """Folder of the data sets' manifests."""
    dataset: str
    """One of them: a folder in it."""
    cache_dir: Path
    """The sparse cache; made, or made whole, where it is not."""
    model_weight: str
    """The encoder: a folder or a hub id; of a baseline also its family's name, or timm's name of it."""
    out: Path
    """Where checkpoints and report go."""
    model_name: str | None = None
    """What the report calls the encoder; None: the last part of `model_weight`."""
    baseline: str | None = None
    """A family of baselines, a name in `BASELINES`, that the encoder must be of; None: any, ours included."""
    embedding_size: int | None = None
    """Channels that the encoder's tokens must have; None: any."""
    frames_token_num: int | None = None
    """Patches that a whole frame must have, of a baseline tokens that it gives of one; None: any."""
    num_classes: int | None = None
    """Classes that the set must have, or has where it is not known by name."""
    selection: dict[str, Any] = field(default_factory=dict)
    """Fields of `SieveConfig`: a cache that is there must have them, one that is made gets them."""
    fresh: dict[str, Any] = field(default_factory=dict)
    """Fields of `SieveConfig` that a cache gets which is made, where `selection` does not say them."""
    hevc: bool = False
    """Whether the set's folder NAME_hevc goes before NAME."""
    manifests: dict[str, str] = field(default_factory=dict)
    """File names by split, where they are others than `find_manifests` looks for."""
    features_dir: Path | None = None
    """The feature cache; None: beside the sparse cache."""
    checkpoint_dir: Path | None = None
    """Where checkpoints go; None: `out`."""
    report_dir: Path | None = None
    """Where a line is added to a report in the published form; None: `out`."""
    workers: int = 0
    """Processes that read the sparse cache for the encoder."""
    device: str = "auto"
    """Where clips are made that the cache lacks, see `precompute`."""
    encoder_batch_size: int = 8
    """Clips that are encoded at once."""


@dataclass(frozen=True)
class ProbeConfig:
    """How probes are trained. Raises ConfigError for values that cannot work."""

    learning_rates: tuple[float, ...] = option(
        (1e-4,), "Learning rates, trained side by side.", flag="--default-lr-list", above=0
    )
    seeds: tuple[int, ...] = option((0,), "First weights; each rate is tried with each.", at_least=0)
    epochs: int | None = option(
        None,
        "Passes over the training clips.",
        flag="--default-epoch",
        new="10; 30 for less than 20,000 clips",
        above=0,
    )
    batch_size: int = option(16, "Clips of one process in one step.", above=0)
    weight_decay: float = option(0.0, "AdamW's.", flag="--default-weight-decay", at_least=0)
    eval_freq: int = option(1, "Epochs from validation to validation.", above=0)
    min_rate: float = option(
        1e-7,
        "Where every learning rate ends, step by step in a line; one that is lower stays as it is.",
        flag="--default-min-lr",
        at_least=0,
        added=True,
    )
    clip_grad: float = option(5.0, "Norm that each probe's gradient is clipped to.", above=0, added=True)
    smoothing: float = option(0.1, "Label smoothing, where a clip has one class.", at_least=0, at_most=1, added=True)
    views: int = option(
        1,
        "Samplings of each training clip, frames drawn anew, each a cache; an epoch takes the next.",
        above=0,
        added=True,
    )
    temporal_crops: int = option(
        1,
        "Samplings of each clip that is judged; logits are averaged.",
        flag="--num-temporal-crops",
        above=0,
        added=True,
    )

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        check_options(self)

    def epochs_for(self, clips: int) -> int:
        """Epochs on a training split of so many clips."""
        return self.epochs or (30 if clips < SMALL_SET else 10)

    @property
    def probes(self) -> list[tuple[float, int]]:
        """Learning rate and seed of every probe, seeds of one rate side by side."""
        return [(rate, seed) for rate in self.learning_rates for seed in self.seeds]
