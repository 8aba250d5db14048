"""The motion and the residual of a batch of slots measured on a GPU: cameras, lengths, histograms, percentiles.

Equal bit for bit to `codecsieve.kernels.reference.motion` and to the limits of `reference.energy`, which define these
operations. Medians and percentiles are exact, by histograms in shared memory (`motion.cu`). What the limits are used
for is left to `triton.energy`. Arrays are torch tensors on one device; n slots of one size are done at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from codecsieve.kernels.camera import (
    CAMERA_BITS,
    MIN_TRIM_POINTS,
    VECTOR_UNITS,
    check_camera_mode,
    solve_camera,
    still_camera,
    trim_rank,
)
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy.launch import check_array
from codecsieve.kernels.reference.energy import percentile_rank

LEVELS = 256
MOMENTS = 12
THREADS = 256
CHUNK = 65536
"""Residuals that one block counts."""


def estimate_cameras(motion: torch.Tensor, mode: str) -> torch.Tensor:
    """The camera of each slot, in the form of `codecsieve.kernels.camera`; see `reference.motion.estimate_camera`.

    `similarity`, `rigid` and `affine` synchronise with the host, twice: `solve_camera` is done there, for each slot.

    Args:
        motion: int16 [n, Hc, Wc, 2], quarter-pel, x then y.
        mode: one of `CAMERA_MODES`.

    Returns:
        int64 [n, 2, 3].

    Raises:
        ValueError: the mode is unknown, or `motion` is not of this form.
    """
    check_camera_mode(mode)
    _check_motion(motion)
    if mode == "none":
        return torch.zeros((len(motion), 2, 3), dtype=torch.int64, device=motion.device)
    if mode == "mean":
        return _mean_cameras(motion)
    medians = _median_cameras(motion)
    return medians if mode == "median" else _fit_cameras(motion, mode, medians)


def lengths_without_cameras(motion: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
    """Length of what is left of motion without the camera's.

    Args:
        motion: int16 [n, Hc, Wc, 2], quarter-pel, x then y.
        cameras: int64 [n, 2, 3], from `estimate_cameras`.

    Returns:
        int32 [n, Hc, Wc], 1/4096 px, at most `reference.motion.LENGTH_TOP`.
    """
    _check_motion(motion)
    slots, height, width, _ = motion.shape
    check_array("cameras", cameras, torch.int64, (slots, 2, 3))
    lengths = torch.empty((slots, height, width), dtype=torch.int32, device=motion.device)
    grid = (slots, -(-height * width // THREADS))
    launch.launch(
        "motion", "lengths_without_cameras", grid, THREADS, motion, cameras, height, width, VECTOR_UNITS, lengths
    )
    return lengths


def lengths_at_rank(lengths: torch.Tensor, rank: int) -> torch.Tensor:
    """The length at a 0-based rank of each slot's: int32 [n, ...] -> int32 [n]."""
    return lengths_at_ranks(lengths, torch.full((len(lengths),), rank, device=lengths.device))


