"""Samples of more than 8 bits on a GPU: how NVDEC's surfaces hold them, and how torch can work with them."""

from __future__ import annotations

import torch


def as_bits(planes: torch.Tensor) -> torch.Tensor:
    """16-bit samples as int16, which torch copies, turns and indexes everywhere; the bits stay."""
    return planes.view(torch.int16) if planes.element_size() == 2 else planes


def as_samples(planes: torch.Tensor) -> torch.Tensor:
    """What `as_bits` gave as samples again: uint8 or uint16."""
    return planes.view(torch.uint16) if planes.element_size() == 2 else planes


def unused_bits(bit_depth: int) -> int:
    """Lower bits of a sample that mean nothing: a surface of more than 8 bits has them in the upper ones of 16."""
    return 0 if bit_depth == 8 else 16 - bit_depth
