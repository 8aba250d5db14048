"""Processes that share a run: which of them this is, sums over all, waiting for each other.

    with joined("auto") as ranks:         # under torchrun: one process of several; else this one alone
        ranks.sum_([tensor])

gloo carries sums on the processor, nccl on GPUs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from codecsieve.errors import ConfigError
from codecsieve.text import quoted

_PATIENCE = timedelta(days=2)  # the others wait while the first one fills the cache


@dataclass(frozen=True)
class Ranks:
    """One process, number `rank` of `size`, and the device that it works on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this one writes the files and speaks for all."""
        return self.rank == 0

    @property
    def has_bf16(self) -> bool:
        """Whether the device computes in bfloat16."""
        return self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the sum of it over all processes, which then hold the same bits."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # in the same order everywhere
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in same])
            dist.all_reduce(flat)
            for tensor, part in zip(same, flat.split([tensor.numel() for tensor in same]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            dist.barrier()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """`auto` takes a GPU where there is one, of several processes each its own. Raises ConfigError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device ({quoted(name)}) must be one of auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda":
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(
                f"device ({quoted(name)}) must be one that is there: torch finds {torch.cuda.device_count()}"
            )
    return device


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """The place of this process among those that torchrun started, or alone. Raises ConfigError for a device."""
    if not dist.is_torchelastic_launched():
        yield Ranks(device=choose_device(device))
        return
    chosen = choose_device(device, dist.get_node_local_rank(0))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()