def lengths_at_ranks(lengths: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """The length at each slot's own 0-based rank, among those of its lengths that are not negative.

    Args:
        lengths: int32 [n, ...], at most `reference.motion.LENGTH_TOP`; a negative one stands for a cell that does
            not count.
        ranks: int64 [n].

    Returns:
        int32 [n]; `LENGTH_TOP` where no more lengths count than the rank.
    """
    slots = len(lengths)
    check_array("lengths", lengths, torch.int32, tuple(lengths.shape))
    check_array("ranks", ranks, torch.int64, (slots,))
    found = torch.empty(slots, dtype=torch.int32, device=lengths.device)
    launch.launch("motion", "lengths_at_ranks", (slots,), THREADS, lengths, lengths[:1].numel(), ranks, found)
    return found


def length_limits(lengths: torch.Tensor) -> torch.Tensor:
    """The length that counts as an energy of 1.0: the 95th percentile of each slot, at least 1.

    Args:
        lengths: int32 [n, Hc, Wc], 1/4096 px.

    Returns:
        int32 [n].
    """
    return lengths_at_rank(lengths, percentile_rank(lengths[:1].numel())).clamp_(min=1)


def residual_histograms(residual: torch.Tensor) -> torch.Tensor:
    """How many pixels of each slot have each residual: uint8 [n, H, W] -> int32 [n, 256]."""
    slots, pixels = len(residual), residual[:1].numel()
    check_array("residual", residual, torch.uint8, tuple(residual.shape))
    histograms = torch.zeros((slots, LEVELS), dtype=torch.int32, device=residual.device)
    grid = (slots, -(-pixels // CHUNK))
    launch.launch("motion", "residual_histograms", grid, LEVELS, residual, pixels, CHUNK, histograms)
    return histograms


def residual_limits(histograms: torch.Tensor) -> torch.Tensor:
    """The residual that counts as an energy of 1.0: the 95th percentile of each slot, at least 1.

    Args:
        histograms: int32 [n, 256].

    Returns:
        int32 [n], 1 to 255.
    """
    up_to = histograms.cumsum(1, dtype=torch.int64)
    totals: Any = up_to[:, -1:]  # the rule for one number does for a column of them
    return (up_to <= percentile_rank(totals)).sum(1).clamp_(min=1).to(torch.int32)


def camera_moments(motion: torch.Tensor, errors: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """The sums that fix a least-squares camera of each slot; see `codecsieve.kernels.camera.solve_camera`.

    Args:
        motion: int16 [n, Hc, Wc, 2], quarter-pel, x then y.
        errors: int32 [n, Hc, Wc]; a cell is summed if its error is 0 or more and at most its slot's limit.
        limits: int32 [n].

    Returns:
        int64 [n, 12].
    """
    _check_motion(motion)
    slots, height, width, _ = motion.shape
    check_array("errors", errors, torch.int32, (slots, height, width))
    check_array("limits", limits, torch.int32, (slots,))
    moments = torch.empty((slots, MOMENTS), dtype=torch.int64, device=motion.device)
    launch.launch("motion", "camera_moments", (slots,), THREADS, motion, errors, limits, height, width, moments)
    return moments


def _check_motion(motion: torch.Tensor) -> None:
    if motion.ndim != 4:
        raise ValueError(f"motion {tuple(motion.shape)} must be [n, Hc, Wc, 2]")
    check_array("motion", motion, torch.int16, (*motion.shape[:3], 2))


def _mean_cameras(motion: torch.Tensor) -> torch.Tensor:
    """Still cameras of the mean of each component, rounded half up to 1/4096 px."""
    cells = motion.shape[1] * motion.shape[2]
    totals = motion.flatten(1, 2).sum(1, dtype=torch.int64)
    cameras = torch.zeros((len(motion), 2, 3), dtype=torch.int64, device=motion.device)
    cameras[:, :, 0] = ((2 * VECTOR_UNITS * totals + cells) // (2 * cells)) << CAMERA_BITS
    return cameras


def _median_cameras(motion: torch.Tensor) -> torch.Tensor:
    """Still cameras of the lower median of each component."""
    slots, height, width, _ = motion.shape
    cameras = torch.empty((slots, 2, 3), dtype=torch.int64, device=motion.device)
    launch.launch(
        "motion", "medians", (slots, 2), THREADS, motion, height * width, VECTOR_UNITS << CAMERA_BITS, cameras
    )
    return cameras


def _fit_cameras(motion: torch.Tensor, mode: str, medians: torch.Tensor) -> torch.Tensor:
    """Fit on the cells that move, then on those that this explains best; an unsolvable fit changes nothing."""
    height, width = motion.shape[1:3]
    still = (motion == 0).all(dim=-1)
    no_limits = torch.zeros(len(motion), dtype=torch.int32, device=motion.device)
    sums = camera_moments(motion, -still.to(torch.int32), no_limits).cpu().numpy()
    cameras = [solve_camera(moments, mode, height, width) for moments in sums]

    ranks = np.array([max(trim_rank(int(points)), 0) for points in sums[:, 0]], np.int64)
    errors = lengths_without_cameras(motion, _stacked(cameras).to(motion.device)).masked_fill_(still, -1)
    limits = lengths_at_ranks(errors, torch.from_numpy(ranks).to(motion.device))
    trimmed = camera_moments(motion, errors, limits).cpu().numpy()
    for slot in np.flatnonzero(sums[:, 0] >= MIN_TRIM_POINTS):
        if cameras[slot] is not None:
            second = solve_camera(trimmed[slot], mode, height, width)
            cameras[slot] = cameras[slot] if second is None else second

    fitted = torch.tensor([camera is not None for camera in cameras], dtype=torch.bool, device=motion.device)
    return torch.where(fitted[:, None, None], _stacked(cameras).to(motion.device), medians)


def _stacked(cameras: list[npt.NDArray[np.int64] | None]) -> torch.Tensor:
    """int64 [n, 2, 3]; a camera that is not there stays at rest."""
    present = [still_camera(0, 0) if camera is None else camera for camera in cameras]
    return torch.from_numpy(np.array(present, np.int64).reshape(-1, 2, 3))
