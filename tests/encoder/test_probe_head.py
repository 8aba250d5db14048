"""The attentive probe: what it computes, and that several at once are each of them alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codecsieve.encoder.probe_head import AttentiveProbe, ProbeBank
from codecsieve.errors import EncoderError


def randomise(module: nn.Module) -> None:
    """Weights large enough for everything to matter, zero biases too."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def by_the_book(probe: AttentiveProbe, tokens: Tensor) -> Tensor:
    """The head's definition, with torch's own multi-head attention."""
    dim = tokens.shape[-1]
    attention = nn.MultiheadAttention(dim, dim // 64, batch_first=True)
    with torch.no_grad():
        weights = (probe.q_proj.weight, probe.k_proj.weight, probe.v_proj.weight)
        attention.in_proj_weight.copy_(torch.cat(weights))
        key_bias = torch.randn(dim)  # any: softmax takes it out
        attention.in_proj_bias.copy_(torch.cat([probe.q_proj.bias, key_bias, probe.v_proj.bias]))
        attention.out_proj.load_state_dict(probe.out_proj.state_dict())
    query = probe.query.expand(len(tokens), 1, dim)
    x = attention(query, tokens, tokens, need_weights=False)[0][:, 0]
    x = x + probe.mlp(F.rms_norm(x, (dim,), probe.norm.weight, 1e-6))
    return probe.linear(F.layer_norm(x, (dim,), probe.last_norm.weight, probe.last_norm.bias, 1e-6))


@pytest.mark.parametrize("dim", [64, 192])
def test_the_probe_is_what_its_definition_says(dim: int) -> None:
    probe = AttentiveProbe(dim, 5)
    randomise(probe)
    tokens = torch.randn(3, 7, dim)
    torch.testing.assert_close(probe(tokens), by_the_book(probe, tokens), atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_the_definition() -> None:
    probe = AttentiveProbe(128, 4)
    randomise(probe)
    tokens = torch.randn(3, 7, 128)
    gradients = []
    for logits in (probe(tokens), by_the_book(probe, tokens)):
        names = ["query", "mlp.0.weight", "linear.weight"]  # those that the definition above does not copy
        gradients.append(torch.autograd.grad(logits.square().sum(), [probe.get_parameter(name) for name in names]))
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-3, rtol=1e-3)


def test_a_fresh_probe_gives_every_class_nearly_the_same_odds() -> None:
    probabilities = AttentiveProbe(64, 10)(torch.randn(4, 6, 64)).softmax(-1)
    assert (probabilities - 0.1).abs().max() < 1e-3
    assert probabilities.std() > 0


def test_the_order_of_tokens_does_not_matter() -> None:
    probe = AttentiveProbe(64, 3)
    randomise(probe)
    tokens = torch.randn(2, 9, 64)
    torch.testing.assert_close(probe(tokens), probe(tokens[:, torch.randperm(9)]), atol=1e-5, rtol=1e-4)


def test_a_bank_gives_what_each_of_its_probes_gives() -> None:
    bank = ProbeBank(128, 6, seeds=[3, 4, 3])
    randomise(bank)
    tokens = torch.randn(5, 11, 128)
    logits = bank(tokens)
    assert logits.shape == (3, 5, 6)
    for one, probe in zip(logits, bank.probes, strict=True):
        torch.testing.assert_close(one, probe(tokens), atol=1e-5, rtol=1e-4)


def test_a_seed_decides_the_first_weights_and_leaves_torch_s_own_seed_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = ProbeBank(64, 3, seeds=[1, 1, 2]).probes
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.query, again.query)
    assert not torch.equal(first.query, other.query)


@pytest.mark.parametrize(
    ("dim", "classes", "message"),
    [
        (100, 3, r"dim \(100\) must be a multiple of 64"),
        (0, 3, r"dim \(0\) must be a multiple of 64"),
        (64, 1, r"classes \(1\) must be >= 2"),
    ],
)
def test_impossible_probes_are_refused(dim: int, classes: int, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        AttentiveProbe(dim, classes)


def test_tokens_of_other_width_are_refused() -> None:
    with pytest.raises(EncoderError, match=r"tokens \(\[2, 3, 128\]\) must be \[B, N, 64\]"):
        ProbeBank(64, 3, seeds=[0])(torch.zeros(2, 3, 128))
    with pytest.raises(EncoderError, match="seeds must name at least one"):
        ProbeBank(64, 3, seeds=[])
