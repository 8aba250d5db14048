"""The parts of the transformer: attention, MLP, block, and the head that pools tokens into one vector.

Tokens are x: [B, K, C]. Which of them may see each other is `Reach`: with padding, or with clips of different length
laid end to end. Names of parameters are those of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codecsieve.encoder.config import EncoderConfig
from codecsieve.encoder.rope import rotate


@dataclass(frozen=True)
class Reach:
    """Which tokens an attention reaches; without either, a clip's tokens reach all of that clip.

    mask: bool [B, 1, 1, K], False for padding. lengths: tokens of each clip where the clips lie end to end, B = 1.
    """

    mask: Tensor | None = None
    lengths: tuple[int, ...] | None = None


def attend(q: Tensor, k: Tensor, v: Tensor, reach: Reach, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention: q [B, heads, Q, D], k and v [B, heads, K, D] -> [B, heads, Q, D].

    Where clips lie end to end, Q is K, or one query a clip; each clip then is an attention of its own.
    """
    if reach.lengths is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=reach.mask, dropout_p=dropout)
    sizes = list(reach.lengths)
    queries = q.split(sizes if q.shape[2] == k.shape[2] else 1, dim=2)
    clips = zip(queries, k.split(sizes, dim=2), v.split(sizes, dim=2), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*clip, dropout_p=dropout) for clip in clips], dim=2)


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

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], reach: Reach) -> Tensor:
        """Tokens x [B, K, C] -> [B, K, C]."""
        q = rotate(split_heads(self.q_proj(x), self.heads), *rope)
        k = rotate(split_heads(self.k_proj(x), self.heads), *rope)
        v = split_heads(self.v_proj(x), self.heads)
        return self.out_proj(join_heads(attend(q, k, v, reach, self.dropout if self.training else 0.0)))


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

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], reach: Reach) -> Tensor:
        """Tokens x [B, K, C] -> [B, K, C]."""
        x = x + self.self_attn(self.layer_norm1(x), rope, reach)
        return x + self.mlp(self.layer_norm2(x))


class PoolingHead(nn.Module):
    """One learned query attends to a clip's tokens; an MLP with a residual follows (as in SigLIP's head)."""

    def __init__(self, config: EncoderConfig) -> None:
        """`attention` holds parameters only, under the names that torch gives them."""
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.attention = nn.MultiheadAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, reach: Reach) -> Tensor:
        """Tokens x [B, K, C] -> [B, C]; clips that lie end to end [1, K, C] -> [clips, C]."""
        attention, heads = self.attention, self.attention.num_heads
        query_weight, kv_weight = attention.in_proj_weight.tensor_split([x.shape[-1]])
        query_bias, kv_bias = attention.in_proj_bias.tensor_split([x.shape[-1]])
        queries = 1 if reach.lengths is None else len(reach.lengths)
        q = F.linear(self.probe, query_weight, query_bias).expand(x.shape[0], queries, -1)
        k, v = F.linear(x, kv_weight, kv_bias).chunk(2, dim=-1)
        pooled = attend(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), reach)
        pooled = attention.out_proj(join_heads(pooled)).flatten(0, 1)  # [B or clips, C]
        return pooled + self.mlp(self.norm(pooled))
