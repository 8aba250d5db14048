"""The encoder's benchmark counts and measures what it says, on sizes that take no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("transformers", reason="transformers is not installed")

from benchmarks.speed import encoder, encoder_packed, encoder_step
from benchmarks.speed.encoder_step import Shape, operations
from benchmarks.speed.turns import Bench

BENCH = Bench(torch.device("cpu"), torch.float32, 1)


def test_operations_are_those_of_the_matrix_products() -> None:
    counted = operations(Shape("tiny", 64, 1))
    layers, width, tokens = 12, 192, 64
    blocks = layers * (2 * tokens * (4 + 8) * width**2 + 4 * tokens**2 * width)
    assert counted["encoder"] == pytest.approx((blocks + 2 * tokens * 3 * 14**2 * width) / 1e9)
    assert 1 < counted["vit"] / counted["encoder"] < 1.03  # one token more


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a peak that begins again")
def test_the_peak_is_what_a_pass_takes_and_no_earlier_one() -> None:
    def take(mb: int) -> object:
        return torch.ones(mb * 2**18) + 1

    assert 180 < (BENCH.peak_mb(lambda: take(100)) or 0) < 260
    assert (BENCH.peak_mb(lambda: take(10)) or 0) < 60


@pytest.mark.slow
def test_all_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Any] = {}
    monkeypatch.setattr(encoder, "save", lambda name, figures: saved.update({name: figures}))
    monkeypatch.setattr(encoder, "SIZES", (("tiny", (2, 3)),))
    monkeypatch.setattr(encoder_packed, "MIXES", ((3, 4),))
    monkeypatch.setattr(encoder_step, "PUBLISHED", Shape("tiny", 32, 1))
    arguments = ["--repeats", "1", "--step-repeats", "1", "--preset", "tiny", "--tokens", "32"]
    done = CliRunner().invoke(encoder.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    figures = saved["encoder"]
    (passed,), (mix,) = figures["passes"], figures["packed"]
    assert (passed["tokens"], mix["clips"]) == (6, 3)
    assert all(value > 0 for name, value in mix.items() if name.endswith("_ms"))
    models = [(row["model"], row["attention"]) for row in figures["step"]["models"]]
    assert models == [("encoder", "sdpa"), ("ViT", "sdpa"), ("encoder", "eager"), ("ViT", "eager")]
    assert all(row["step_ms"] > 0 for row in figures["step"]["models"])


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(encoder.main, ["--device", "cuda"])
    assert done.exit_code == 1
    assert "no NVIDIA GPU that torch can use" in done.output
