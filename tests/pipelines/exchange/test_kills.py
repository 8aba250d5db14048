"""Killed at any moment, an export is not there, and the same command ends with what an undisturbed one has."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cache_cases import fill, make_placed_clip, names
from forked import killed

from codecsieve.cache import ClipArrays, Layout
from codecsieve.pipelines.exchange.config import FORMATS
from codecsieve.pipelines.exchange.export import export_cache

pytestmark = pytest.mark.slow

SHARD = "27 KB"  # two clips
LAYOUT = Layout(num_frames=4, k_keep=8, patch=14)
GRID = 4


def make(clip_id: str, layout: Layout) -> ClipArrays:
    return make_placed_clip(clip_id, layout, GRID, blocks=True)


def export(cache: Path, out: Path, to: str, step: Callable[[], None]) -> None:
    """Export; `step` is called before and after each rename, and after each clip."""
    real = os.replace

    def replace(*arguments: str) -> None:
        step()
        real(*arguments)
        step()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        export_cache(cache, out, to, shard_size=SHARD, progress=lambda *_: step())  # type: ignore[arg-type]


def export_and_die(cache: Path, out: Path, to: str, step: int) -> None:
    steps = iter(range(step))

    def die() -> None:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    export(cache, out, to, die)


def content(out: Path, to: str) -> object:
    """All that an export is; of Lance, whose names of files are drawn, its rows and how many files there are."""
    files = [path for path in out.rglob("*") if path.is_file()]
    if to != "lance":
        return {str(path.relative_to(out)): path.read_bytes() for path in files}
    import lance

    dataset = lance.dataset(str(out / "clips.lance"))
    record = json.loads((out / "export.json").read_text())
    return dataset.version, dataset.to_table(), len(files), sorted(path.name for path in out.iterdir()), record


@pytest.mark.parametrize("to", FORMATS)
def test_killed_at_any_step_a_second_run_ends_with_the_same(tmp_path: Path, to: str) -> None:
    fill(tmp_path / "cache", names(3), layout=LAYOUT, config={"input_size": GRID * LAYOUT.patch}, make=make)
    steps: list[None] = []
    export(tmp_path / "cache", tmp_path / "whole", to, lambda: steps.append(None))
    assert len(steps) > 8
    for step in range(len(steps)):
        out = tmp_path / f"killed-{step}"
        assert killed(export_and_die, tmp_path / "cache", out, to, step)
        assert (out / "export.json").exists() == (step == len(steps) - 1)  # which is after it got its name
        export_cache(tmp_path / "cache", out, to, shard_size=SHARD)  # type: ignore[arg-type]
        assert content(out, to) == content(tmp_path / "whole", to), f"killed at step {step}"
