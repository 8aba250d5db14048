"""Rotary position embedding over time, height and width (RoPE: Su et al., arXiv 2104.09864).

It is computed from the positions in every call: there are no tables, so none can be lost where a checkpoint is
loaded through the meta device, and no grid bounds the positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHARES = (4, 6, 6)
"""How half of a head's channels are shared out to time, height and width."""


def rotation(positions: Tensor, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of what every channel of a head is turned by.

    Args:
        positions: [B, K, 3], any number type: slot, row, column.
        head_size: channels of a head, a multiple of 32.
        theta: base of the frequencies.

    Returns:
        Two of float32 [B, 1, K, head_size].
    """
    angles = []
    for axis, share in zip(positions.float().unbind(-1), SHARES, strict=True):  # [B, K] each
        count = head_size // 2 * share // sum(SHARES)
        exponents = torch.arange(count, device=positions.device, dtype=torch.float32) / count
        angles.append(axis.unsqueeze(-1) / theta**exponents)  # [B, K, count]
    # The published weights were trained with the angles laid out as halves [f, f], while `rotate` pairs
    # neighbours: the two channels of a pair turn by different angles. Keep it so.
    angle = torch.cat(angles + angles, dim=-1).unsqueeze(1)  # [B, 1, K, head_size]
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the channel pairs (0, 1), (2, 3), ... of x [B, heads, K, head_size], in float32 at least; x's type again."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    even, odd = wide[..., 0::2], wide[..., 1::2]
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)  # [B, heads, K, head_size]
    return (wide * cosine + turned * sine).type_as(x)
