"""What is probed, and how probes are trained: options that command line and API share.

How they act is said in `run` and `training`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecsieve.errors import ConfigError

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

    learning_rates: tuple[float, ...] = (1e-4,)
    """The first steps' rates, each tried with each seed."""
    seeds: tuple[int, ...] = (0,)
    """Of a probe's first weights. The order of clips is the first seed's for all of them."""
    epochs: int | None = None
    """Passes over the training clips; None: 10, or 30 where there are fewer than 20,000 of them."""
    batch_size: int = 16
    """Clips of one process in one step."""
    weight_decay: float = 0.0
    """AdamW's."""
    eval_freq: int = 1
    """The validation split is looked at every so many epochs, and after the last."""

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        for name in ("epochs", "batch_size", "eval_freq"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} ({value}) must be > 0")
        for name in ("learning_rates", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{name} ({', '.join(map(str, values))}) must be one or more, each named once")
        for rate in self.learning_rates:
            if not (math.isfinite(rate) and rate >= LAST_RATE):
                raise ConfigError(f"learning_rates ({rate}) must be >= {LAST_RATE}, where the decay ends")
        if min(self.seeds) < 0:
            raise ConfigError(f"seeds ({min(self.seeds)}) must be >= 0")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ConfigError(f"weight_decay ({self.weight_decay}) must be >= 0")

    def epochs_for(self, clips: int) -> int:
        """Epochs on a training split of so many clips."""
        return self.epochs or (30 if clips < SMALL_SET else 10)

    @property
    def probes(self) -> list[tuple[float, int]]:
        """Learning rate and seed of every probe, seeds of one rate side by side."""
        return [(rate, seed) for rate in self.learning_rates for seed in self.seeds]
