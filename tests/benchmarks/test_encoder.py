"""The encoder's benchmark counts and measures what it says, on sizes that take no time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("transformers", reason="transformers is not installed")

from benchmarks.speed import encoder, encoder_packed, encoder_step
from benchmarks.speed.encoder_step import Shape, kept_mb, operations


@pytest.mark.slow
def test_operations_are_those_of_the_matrix_products() -> None:
    counted = operations(Shape("tiny", 64, 1))
    layers, width, tokens = 12, 192, 64
    blocks = layers * (2 * tokens * (4 + 8) * width**2 + 4 * tokens**2 * width)
    assert counted["encoder"] == pytest.approx((blocks + 2 * tokens * 3 * 14**2 * width) / 1e9)
    assert 1 < counted["vit"] / counted["encoder"] < 1.03  # one token more


def test_what_is_kept_is_counted_once_and_without_weights() -> None:
    linear = torch.nn.Linear(64, 64)
    tokens = torch.randn(4096, 64)  # 1 MB, which both products keep
    assert kept_mb(linear, lambda: linear(tokens) + linear(tokens)) == 1
    assert kept_mb(linear, lambda: linear(tokens).exp()) == 2  # and exp its output


@pytest.mark.benchmark
def test_all_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Any] = {}
    monkeypatch.setattr(encoder, "save", lambda name, figures: saved.update({name: figures}))
    monkeypatch.setattr(encoder, "SIZES", (("tiny", (2, 3)),))
    monkeypatch.setattr(encoder_packed, "MIXES", ((3, 4),))
    monkeypatch.setattr(encoder_step, "PUBLISHED", Shape("tiny", 32, 1))
    arguments = ["--repeats", "1", "--step-repeats", "1", "--preset", "tiny", "--tokens", "32"]
    done = CliRunner().invoke(encoder.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (passed,), (mix,) = saved["encoder"]["passes"], saved["encoder_packed"]["packed"]
    rows = saved["encoder_step"]["step"]["models"]
    assert (passed["tokens"], mix["clips"]) == (6, 3)
    assert all(value > 0 for name, value in mix.items() if name.endswith("_ms"))
    models = [(row["model"], row["attention"]) for row in rows]
    assert models == [("encoder", "sdpa"), ("ViT", "sdpa"), ("encoder", "eager"), ("ViT", "eager")]
    assert all(row["step_ms"] > 0 and row["kept_mb"] > 0 for row in rows)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(encoder.main, ["--device", "cuda"])
    assert done.exit_code == 1
    assert "no NVIDIA GPU that torch can use" in done.output
