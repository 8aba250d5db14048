"""What stands out from its surroundings in a batch of slots on a GPU, in place of motion and residual as they are.

Equal bit for bit to `codecsieve.kernels.reference.contrast`, which defines these operations; of torch's own ones, since
no default asks for them. Cameras and what counts as 1.0 are left to `motion`.
"""

from __future__ import annotations

import torch

from codecsieve.errors import ConfigError
from codecsieve.kernels.camera import CAMERA_BITS, VECTOR_UNITS
from codecsieve.kernels.cupy.motion import estimate_cameras, lengths_without_cameras
from codecsieve.kernels.reference.contrast import VARIANCE_BITS, check_measure
from codecsieve.kernels.reference.motion import LENGTH_TOP
from codecsieve.kernels.rules import Measure


def check_measure_of_gpu(measure: Measure) -> None:
    """Raise ValueError for a measure that there is not, and ConfigError for one that a GPU does not have."""
    check_measure(measure)
    if measure.scale == "clip":
        raise ConfigError("scale ('clip') is the processor's; use device cpu")


def motion_lengths(motion: torch.Tensor, mode: str, measure: Measure) -> torch.Tensor:
    """How much each cell of n slots moves, once camera motion is out.

    Args:
        motion: int16 [n, Hc, Wc, 2], quarter-pel, x then y.
        mode: camera mode.
        measure: of which `mv_inconsistency` and `radius` are read.

    Returns:
        int32 [n, Hc, Wc], at most `LENGTH_TOP`: 1/4096 px, or with `variance` 1/4096 px^2.
    """
    cameras = estimate_cameras(motion, mode)
    if measure.mv_inconsistency == "mean":
        return _lengths_less_mean(_without_cameras(motion, cameras), measure.radius)
    lengths = lengths_without_cameras(motion, cameras)
    return local_variance(lengths, measure.radius) if measure.mv_inconsistency == "variance" else lengths


def local_variance(lengths: torch.Tensor, radius: int) -> torch.Tensor:
    """Variance of the lengths around each cell, int32 [n, Hc, Wc] 1/4096 px -> int32 [n, Hc, Wc] 1/4096 px^2."""
    wide = lengths.to(torch.int64)
    number, sums, squares = (box_sums(part, radius) for part in (torch.ones_like(wide[:1]), wide, wide * wide))
    variance = (number * squares - sums * sums) // (number * number << VARIANCE_BITS)
    return variance.clamp_(max=LENGTH_TOP).to(torch.int32)


def box_sums(values: torch.Tensor, radius: int) -> torch.Tensor:
    """Sums over the square about each cell, clipped to the picture: int64 [n, Hc, Wc] -> int64 [n, Hc, Wc]."""
    for axis in (1, 2):
        length = values.shape[axis]
        up_to = torch.cat([torch.zeros_like(values.narrow(axis, 0, 1)), values.cumsum(axis)], axis)
        at = torch.arange(length, device=values.device)
        begin, end = (at - radius).clamp_(min=0), (at + radius + 1).clamp_(max=length)
        values = up_to.index_select(axis, end) - up_to.index_select(axis, begin)
    return values


def residual_gradients(residual: torch.Tensor) -> torch.Tensor:
    """How steeply residuals change: uint8 [n, H, W] -> uint8 [n, H, W]."""
    gradients = torch.empty_like(residual)
    for levels, gradient in zip(residual, gradients, strict=True):  # one by one, for the memory that it takes
        across, down = (_differences(levels.to(torch.int16), axis) for axis in (1, 0))
        gradient.copy_((across + down + 1) >> 1)
    return gradients


def _differences(levels: torch.Tensor, axis: int) -> torch.Tensor:
    """Absolute differences of the two neighbours of each pixel along an axis, the border repeated."""
    at = torch.arange(levels.shape[axis], device=levels.device)
    before, after = (at - 1).clamp_(min=0), (at + 1).clamp_(max=len(at) - 1)
    return (levels.index_select(axis, after) - levels.index_select(axis, before)).abs_()


def _without_cameras(motion: torch.Tensor, cameras: torch.Tensor) -> list[torch.Tensor]:
    """X and y of motion less the cameras', int64 [n, Hc, Wc] 1/4096 px; see `reference.motion.subtract_camera`."""
    height, width = motion.shape[1:3]
    x = 2 * torch.arange(width, device=motion.device) - (width - 1)
    y = 2 * torch.arange(height, device=motion.device)[:, None] - (height - 1)
    half = 1 << (CAMERA_BITS - 1)
    parts = []
    for part in range(2):
        still, along, down = (cameras[:, part, term, None, None] for term in range(3))
        moved = (still + along * x + down * y + half) >> CAMERA_BITS
        parts.append(VECTOR_UNITS * motion[..., part].to(torch.int64) - moved)
    return parts


def _lengths_less_mean(vectors: list[torch.Tensor], radius: int) -> torch.Tensor:
    number = box_sums(torch.ones_like(vectors[0][:1]), radius)
    different = [part - (2 * box_sums(part, radius) + number) // (2 * number) for part in vectors]
    # As numba has it: not exact above 2^53, but far above the longest.
    squares = sum(part.to(torch.float64) ** 2 for part in different)
    assert isinstance(squares, torch.Tensor)
    return squares.clamp_(max=float(LENGTH_TOP) ** 2).sqrt_().to(torch.int32)
