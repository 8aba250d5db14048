"""The models that the encoder's benchmark compares, untrained, and what they are given: the same number of patches."""

from __future__ import annotations

import torch
import transformers
from torch import Tensor

from benchmarks.speed.turns import Bench
from codecsieve.encoder import EncoderConfig, OneVisionEncoder

Grid = tuple[int, int]
"""Rows and columns of patches."""


def make_encoder(preset: str, bench: Bench, attention: str = "sdpa", use_head: bool = True) -> OneVisionEncoder:
    """The encoder of a preset, with attention by that implementation."""
    config = EncoderConfig.from_dict(EncoderConfig.preset(preset).to_dict() | {"use_head": use_head})
    with bench.device:
        return OneVisionEncoder(config, attention).to(bench.dtype).eval()


def make_vit(preset: str, grid: Grid, bench: Bench, attention: str = "sdpa") -> torch.nn.Module:
    """Transformers' ViT of the same width, depth and patches, up to its last hidden state."""
    config = EncoderConfig.preset(preset)
    vit = transformers.ViTConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        image_size=tuple(side * config.patch_size for side in grid),
        patch_size=config.patch_size,
        attn_implementation=attention,
    )
    with bench.device:
        return transformers.ViTModel(vit, add_pooling_layer=False).to(bench.dtype).eval()


def tokens_of(grid: Grid, bench: Bench, clips: int = 1, patch: int = 14) -> dict[str, Tensor]:
    """Patches [clips, K, 3, P, P] and positions [clips, K, 3] of a frame of so many patches."""
    rows, columns = grid
    places = torch.meshgrid(*map(torch.arange, (1, rows, columns)), indexing="ij")
    positions = torch.stack(places, -1).reshape(1, -1, 3).expand(clips, -1, -1)
    patches = torch.randn(clips, rows * columns, 3, patch, patch)
    return {"patches": patches.to(bench.device, bench.dtype), "positions": positions.to(bench.device)}


def picture_of(grid: Grid, bench: Bench, clips: int = 1, patch: int = 14) -> Tensor:
    """Pixel values [clips, 3, H, W] of a picture of so many patches."""
    return torch.randn(clips, 3, grid[0] * patch, grid[1] * patch).to(bench.device, bench.dtype)
