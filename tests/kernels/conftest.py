"""What the tests of the CUDA C kernels share: they run on a CPU, whatever the order of a block's threads."""

from __future__ import annotations

import functools

import cuda_emulator
import pytest

from codecsieve.kernels.cupy import launch


@pytest.fixture(params=cuda_emulator.ORDERS)
def emulated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Kernels launched from now on are emulated, with a block's threads in this order."""
    if not cuda_emulator.available():
        pytest.skip("g++ is needed to run CUDA C on a CPU")
    order: str = request.param
    monkeypatch.setattr(launch, "launch", functools.partial(cuda_emulator.emulated_launch, order=order))
    return order
