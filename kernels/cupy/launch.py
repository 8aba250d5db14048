"""Launch the CUDA C kernels of this folder on torch's tensors: on their device, in torch's current stream.

A source is compiled by CuPy (NVRTC) when one of its kernels is first launched, and kept on disk by CuPy. What the
kernels do is said in the `.cu` files and in the modules that launch them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent
OPTIONS = ("-std=c++17",)


def source_text(source: str) -> str:
    """The text of `source`.cu as it is compiled."""
    return "\n".join((FOLDER / name).read_text() for name in ("common.cuh", f"{source}.cu"))


def launch(source: str, name: str, grid: tuple[int, ...], threads: int, *arguments: torch.Tensor | int) -> None:
    """Launch kernel `name` of `source`.cu.

    Args:
        source: file in this folder, without its suffix.
        name: of an `extern "C" __global__` function.
        grid: blocks in x, y, z.
        threads: of a block, in x.
        arguments: contiguous tensors of one device (the kernel gets their addresses), and whole numbers.
    """
    device = check_arguments(arguments)
    if 0 in grid:
        return
    import cupy

    words = [np.uint64(a.data_ptr()) if isinstance(a, torch.Tensor) else np.int64(a) for a in arguments]
    stream = torch.cuda.current_stream(device).cuda_stream
    with cupy.cuda.Device(device.index), cupy.cuda.ExternalStream(stream):
        _compiled(source).get_function(name)(grid, (threads,), tuple(words))


def kept_table(table: torch.Tensor) -> torch.Tensor:
    """A table that outlives this call, for kernels of the current stream; several streams may share it.

    Its memory may be given to others only once the kernels that were launched up to then have read it.
    """
    if table.is_cuda:
        table.record_stream(torch.cuda.current_stream(table.device))
    return table


def check_arguments(arguments: tuple[torch.Tensor | int, ...]) -> torch.device:
    """The device that all tensors among the arguments are on.

    Raises:
        ValueError: there is none, they are on several, or one is not contiguous.
    """
    tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
    devices = {tensor.device for tensor in tensors}
    if len(devices) != 1:
        raise ValueError(f"arrays must be on one device, not on {sorted(map(str, devices))}")
    for tensor in tensors:
        if not tensor.is_contiguous():
            raise ValueError(f"array {tuple(tensor.shape)} with strides {tensor.stride()} must be contiguous")
    return devices.pop()


def check_array(name: str, array: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an array has this dtype and shape: a kernel knows nothing but its address."""
    if array.dtype != dtype:
        raise ValueError(f"{name} ({array.dtype}) must be {dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} {tuple(array.shape)} must be {shape}")


@cache
def _compiled(source: str) -> Any:
    import cupy

    return cupy.RawModule(code=source_text(source), options=OPTIONS)
