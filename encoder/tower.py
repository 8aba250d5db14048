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


class PlaceEmbedding(nn.Module):
    """Where and when a token is, as something to add to its embedding: a linear map of waves, 0 until it is trained.

    A trained tower tells a language model where its tokens are, one that was never trained does not: and of kept
    patches, other than of whole frames, the order alone does not tell it either.
    """

    waves: Tensor

    def __init__(self, hidden_size: int) -> None:
        """For embeddings of so many channels."""
        super().__init__()
        self.register_buffer("waves", math.pi * 0.5 ** torch.arange(_WAVES), persistent=False)
        self.linear = nn.Linear(6 * _WAVES, hidden_size)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, positions: Tensor) -> Tensor:
        """Positions [..., 3] of any number type -> [..., C]."""
        angles = (positions[..., None].to(self.waves.dtype) * self.waves).flatten(-2)
        return self.linear(torch.cat((angles.sin(), angles.cos()), dim=-1).to(self.linear.weight.dtype))
