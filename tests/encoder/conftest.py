"""An encoder small enough for a test, with weights large enough for everything in it to matter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from codecsieve.encoder import EncoderConfig, OneVisionEncoder

PATCH = 4


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What is as small as this only waits for a second thread, the more so beside other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
