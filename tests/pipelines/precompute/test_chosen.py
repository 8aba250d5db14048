"""A run without a preset goes on as the cache was made, whatever the defaults have become since."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import codecsieve as cs
from codecsieve.errors import CacheError, ConfigError, OptionError
from codecsieve.pipelines.config import DEFAULT_PRESET, SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.precompute.chosen import options_of_run
from codecsieve.pipelines.precompute.run import precompute
from tests.conftest import MakeVideo

SMALL = {"num_frames": 4, "input_size": 56, "k_keep": 10}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    return make_video(tmp_path_factory.mktemp("chosen") / "clip.mp4")


def test_a_new_cache_has_the_default_preset(tmp_path: Path) -> None:
    assert options_of_run(tmp_path / "new") == SieveConfig.preset(DEFAULT_PRESET)
    assert options_of_run(tmp_path / "new", "surprise", k_keep=3) == SieveConfig(w_res=3, k_keep=3)


def test_a_cache_that_is_there_is_gone_on_with(tmp_path: Path, video: Path) -> None:
    cache, made = tmp_path / "cache", SieveConfig(**SMALL)  # type: ignore[arg-type]
    precompute(read_inputs([str(video)]), cache, made, workers=0)
    assert options_of_run(cache) == made
    assert options_of_run(cache, k_keep=9).k_keep == 9
    assert options_of_run(cache, DEFAULT_PRESET) == SieveConfig.preset(DEFAULT_PRESET)
    assert cs.precompute(video, cache, workers=0).skipped == 1
    with pytest.raises(CacheError, match=r"was made with .*k_keep=10, you asked 9"):
        cs.precompute(video, cache, workers=0, k_keep=9)
    with pytest.raises(CacheError, match=r"was made with center_prior=0.3, you asked 0.0"):
        cs.precompute(video, cache, workers=0, preset="contrast")


def test_what_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"preset .'best'. must be one of"):
        options_of_run(tmp_path, "best")
    with pytest.raises(OptionError, match="did you mean k_keep"):
        options_of_run(tmp_path, k_kep=3)  # type: ignore[call-arg]


def test_what_says_nothing_beside_the_others_is_refused(tmp_path: Path, video: Path) -> None:
    """Even where it is the default: who asks for two frames a second must not get as many as there are slots."""
    for options, says in (
        ({"fps": 2.0}, "fps (2.0) is for spread fps; here spread is ends"),
        ({"max_pixels": 1000}, "max_pixels (1000) is for fit native; here fit is crop"),
    ):
        with pytest.raises(ConfigError, match=re.escape(says)):
            cs.precompute(video, tmp_path / "cache", workers=0, **SMALL, **options)  # type: ignore[arg-type]
        assert not (tmp_path / "cache").exists()
        with pytest.raises(ConfigError, match=re.escape(says)):
            cs.sieve(video, **SMALL, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is for fit native"):
        cs.stream(video, max_pixels=1000)
    cs.precompute(video, tmp_path / "cache", workers=0, spread="fps", **SMALL)  # type: ignore[arg-type]
    assert options_of_run(tmp_path / "cache", fps=2.0).spread == "fps"  # as the cache has it
