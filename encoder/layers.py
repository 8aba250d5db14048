"""The parts of the transformer: embedding, attention, MLP, blocks, and the head that pools tokens into one vector.

Tokens are x: [B, K, C]. Which of them may see each other, and what computes that, is left to `attention`. Names of
parameters are those of the published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codecsieve.encoder.attention import Attend
from codecsieve.encoder.config import EncoderConfig
from codecsieve.encoder.rope import rotate
from codecsieve.encoder.tokens import normalise


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, K, C] -> [B, heads, K, C / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """[B, heads, K, C / heads] -> [B, K, C]."""
    return x.transpose(1, 2).flatten(2)


def make_norm(config: EncoderConfig) -> nn.Module:
    """The norm of the blocks, before and after them."""
    kind = nn.RMSNorm if config.layer_norm_type == "rms_norm" else nn.LayerNorm
    return kind(config.hidden_size, eps=config.layer_norm_eps)


class PatchEmbedding(nn.Module):
    """A patch as a token: a linear map of its pixels."""

    def __init__(self, config: EncoderConfig) -> None:
        """The weight is a convolution's, as in the published checkpoints; a patch meets it once."""
        super().__init__()
        size = config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, config.hidden_size, size, stride=size, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Patches uint8 or float [B, K, 3, P, P] -> [B, K, C]."""
        weight = self.patch_embedding.weight
        if patches.dtype == torch.uint8:
            patches = normalise(patches)
        return F.linear(patches.to(weight.dtype).flatten(2), weight.flatten(1))


class Attention(nn.Module):
    """Self-attention of tokens that know where they are."""

    def __init__(self, config: EncoderConfig) -> None:
        """Four projections."""
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> tuple[Tensor, Tensor | None]:
        """Tokens x [B, K, C] -> [B, K, C], and the weights [B, heads, K, K] if `attend` keeps them."""
        q = rotate(split_heads(self.q_proj(x), self.heads), *rope)
        k = rotate(split_heads(self.k_proj(x), self.heads), *rope)
        v = split_heads(self.v_proj(x), self.heads)
        x, weights = attend(q, k, v, self.dropout if self.training else 0.0)
        return self.out_proj(join_heads(x)), weights


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: EncoderConfig) -> None:
        """Of `intermediate_size` channels inside."""
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.approximate = "none" if config.hidden_act == "gelu" else "tanh"

    def forward(self, x: Tensor) -> Tensor:
        """Tokens x [B, K, C] -> [B, K, C]."""
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: EncoderConfig) -> None:
        """Attention and MLP, each behind its norm."""
        super().__init__()
        self.layer_norm1 = make_norm(config)
        self.self_attn = Attention(config)
        self.layer_norm2 = make_norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> tuple[Tensor, Tensor | None]:
        """Tokens x [B, K, C] -> [B, K, C], and the weights [B, heads, K, K] if `attend` keeps them."""
        attended, weights = self.self_attn(self.layer_norm1(x), rope, attend)
        x = x + attended
        return x + self.mlp(self.layer_norm2(x)), weights


class BlockStack(nn.Module):
    """The blocks, one after the other."""

    def __init__(self, config: EncoderConfig) -> None:
        """`gradient_checkpointing` trades a second forward pass for the memory of activations."""
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.gradient_checkpointing = False

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend, keep_states: bool
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """Tokens x [B, K, C] -> [B, K, C]; what they are before and after each block, and the weights, if kept."""
        states, kept = [x], []
        for layer in self.layers:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x, weights = checkpoint(layer, x, rope, attend, use_reentrant=False)
            else:
                x, weights = layer(x, rope, attend)
            if keep_states:
                states.append(x)
            if attend.keep_weights:
                kept.append(weights)
        return x, tuple(states) if keep_states else None, tuple(kept) if attend.keep_weights else None


class PoolingHead(nn.Module):
    """One learned query attends to a clip's tokens; an MLP with a residual follows (as in SigLIP's head)."""

    def __init__(self, config: EncoderConfig) -> None:
        """`attention` holds parameters only, under the names that torch gives them."""
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.attention = nn.MultiheadAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """Tokens x [B, K, C] -> [B, C]; clips that lie end to end [1, K, C] -> [clips, C]."""
        attention, heads = self.attention, self.attention.num_heads
        query_weight, kv_weight = attention.in_proj_weight.tensor_split([x.shape[-1]])
        query_bias, kv_bias = attention.in_proj_bias.tensor_split([x.shape[-1]])
        pack = attend.reach.pack
        queries = 1 if pack is None else len(pack.lengths)
        q = F.linear(self.probe, query_weight, query_bias).expand(x.shape[0], queries, -1)
        k, v = F.linear(x, kv_weight, kv_bias).chunk(2, dim=-1)
        pooled, _ = attend(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads))
        pooled = attention.out_proj(join_heads(pooled)).flatten(0, 1)  # [B or clips, C]
        return pooled + self.mlp(self.norm(pooled))
