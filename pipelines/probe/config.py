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

LAST_RATE = 1e-7
"""Where every learning rate ends."""


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
    """The encoder: a folder or a hub id."""
    out: Path
    """Where checkpoints and report go."""
    model_name: str | None = None
    """What the report calls the encoder; None: the last part of `model_weight`."""
    embedding_size: int | None = None
    """Channels that the encoder's tokens must have; None: any."""
    frames_token_num: int | None = None
    """Patches that a whole frame must have; None: any."""
    selection: dict[str, Any] = field(default_factory=dict)
    """Fields of `SieveConfig`: a cache that is there must have them, one that is made gets them."""
    features_dir: Path | None = None
    """The feature cache; None: beside the sparse cache."""
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
        (1e-4,), "Learning rates, trained side by side.", flag="--default-lr-list", at_least=LAST_RATE
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
