"""Processes that share a group on this machine, as tests of trainings have them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from forked import processes
from torch.multiprocessing import start_processes

Act = Callable[[int, int], Mapping[str, Any]]
"""What each process does, by its rank and how many there are: tensors and numbers, by name."""


def on_processes(ranks: int, act: Act, folder: Path) -> list[dict[str, Any]]:
    """What `act` returns in each of so many processes, which meet in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "meeting").unlink(missing_ok=True)
    start_processes(_process, (ranks, act, folder), ranks, start_method=processes.get_start_method())  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]


def _process(rank: int, ranks: int, act: Act, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=ranks)
    torch.save(dict(act(rank, ranks)), folder / f"{rank}.pt")
    dist.destroy_process_group()
