"""Which caches a probe's clips are in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from codecsieve.pipelines.probe.config import ProbeConfig
from codecsieve.pipelines.probe.datasets import read_set
from codecsieve.pipelines.probe.views import Plan, default_cache


def plan(spread: str = "ends", **config: int) -> dict[str, list[str]]:
    made = Plan.of(Path("/caches/one"), {"spread": spread}, ProbeConfig(**config))
    return {"train": [path.name for path in made.train], "judged": [path.name for path in made.judged]}


def test_clips_have_caches_of_their_own_where_they_are_sampled_otherwise() -> None:
    assert plan() == {"train": ["one"], "judged": ["one"]}
    assert plan("middle") == {"train": ["one.jitter-0"], "judged": ["one"]}
    assert plan("middle", views=2) == {"train": ["one.jitter-0", "one.jitter-1"], "judged": ["one"]}
    assert plan(views=2, temporal_crops=2) == {
        "train": ["one.jitter-0", "one.jitter-1"],
        "judged": ["one", "one.jitter-1"],
    }


@pytest.mark.parametrize("held_out", [True, False])
def test_a_cache_has_no_clips_that_nobody_asks_of_it(tmp_path: Path, held_out: bool) -> None:
    (tmp_path / "mine").mkdir()
    for split in ("train", "val", "test") if held_out else ("train", "test"):
        (tmp_path / "mine" / f"{split}.csv").write_text(f"{split}-1.mp4,a\n{split}-2.mp4,b\n")
    labelled = read_set(tmp_path, "mine")
    split_up = Plan.of(tmp_path / "c", {"spread": "middle"}, ProbeConfig(temporal_crops=2)).splits_of(labelled)
    judged = ["val", "test"] if held_out else ["train", "test"]
    assert {folder.name: names for folder, names in split_up.items()} == {
        "c.jitter-0": ["train"], "c": judged, "c.jitter-1": judged,
    }  # fmt: skip


def test_a_cache_that_nobody_named_is_beside_the_data_set_or_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sets" / "k400"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    frames, patches = {"policy": "sampling", "num_frames": 8}, {"num_frames": 64}
    beside = default_cache(folder, frames)
    assert beside.parent == tmp_path / "sets" / "k400.caches"
    assert beside.name.startswith("sampling-8-2048-")
    assert default_cache(folder, patches) != beside
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    there = default_cache(folder, frames)
    assert there.name == beside.name
    assert there.is_relative_to(tmp_path / "home" / "codecsieve")
    assert default_cache(tmp_path / "other" / "k400", frames) != there
