"""An encoder small enough for a test, with weights large enough for everything in it to matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codecsieve.encoder import EncoderConfig, OneVisionEncoder

PATCH = 4


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """All of them."""


@pytest.fixture
def config() -> EncoderConfig:
    return EncoderConfig(64, 96, 2, 2, image_size=16, patch_size=PATCH)


@pytest.fixture
def encoder(config: EncoderConfig) -> OneVisionEncoder:
    torch.manual_seed(0)
    model = OneVisionEncoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model


@pytest.fixture
def clips() -> list[tuple[Tensor, Tensor]]:
    """Clips of 5, 12 and 1 tokens: patches float [K, 3, P, P], positions int64 [K, 3]."""
    random = torch.Generator().manual_seed(1)
    return [
        (torch.randn(k, 3, PATCH, PATCH, generator=random), torch.randint(0, 64, (k, 3), generator=random))
        for k in (5, 12, 1)
    ]
