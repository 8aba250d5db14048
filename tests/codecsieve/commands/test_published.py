"""What the published programs are called with is understood here, before anything heavy is done."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from codecsieve.commands.group import Commands
from codecsieve.commands.options import SpacedNumbers, options_of
from codecsieve.commands.published import (
    FAMILIES,
    FOREIGN,
    family_of,
    foreign_options,
    selection_of_family,
    take_foreign,
)
from codecsieve.encoder.tokens import MEAN, STD
from codecsieve.errors import ConfigError
from codecsieve.pipelines.config import DEFAULT_PRESET, PRESETS, SieveConfig
from codecsieve.pipelines.probe.config import ProbeConfig


def read(*words: str) -> dict[str, Any]:
    """The options that a command of the probe's kind makes of words."""
    found: dict[str, Any] = {}

    @click.group(cls=Commands)
    def main() -> None: ...

    @main.command(cls=SpacedNumbers)
    @options_of(ProbeConfig, learning_rates="RATE,...", seeds="SEED,...")
    @foreign_options
    def probe(**options: Any) -> None:
        found.update(options)

    result = CliRunner().invoke(main, ["probe", *words])
    assert result.exit_code == 0, result.output
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    "words",
    [
        ["--default_lr_list", "0.0001", "0.0003", "--seeds", "0", "1"],
        ["--seeds", "0,1", "--default_lr_list", "0.0001,0.0003"],
        ["--default-lr-list=0.0001 0.0003", "--seeds", "0, 1"],
        ["--default_lr_list=0.0001", "0.0003", "--seeds=0", "1"],
    ],
)
def test_several_numbers_have_spaces_or_commas_between(words: list[str]) -> None:
    assert read(*words) == {"learning_rates": (1e-4, 3e-4), "seeds": (0, 1)}


def test_a_list_of_numbers_ends_with_the_next_option() -> None:
    given = read("--default_lr_list", "1e-4", "--batch_size", "4", "--mean", "0.1", "0.2", "0.3", "--smoothing", "0")
    assert given == {"learning_rates": (1e-4,), "batch_size": 4, "mean": (0.1, 0.2, 0.3), "smoothing": 0.0}


def test_options_without_a_meaning_are_named_and_those_that_would_have_one_refused() -> None:
    honoured = ["--tubelet_size=1", "--probe_size=1", "--num_spatial_crops=1", "--mean"]
    colours = [str(value) for value in (*MEAN, "--std", *STD)]
    options = dict.fromkeys(FOREIGN) | read("--decord_num_threads=2", "--print_freq=10", *honoured, *colours)
    assert sorted(take_foreign(options)) == ["decord_num_threads", "print_freq"]
    assert not options
    with pytest.raises(ConfigError, match=r"std \(\(0.5, 0.5, 0.5\)\) must be 0.26862954 0.26130258 0.27577711: col"):
        take_foreign(dict.fromkeys(FOREIGN) | read("--std", "0.5", "0.5", "0.5"))


SAMPLINGS = [name for name, family in FAMILIES.items() if family.policy == "sampling"]


@pytest.mark.parametrize("name", SAMPLINGS)
def test_sampling_takes_one_frame_a_segment(name: str) -> None:
    """Asked of a cache that is there where the command says how many; else only what a new one gets."""
    assert selection_of_family(family_of(name), {}, None) == (
        {"policy": "sampling"},
        {"num_frames": 8, "k_keep": 2048, "spread": "middle", "target_frames": 64},
    )
    for given in ({"num_frames": 16}, {"num_frames": 16, "k_keep": 16 * 256}):
        asked = {"num_frames": 16, "k_keep": 4096, "policy": "sampling", "spread": "middle", "target_frames": 64}
        assert selection_of_family(family_of(name), given, None) == (asked, {})
    asked, _ = selection_of_family(family_of(name), {"num_frames": 8, "patch_size": 16}, 32)
    assert (asked["k_keep"], asked["target_frames"]) == (8 * 196, 32)


def test_some_of_evenly_spaced_slots_are_at_their_places_too() -> None:
    some = {"num_frames": 64, "k_keep": 2048}
    assert selection_of_family(family_of("sampling"), some, None) == ({**some, "policy": "sampling"}, {})
    few = {"num_frames": 16, "k_keep": 2048}
    assert selection_of_family(family_of("sampling"), few, None) == (
        {**few, "policy": "sampling", "target_frames": 64},
        {},
    )


def test_published_codec_families_bring_their_own_defaults() -> None:
    for name in ("ov_encoder_codec", "llava_vit_codec"):
        asked, fresh = selection_of_family(family_of(name), {"mv_compensate": "median"}, None)
        assert SieveConfig(**fresh | asked) == SieveConfig(mv_compensate="median", static_fallback=True)
    usual = PRESETS[DEFAULT_PRESET]
    assert selection_of_family(family_of("codec"), {}, None) == ({"policy": "saliency"}, usual)
    assert selection_of_family(None, {"k_keep": 7}, None) == ({"k_keep": 7}, usual)


def test_a_wrong_family_is_told_with_those_there_are() -> None:
    assert family_of("OV-encoder-codec") is FAMILIES["ov_encoder_codec"]
    with pytest.raises(
        ConfigError, match=r"model_family \('llava'\) must be one of codec, sampling, ov_encoder_codec, l"
    ):
        family_of("llava")
