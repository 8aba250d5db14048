"""Tokens in zigzag: the same patches at their own positions, in another order; such caches are read as all others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codecsieve as cs
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import select_from

RASTER = SieveConfig(16, 84, k_keep=96, signals="search")
SHAPE = 16, 6, 6


def in_zigzag(indices: np.ndarray, merge: int) -> list[int]:
    """What a reader would expect of raster's patches: slot, row of blocks, to and fro, upper patches, lower ones."""

    def place(index: int) -> tuple[int, ...]:
        slot, row, column = (int(axis) for axis in np.unravel_index(index, SHAPE))
        back = row // merge % 2
        return slot, row // merge, -(column // merge) if back else column // merge, row % merge, column % merge

    return sorted(indices.tolist(), key=place)


@given(
    st.integers(0, 2**32),
    st.fixed_dictionaries(
        {
            "policy": st.sampled_from(["saliency", "sampling", "random"]),
            "merge": st.sampled_from([1, 2]),
            "groups": st.sampled_from([1, 2]),
            "suppress": st.sampled_from(["none", "time"]),
        }
    ),
)
def test_zigzag_changes_the_order_within_slots_only(seed: int, options: dict[str, Any]) -> None:
    scores = np.random.default_rng(seed).integers(-1, 3000, SHAPE)
    config = dataclasses.replace(RASTER, k_keep=144, **options)
    raster, zigzag = (select_from(scores, dataclasses.replace(config, token_order=way)) for way in ("raster", "zigzag"))
    assert zigzag.tolist() == in_zigzag(raster, config.merge)
    assert (np.diff(zigzag // 36) >= 0).all()


@pytest.mark.parametrize("merge", [1, 2])
def test_patches_positions_and_scores_go_together(tmp_path: Path, make_video, merge: int) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=20, size=(96, 96), moving="noise")
    raster = sieve_clip(path, dataclasses.replace(RASTER, merge=merge))
    zigzag = sieve_clip(path, dataclasses.replace(RASTER, merge=merge, token_order="zigzag"))
    place = {index: number for number, index in enumerate(raster.indices.tolist())}
    moved = [place[index] for index in zigzag.indices.tolist()]
    assert moved != sorted(moved)
    assert zigzag.indices.tolist() == in_zigzag(raster.indices, merge)
    for name in ("positions", "scores", "patches"):
        np.testing.assert_array_equal(getattr(zigzag, name), getattr(raster, name)[moved])
    np.testing.assert_array_equal(zigzag.slot_scores, raster.slot_scores)


@pytest.mark.slow
def test_a_cache_in_zigzag_is_loaded_drawn_and_exported(tmp_path: Path, make_video) -> None:
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "clip.mp4", frames=20, size=(96, 96), moving="noise")
    caches = {}
    for way in ("raster", "zigzag"):
        options = {"num_frames": 16, "input_size": 84, "k_keep": 96, "merge": 2, "token_order": way}
        cs.precompute(tmp_path / "videos", tmp_path / way, workers=0, **options)
        cs.export_cache(tmp_path / way, tmp_path / f"{way}-ov2", "ov2")
        caches[way] = cs.open_cache(tmp_path / way)
    assert "token_order" not in caches["raster"].config
    assert caches["zigzag"].config["token_order"] == "zigzag"
    zigzag = next(iter(cs.make_loader(caches["zigzag"], batch_size=1)))
    np.testing.assert_array_equal(zigzag.positions[0].numpy(), caches["zigzag"][0].positions.astype(int))
    assert (zigzag.positions[0].numpy() != caches["raster"][0].positions.astype(int)).any()
    shown = {way: np.asarray(cache[0].show(slots=4)) for way, cache in caches.items()}
    np.testing.assert_array_equal(shown["raster"], shown["zigzag"])
    for one in (tmp_path / "raster-ov2").rglob("*.[pn][np][gy]"):  # canvases have an order of their own
        assert one.read_bytes() == (tmp_path / "zigzag-ov2" / one.relative_to(tmp_path / "raster-ov2")).read_bytes()
