"""The attentive probe: a small classifier on the tokens of a frozen encoder.

A learned query attends to a clip's tokens, an MLP with a residual follows, then a norm and a linear layer. Training it
is left to `pipelines.probe`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codecsieve.errors import EncoderError

HEAD_CHANNELS = 64
"""Channels of one attention head."""

_FIRST_LOGITS = 1e-3  # a fresh linear layer is scaled by this, so that training begins at even odds


class AttentiveProbe(nn.Module):
    """Query -> attention of dim/64 heads -> x + MLP(RMSNorm(x)), 4x wide, GELU -> LayerNorm -> Linear.

    With one query per head and no token attending to another, attention needs no keys and values of the tokens: the
    query is taken through the key weights, and the tokens' weighted mean through the value weights. That is the same
    sum in another order, for 64 times less work; the bias of keys, which softmax takes out again, is left out.
    """

    def __init__(self, dim: int, classes: int) -> None:
        """Fresh weights. dim: channels of a token, a multiple of 64. Raises EncoderError."""
        super().__init__()
        if dim < 1 or dim % HEAD_CHANNELS:
            raise EncoderError(f"dim ({dim}) must be a multiple of {HEAD_CHANNELS}, the channels of an attention head")
        if classes < 2:
            raise EncoderError(f"classes ({classes}) must be >= 2")
        self.heads = dim // HEAD_CHANNELS
        self.query = nn.Parameter(torch.empty(dim))
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.norm = nn.RMSNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.last_norm = nn.LayerNorm(dim, eps=1e-6)
        self.linear = nn.Linear(dim, classes)
        self._init_weights()

    @torch.no_grad()
    def _init_weights(self) -> None:
        nn.init.normal_(self.query, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.linear.weight.mul_(_FIRST_LOGITS)

    def queries(self) -> Tensor:
        """What each attention head compares tokens with, the scale included: [heads, dim]."""
        query = self.q_proj(self.query).unflatten(0, (self.heads, HEAD_CHANNELS))  # [heads, 64]
        keys = self.k_proj.weight.unflatten(0, (self.heads, HEAD_CHANNELS))  # [heads, 64, dim]
        return torch.einsum("hc,hcd->hd", query, keys) / math.sqrt(HEAD_CHANNELS)

    def classify(self, means: Tensor) -> Tensor:
        """What each head attended to, [B, heads, dim], to logits [B, classes]."""
        values = self.v_proj.weight.unflatten(0, (self.heads, HEAD_CHANNELS))  # [heads, 64, dim]
        x = self.out_proj(torch.einsum("bhd,hcd->bhc", means, values).flatten(1) + self.v_proj.bias)
        x = x.to(self.query.dtype)  # [B, dim]; under autocast norms and sums keep the weights' type
        x = x + self.mlp(self.norm(x))
        return self.linear(self.last_norm(x))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, dim] -> logits [B, classes]."""
        return self.classify(attend_to_tokens(tokens, self.queries()))


class ProbeBank(nn.Module):
    """Several probes on the same tokens, which are read once for all of them."""

    def __init__(self, dim: int, classes: int, seeds: Sequence[int]) -> None:
        """A probe for each of `seeds`: the same seed, the same first weights. Raises EncoderError."""
        super().__init__()
        if not seeds:
            raise EncoderError("seeds must name at least one probe")
        self.dim, self.classes = dim, classes
        self.probes = nn.ModuleList(_seeded(dim, classes, seed) for seed in seeds)

    def __len__(self) -> int:
        """Number of probes."""
        return len(self.probes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, dim] -> logits [probes, B, classes]."""
        if tokens.dim() != 3 or tokens.shape[-1] != self.dim:
            raise EncoderError(f"tokens ({list(tokens.shape)}) must be [B, N, {self.dim}]")
        probes = [probe for probe in self.probes if isinstance(probe, AttentiveProbe)]
        means = attend_to_tokens(tokens, torch.cat([probe.queries() for probe in probes]))
        parts = means.split([probe.heads for probe in probes], dim=1)
        return torch.stack([probe.classify(part) for probe, part in zip(probes, parts, strict=True)])


def attend_to_tokens(tokens: Tensor, queries: Tensor) -> Tensor:
    """The mean of tokens [B, N, dim] for each of queries [A, dim], weighted by their match's softmax: [B, A, dim]."""
    weights = F.linear(tokens, queries).softmax(dim=1)  # [B, N, A]
    return weights.to(tokens.dtype).transpose(1, 2) @ tokens


def _seeded(dim: int, classes: int, seed: int) -> AttentiveProbe:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttentiveProbe(dim, classes)
