"""The encoder as the vision tower of a language model, and the projector between the two, as LLaVA-like code has them.

    tower = VisionTower(model, select_layer=-2)
    projector = Projector(tower.hidden_size, language_model.config.hidden_size)
    embeddings = projector(tower(patches=patches, positions=positions, cu_seqlens=cu_seqlens))      # [N, d]

The tower takes what the encoder takes, so that clips of different length go in end to end or padded. What a language
model does with the embeddings is left to others.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from codecsieve.encoder.model import SparseEncoder
from codecsieve.errors import EncoderError

_WAVES = 7  # of wavelengths 2, 4, ... 128 slots, rows or columns


class VisionTower(nn.Module):
    """An encoder of which the tokens of one layer are taken."""

    def __init__(self, encoder: SparseEncoder, select_layer: int = -2) -> None:
        """Take an `OneVisionEncoder`, or the class that AutoModel gives, as it is.

        select_layer: of the tokens before the first block and after each, without the last norm: -2 is what the last
        but one block makes. Raises EncoderError where there is no such layer.
        """
        super().__init__()
        layers = encoder.encoder_config.num_hidden_layers + 1
        if not -layers <= select_layer < layers:
            raise EncoderError(
                f"select_layer ({select_layer}) must be in {-layers}..{layers - 1}: the encoder's layers"
            )
        self.encoder = encoder
        self.select_layer = select_layer

    @property
    def hidden_size(self) -> int:
        """Channels of a token."""
        return self.encoder.encoder_config.hidden_size

    def forward(self, *arguments: Tensor, **named: Any) -> Tensor:
        """Tokens [B, K, C], or [N, C] of clips end to end; arguments and errors are `SparseEncoder.forward`'s."""
        output = self.encoder(*arguments, **named, output_hidden_states=True)
        return output.hidden_states[self.select_layer]


class Projector(nn.Sequential):
    """Tokens as a language model's embeddings: Linear - GELU - Linear, under LLaVA's names of parameters, 0 and 2."""

    def __init__(self, vision_size: int, hidden_size: int) -> None:
        """Tokens of so many channels become embeddings of so many."""
        super().__init__(nn.Linear(vision_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size))


class Standard(nn.Module):
    """Brings each channel of tokens to mean 0 and deviation 1, as these are over clips that were seen before.

    For before a projector, `nn.Sequential(Standard(size), Projector(size, hidden_size))`: what a tower's tokens have in
    common is often far larger than what tells them apart. The numbers are not trained; they are saved with weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, vision_size: int) -> None:
        """For tokens of so many channels, which stay as they are until `measure`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(vision_size))
        self.register_buffer("deviation", torch.ones(vision_size))

    def measure(self, tokens: Tensor) -> None:
        """Take mean and deviation from tokens [..., C]. Raises EncoderError where a channel is the same in all."""
        deviation, mean = torch.std_mean(tokens.float().flatten(0, -2), dim=0)
        if not (deviation > 0).all():
            raise EncoderError("tokens must differ in every channel; give those of more clips")
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [..., C] of any float type -> [..., C]."""
        return (tokens - self.mean.to(tokens.dtype)) / self.deviation.to(tokens.dtype)


class PlaceEmbedding(nn.Module):
    """Where and when a token is, as something to add to its embedding.

    A trained tower tells a language model where its tokens are, one that was never trained does not: and of kept
    patches, other than of whole frames, the order alone does not tell it either.

    Linear - GELU - Linear of waves: along time, rows and columns, and along directions across all three. The latter are
    in phase along what moves at one speed, so that motion is a sum of tokens rather than a comparison between them.
    """

    axes: Tensor
    directions: Tensor

    def __init__(self, hidden_size: int, directions: int = 64) -> None:
        """For embeddings of so many channels; directions: of waves across, up to a quarter turn a step in each."""
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.register_buffer("axes", math.pi * 0.5 ** torch.arange(_WAVES), persistent=False)
        across = torch.rand(3, directions, generator=random) * 2 - 1
        self.register_buffer("directions", math.pi / 2 * across)
        waves = 2 * (3 * _WAVES + directions)
        self.layers = nn.Sequential(nn.Linear(waves, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size))

    def forward(self, positions: Tensor) -> Tensor:
        """Positions [..., 3] of any number type -> [..., C]."""
        places = positions.to(self.axes.dtype)
        along = (places[..., None] * self.axes).flatten(-2)
        angles = torch.cat((along, places @ self.directions), dim=-1)
        return self.layers(torch.cat((angles.sin(), angles.cos()), dim=-1).to(next(self.parameters()).dtype))
