"""The benchmark of the concepts' loss measures each part of a step, on sizes that take no time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("transformers", reason="transformers is not installed")

from benchmarks.speed import concept_loss
from benchmarks.speed.turns import Bench


@pytest.mark.slow
def test_all_parts_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Any] = {}
    monkeypatch.setattr(concept_loss, "save", lambda name, figures: saved.update({name: figures}))
    monkeypatch.setattr(concept_loss, "TOKENS", (16, 32))
    monkeypatch.setattr(concept_loss, "CENTRES", (50, 100))
    monkeypatch.setattr(concept_loss, "WHOLE", (32, 100))
    done = CliRunner().invoke(concept_loss.main, ["--clips", "2", "--repeats", "1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    figures = saved["concept_loss"]
    assert [row["centres"] for row in figures["bank"]] == [50, 100]
    assert all(value > 0 for row in figures["bank"] for value in row.values())
    for row in figures["shares"]:
        assert all(0 < row[f"loss_{centres}_percent"] < 100 for centres in (50, 100))
    assert figures["whole"]["whole_ms"] > 0


def test_passes_do_what_they_are_named_for() -> None:
    passes = concept_loss.bank_passes(Bench(torch.device("cpu"), torch.float32, 1), 60, 8, 3)
    optimiser = passes["AdamW 60"].__self__  # type: ignore[attr-defined]
    weight = optimiser.param_groups[0]["params"][0]
    before = weight.detach().clone()
    passes["loss 60"]()
    assert weight.grad.norm() > 0
    passes["AdamW 60"]()
    assert torch.equal(optimiser.state[weight]["exp_avg"], 0.1 * weight.grad)
    assert torch.equal(weight, before)


def test_a_share_is_of_both_in_per_cent() -> None:
    taken = {name: [1.0, 1.0, 9.0] for name in ("whole", *(f"encoder {tokens}" for tokens in concept_loss.TOKENS))}
    taken |= {f"{name} {c}": [3.0, 1.0, 1.0] for name in concept_loss.BANK for c in concept_loss.CENTRES}
    assert concept_loss.summary(taken)["shares"][0]["loss_10000_percent"] == 50
