"""The options of the sieve are checked once, and every refusal gives the value and the rule."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import pytest

from codecsieve.errors import ConfigError, OptionError
from codecsieve.options import declared, kind_of
from codecsieve.pipelines.config import PRESETS, Preset, RunKeywords, RunOptions, SieveConfig, SieveKeywords, options_in

ADDED: dict[str, Any] = {
    "spread": "jitter",
    "spread_seed": 3,
    "target_frames": 64,
    "decoder_fields": "off",
    "mv_inconsistency": "variance",
    "mv_incon_ksize": 17,
    "res_use_grad": True,
    "scale": "clip",
    "suppress": "time",
    "suppress_slots": 5,
    "suppress_weight": 0.5,
    "fit": "letterbox",
    "merge": 2,
    "groups": 4,
    "groups_by": "motion",
    "min_group_frames": 2,
    "max_group_frames": 3,
    "token_order": "zigzag",
    "max_pixels": 1000,
    "fps": 4.0,
}
"""Options that came later, none at its default."""


def test_defaults_are_those_of_the_method() -> None:
    config = SieveConfig()
    assert (config.num_frames, config.input_size, config.patch_size, config.k_keep) == (64, 224, 14, 2048)
    assert (config.mv_compensate, config.center_prior, config.center_sigma) == ("median", 0.3, 0.35)
    assert (config.fuse, config.w_mv, config.w_res) == ("weighted", 1, 1)
    assert not config.static_fallback
    assert (config.static_abs_thresh, config.static_rel_thresh, config.static_uniform_frames) == (126, 0.38, 4)
    assert config.grid == 16
    assert config.patches_per_clip == 64 * 256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames (0) must be in 1..65535"),
        ({"num_frames": -3}, "num_frames (-3) must be in 1..65535"),
        ({"num_frames": 65536}, "num_frames (65536) must be in 1..65535"),
        ({"input_size": 0}, "input_size (0) must be > 0"),
        ({"patch_size": 0}, "patch_size (0) must be > 0"),
        ({"input_size": 225}, "input_size (225) must be a multiple of patch_size (14)"),
        ({"k_keep": 0}, "k_keep (0) must be > 0"),
        ({"k_keep": 513, "num_frames": 2}, "k_keep (513) must be <= 512, the patches of 2 slots of 16x16"),
        ({"anchors": -1}, "anchors (-1) must be >= 0"),
        ({"anchors": 65}, "anchors (65) must be in 0..64, the number of slots"),
        ({"static_uniform_frames": -1}, "static_uniform_frames (-1) must be >= 0"),
        ({"k_keep": 10.5}, "k_keep (10.5) must be a whole number"),
        ({"num_frames": "64"}, "num_frames ('64') must be a whole number"),
        ({"center_prior": 8}, "center_prior (8) must be in 0..7"),
        ({"center_prior": "1"}, "center_prior ('1') must be a number in 0..7"),
        ({"policy": "best"}, "policy ('best') must be one of saliency, sampling, random"),
        (
            {"policy": "sampling", "k_keep": 300},
            "k_keep (300) must be a multiple of 256, the patches of a slot, for policy sampling",
        ),
        ({"signals": "pixels"}, "signals ('pixels') must be one of auto, bitstream, search, difference, bits"),
        (
            {"mv_compensate": "mode"},
            "mv_compensate ('mode') must be one of none, mean, median, similarity, rigid, affine",
        ),
        ({"fuse": "min"}, "fuse ('min') must be one of weighted, max, sum, geomean, product"),
        ({"center_prior": -0.1}, "center_prior (-0.1) must be in 0..7"),
        ({"center_sigma": float("nan")}, "center_sigma (nan) must be a number >= 0"),
        ({"w_mv": float("inf")}, "w_mv (inf) must be a number >= 0"),
        ({"w_mv": 0, "w_res": 0}, "w_mv (0) and w_res (0) must not both be 0"),
        ({"static_abs_thresh": -1}, "static_abs_thresh (-1) must be >= 0"),
        ({"spread": "random"}, "spread ('random') must be one of ends, middle, jitter, thrifty, off-keyframe, fps"),
        ({"fps": 0}, "fps (0) must be in 0.001..1000"),
        ({"spread_seed": -1}, "spread_seed (-1) must be in 0..4.29497e+09"),
        ({"mv_inconsistency": "median"}, "mv_inconsistency ('median') must be one of none, mean, variance"),
        ({"mv_incon_ksize": 1}, "mv_incon_ksize (1) must be in 3..17"),
        ({"mv_incon_ksize": 18}, "mv_incon_ksize (18) must be in 3..17"),
        ({"mv_incon_ksize": 8}, "mv_incon_ksize (8) must be odd: the side of a square about a cell"),
        ({"res_use_grad": 1}, "res_use_grad (1) must be true or false"),
        ({"scale": "frame"}, "scale ('frame') must be one of slot, clip, none"),
        ({"suppress": "space"}, "suppress ('space') must be one of none, time, cell"),
        ({"suppress_slots": 0}, "suppress_slots (0) must be >= 1"),
        ({"fit": "stretch"}, "fit ('stretch') must be one of crop, letterbox, native"),
        ({"max_pixels": 0}, "max_pixels (0) must be >= 1"),
        (
            {"fit": "native"},
            "max_pixels (153664) must be in 196..50176, a block's and those of the square of input_size (224), which "
            "is the longest that a side may be",
        ),
        (
            {"fit": "native", "merge": 2, "max_pixels": 783},
            "max_pixels (783) must be in 784..50176, a block's and those of the square of input_size (224), which is "
            "the longest that a side may be",
        ),
        (
            {"fit": "native", "max_pixels": 31 * 196 + 195},
            "k_keep (2048) must be <= 1984, the patches of 64 slots of 6271 pixels",
        ),
        (
            {"fit": "native", "max_pixels": 50176, "policy": "sampling"},
            "policy ('sampling') keeps whole slots, of which patches of clips of --fit native have different numbers; "
            "use fit crop or letterbox",
        ),
        ({"merge": 0}, "merge (0) must be >= 1"),
        ({"merge": 3}, "merge (3) must divide 16, the patches on each side of the square"),
        ({"merge": 2, "k_keep": 2046}, "k_keep (2046) must be a multiple of 4, the patches of a block, for merge 2"),
        ({"groups": 0}, "groups (0) must be >= 1"),
        ({"groups": 7}, "groups (7) must divide 64, the number of slots"),
        ({"groups": 4, "k_keep": 2046}, "k_keep (2046) must be a multiple of 4, for groups 4"),
        (
            {"groups": 4, "merge": 2, "k_keep": 2044},
            "k_keep (2044) must be a multiple of 16, for groups 4 of blocks of 4",
        ),
        ({"groups_by": "time"}, "groups_by ('time') must be one of equal, motion"),
        ({"token_order": "hilbert"}, "token_order ('hilbert') must be one of raster, zigzag"),
        ({"min_group_frames": 0}, "min_group_frames (0) must be >= 1"),
        (
            {"groups": 4, "groups_by": "motion", "num_frames": 30},
            "groups (4) of min_group_frames (8) to max_group_frames (64) have 32 to 256 slots, not 30",
        ),
        (
            {"groups": 4, "groups_by": "motion", "min_group_frames": 65},
            "min_group_frames (65) must be in 1..64, which is max_group_frames",
        ),
        (
            {"groups": 4, "groups_by": "motion", "min_group_frames": 1},
            "k_keep (2048) must be <= 1024, the patches of 4 groups of 1 slots, which is min_group_frames",
        ),
        (
            {"groups": 4, "groups_by": "motion", "anchors": 9},
            "anchors (9) must be in 0..8, the number of slots of a group",
        ),
        ({"groups": 4, "anchors": 17}, "anchors (17) must be in 0..16, the number of slots of a group"),
        (
            {"groups": 4, "k_keep": 512, "policy": "sampling"},
            "k_keep (512) must be a multiple of 1024, the patches of a slot of every group, for policy sampling",
        ),
        ({"suppress_weight": 1.01}, "suppress_weight (1.01) must be in 0..1"),
        ({"target_frames": 0}, "target_frames (0) must be in 1..65536"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_value_that_cannot_work_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SieveConfig(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"num_frames": 1, "k_keep": 256},
        {"num_frames": 2, "k_keep": 512, "anchors": 2},
        {"w_mv": 0},
        {"static_uniform_frames": 0},
        {"num_frames": 2, "k_keep": 512, "static_uniform_frames": 4},
        {"k_keep": np.int64(2048)},
        {"center_prior": 0, "center_sigma": 0},
        {"input_size": 14, "patch_size": 14, "k_keep": 64},
    ],
)
def test_values_at_the_edge_are_accepted(options: dict[str, object]) -> None:
    SieveConfig(**options)


def test_options_go_through_json_and_back() -> None:
    config = SieveConfig(k_keep=100, signals="search", anchors=2, w_mv=0.5)
    assert SieveConfig(**json.loads(json.dumps(config.to_dict()))) == config
    other = SieveConfig(num_frames=8, k_keep=256, **ADDED)
    assert SieveConfig(**json.loads(json.dumps(other.to_dict()))) == other
    assert list(other.to_dict()) == [field.name for field in dataclasses.fields(SieveConfig)]


def test_an_option_that_older_caches_do_not_know_is_said_only_where_it_is_not_at_its_default() -> None:
    known = {field.name for field in dataclasses.fields(SieveConfig)} - set(ADDED)
    assert set(SieveConfig(k_keep=7).to_dict()) == known
    assert set(SieveConfig(spread="middle").to_dict()) == known | {"spread"}
    assert set(SieveConfig(scale="none").to_dict()) == known | {"scale"}


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SieveConfig().k_keep = 3


def test_presets_are_options_by_one_name() -> None:
    assert SieveConfig.preset("onevision") == SieveConfig(mv_compensate="similarity", static_fallback=True)
    assert SieveConfig.preset("onevision").center_prior == 0.3
    assert SieveConfig.preset("surprise", k_keep=8) == SieveConfig(w_mv=1, w_res=3, k_keep=8)
    assert SieveConfig.preset("surprise", w_res=2).w_res == 2
    contrast = SieveConfig.preset("contrast")
    assert (contrast.mv_inconsistency, contrast.measure.radius, contrast.center_prior) == ("mean", 4, 0)
    with pytest.raises(
        ConfigError, match=r"preset \('best'\) must be one of contrast, onevision, onevision-lmm, surprise"
    ):
        SieveConfig.preset("best")


def test_type_checkers_know_the_presets() -> None:
    assert get_args(Preset) == tuple(PRESETS)


def test_another_preset_leaves_nothing_of_the_one_before() -> None:
    for first, second in product(PRESETS, repeat=2):
        shape = {"k_keep": 7, "input_size": 56, "anchors": 2, "fit": "crop"}
        config = SieveConfig.preset(first, **shape, suppress="time").by_preset(second)
        assert config == SieveConfig.preset(second, **shape, suppress="time")


@pytest.mark.parametrize("signals", ["difference", "bits"])
def test_signals_without_motion_are_not_multiplied_with_it(signals: Any) -> None:
    assert SieveConfig(signals=signals, fuse="product").fused == "max"
    assert SieveConfig(signals=signals, fuse="geomean").fused == "max"
    assert SieveConfig(signals=signals, fuse="sum").fused == "sum"
    assert SieveConfig(signals="search", fuse="product").fused == "product"


def test_what_a_cache_does_not_say_is_at_its_default() -> None:
    config = SieveConfig(k_keep=9, w_res=2)
    assert SieveConfig(**options_in({"method": 1, "bitstream_reader": None, **config.to_dict()})) == config


@pytest.mark.parametrize(("options", "keywords"), [(SieveConfig, SieveKeywords), (RunOptions, RunKeywords)])
def test_the_keywords_that_type_checkers_know_are_the_options(options: type, keywords: type) -> None:
    hints = get_type_hints(options)

    def typed(field: dataclasses.Field[Any]) -> Any:
        choices = field.metadata["rule"].choices
        if kind_of(field).startswith("tuple") and choices:
            return Sequence[Literal[choices]]
        return Literal[choices] if choices else int | str if kind_of(field) == "size" else hints[field.name]

    assert get_type_hints(keywords) == {field.name: typed(field) for field in declared(options)}
    assert keywords.__required_keys__ == frozenset()


def test_an_option_that_there_is_not_names_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match=r"^preset\(\) has no option k_kep; did you mean k_keep\?$"):
        SieveConfig.preset("surprise", k_kep=3)
    with pytest.raises(OptionError, match=r"^preset\(\) has no option K-keep; did you mean k_keep\?$"):
        SieveConfig.preset("surprise", **{"K-keep": 3})
    with pytest.raises(OptionError, match=r"^preset\(\) has no option colour; it has num_frames, "):
        SieveConfig.preset("surprise", colour=3)
