"""What the published probe programs are called with, so that their commands run here word for word.

Their model families become a selection; options that mean something here are declared where they act, in `ProbeConfig`
and `SieveConfig`. The others are here: taken where their value changes nothing, refused where it would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from codecsieve.errors import ConfigError
from codecsieve.pipelines.config import DEFAULT_PRESET, PRESETS, SieveConfig
from codecsieve.pipelines.learn.families import BASELINES
from codecsieve.text import quoted

DATA_ROOT = Path("/data_3/data_attentive_probe")
"""Where the published programs look for data sets."""

FRAMES, TARGET_FRAMES = 8, 64
"""Frames of sampling, and places on the axis that they are at."""


@dataclass(frozen=True)
class Family:
    """policy: what a cache keeps; fresh: options of a cache that is made, where they are not given; baseline: whose
    frames it keeps, where that is another model than ours.
    """

    policy: str
    fresh: Mapping[str, Any] = field(default_factory=dict)
    baseline: str | None = None


_CODEC = Family("saliency", PRESETS["onevision"])

FAMILIES: Mapping[str, Family] = {
    "codec": Family("saliency", PRESETS[DEFAULT_PRESET]),
    "sampling": Family("sampling"),
    "ov_encoder_codec": _CODEC,
    "llava_vit_codec": _CODEC,
    "chunk_wise_sampling": Family("sampling"),
    "llava_vit_sampling": Family("sampling"),
    **{name: Family("sampling", baseline=name) for name in BASELINES},
}
"""Ours, the new and old names of the published programs, with the defaults that these have, and their baselines."""


def family_of(name: str | None) -> Family | None:
    """A family by its name, in either spelling. Raises ConfigError with the known ones."""
    if name is None:
        return None
    known = FAMILIES.get(name.lower().replace("-", "_"))
    if known is None:
        raise ConfigError(f"model_family ({quoted(name)}) must be one of {', '.join(FAMILIES)}")
    return known


def selection_of_family(
    family: Family | None, given: Mapping[str, Any], target_frames: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that a cache must have, and those that it gets if it is made.

    Frames of sampling are one a segment, at their places among `target_frames`; where `k_keep` says that they are fewer
    than `num_frames`, they are some of these, uniformly spaced.
    """
    if family is None:
        return dict(given), dict(PRESETS[DEFAULT_PRESET])
    asked = {**given, "policy": family.policy}
    if family.policy != "sampling":
        return asked, dict(family.fresh)
    axis = target_frames or TARGET_FRAMES
    frames = given.get("num_frames", FRAMES)
    side = given.get("input_size", SieveConfig.input_size) // max(1, given.get("patch_size", SieveConfig.patch_size))
    if given.get("k_keep", frames * side**2) != frames * side**2:
        # Slots of as many as the axis has places are at their places already.
        return asked | ({"target_frames": axis} if given.get("num_frames", axis) != axis else {}), {}
    placed = {"num_frames": frames, "k_keep": frames * side**2, "spread": "middle", "target_frames": axis}
    if "num_frames" in given or target_frames is not None:
        return asked | placed, {}
    return asked, placed


@dataclass(frozen=True)
class Foreign:
    """An option that nothing here depends on. only: the values that are the same as none; None: any."""

    kind: Any
    only: tuple[Any, ...] | None = None
    why: str = ""


_CLIP = "colours are CLIP's, as the published weights want them"

FOREIGN: Mapping[str, Foreign] = {
    "num_tokens": Foreign(int),
    "dali_num_threads": Foreign(int),
    "decord_num_threads": Foreign(int),
    "short_side_size": Foreign(int),
    "print_freq": Foreign(int),
    "rank": Foreign(int),
    "local_rank": Foreign(int),
    "world_size": Foreign(int),
    "global_rank": Foreign(int),
    "tubelet_size": Foreign(int, (1,), "patches are of one frame"),
    "probe_size": Foreign(int, (1,), "the probe is one layer of attention"),
    "num_spatial_crops": Foreign(int, (1,), "tokens are those of the centre; see --num-temporal-crops"),
    "mean": Foreign((float,) * 3, ((0.48145466, 0.4578275, 0.40821073),), _CLIP),
    "std": Foreign((float,) * 3, ((0.26862954, 0.26130258, 0.27577711),), _CLIP),
}
"""Options of the published programs without a meaning of their own here."""


def foreign_options(command: Any) -> Any:
    """A decorator that gives a command the options in `FOREIGN`, without naming them in its help."""
    options: list[Callable[[Any], Any]] = []
    for name, foreign in FOREIGN.items():
        options.append(click.option(f"--{name.replace('_', '-')}", name, type=foreign.kind, hidden=True))
    return functools.reduce(lambda given, option: option(given), options, command)


def take_foreign(options: dict[str, Any]) -> list[str]:
    """Take those out of `options`, and return the names of the given ones that have no effect.

    Raises ConfigError for a value that would have one.
    """
    given = {name: value for name in FOREIGN if (value := options.pop(name)) is not None}
    for name, value in given.items():
        foreign = FOREIGN[name]
        if foreign.only is not None and value not in foreign.only:
            (only,) = foreign.only
            shown = " ".join(map(str, only)) if isinstance(only, tuple) else only
            raise ConfigError(f"{name} ({value}) must be {shown}: {foreign.why}")
    return [name for name in given if FOREIGN[name].only is None]
