"""Cameras, lengths, histograms and percentiles of a batch of slots on a GPU: equal to the definition, bit for bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from codecsieve.kernels import camera
from codecsieve.kernels.cpu import motion as cpu_motion
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy import motion as cupy_motion
from codecsieve.kernels.reference import energy, motion
from codecsieve.kernels.rules import CAMERA_MODES

Motion = npt.NDArray[np.int16]

emulation = pytest.mark.usefixtures("emulated")
grids = pytest.mark.parametrize("grid", [(1, 1), (2, 3), (18, 32), (41, 37)], ids=str)


def slots_of(height: int, width: int, seed: int = 0) -> Motion:
    """Slots of every kind, int16 [12, height, width, 2]: still, panned, zoomed, blocky, few cells moving, extreme."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    still = np.zeros((height, width, 2), np.int64)
    zoom = np.stack([3 * x - y, x + 3 * y + 7], axis=-1)
    blocks = rng.integers(-60, 61, (-(-height // 4), -(-width // 4), 2)).repeat(4, 0).repeat(4, 1)[:height, :width]
    object_moves = rng.random((height, width, 1)) < 0.3
    few = {count: still.copy() for count in (3, 4, 7, 9)}
    for count, slot in few.items():
        slot.reshape(-1, 2)[:count] = rng.integers(1, 9, (slot.size // 2, 2))[:count]
    extreme = rng.choice([-32768, -32767, -1, 0, 1, 5, 32767], (height, width, 2))
    thrown = still.copy()
    thrown.reshape(-1, 2)[:4, 0] = [-32768, -32768, 32767, 32767][: height * width]
    slots = [
        still, still + np.array([13, -7]), zoom, zoom + blocks * object_moves, blocks * object_moves,
        *few.values(), extreme, thrown, rng.integers(-32768, 32768, (height, width, 2)),
    ]  # fmt: skip
    return np.stack(slots).astype(np.int16)


def check_cameras(slots: Motion, mode: str, device: str) -> None:
    ours = cupy_motion.estimate_cameras(torch.from_numpy(slots).to(device), mode)
    assert ours.dtype == torch.int64
    assert ours.device.type == device
    expected = [cpu_motion.estimate_camera(slot, mode) for slot in slots]
    assert np.array_equal(ours.cpu().numpy(), expected)


def check_lengths(slots: Motion, mode: str, device: str) -> None:
    """Lengths, and the limit that they set."""
    cameras = [cpu_motion.estimate_camera(slot, mode) for slot in slots]
    expected = np.stack([cpu_motion.lengths_without_camera(s, c) for s, c in zip(slots, cameras, strict=True)])
    on_device = torch.from_numpy(slots).to(device), torch.from_numpy(np.stack(cameras)).to(device)
    ours = cupy_motion.lengths_without_cameras(*on_device)
    assert ours.dtype == torch.int32
    assert np.array_equal(ours.cpu().numpy(), expected)
    rank = energy.percentile_rank(expected[0].size)
    limits = cupy_motion.length_limits(ours)
    assert limits.dtype == torch.int32
    assert limits.tolist() == [max(cpu_motion.length_at_rank(lengths, rank), 1) for lengths in expected]


def check_histograms(residual: npt.NDArray[np.uint8], device: str) -> None:
    """Histograms, and the limit that they set."""
    expected = np.stack([energy.residual_histogram(slot) for slot in residual])
    ours = cupy_motion.residual_histograms(torch.from_numpy(residual).to(device))
    assert ours.dtype == torch.int32
    assert np.array_equal(ours.cpu().numpy(), expected)
    limits = cupy_motion.residual_limits(ours)
    assert limits.dtype == torch.int32
    assert limits.tolist() == [energy.residual_limit(counts) for counts in expected]


@pytest.mark.slow
@emulation
@grids
@pytest.mark.parametrize("mode", CAMERA_MODES)
def test_cameras_are_those_of_the_definition(grid: tuple[int, int], mode: str) -> None:
    slots = slots_of(*grid)
    check_cameras(slots, mode, "cpu")
    ours = cupy_motion.estimate_cameras(torch.from_numpy(slots), mode).numpy()
    assert np.array_equal(ours, [motion.estimate_camera(slot, mode) for slot in slots])


@emulation
@pytest.mark.parametrize("mode", ["similarity", "rigid", "affine"])
def test_the_slots_tried_are_fitted_trimmed_and_left_to_the_median(mode: str) -> None:
    """That the cases above take every way: each camera beside those that a shorter way would give."""
    slots = slots_of(41, 37)
    ours = cupy_motion.estimate_cameras(torch.from_numpy(slots), mode).numpy()
    moving = (slots != 0).any(axis=-1)
    sums = [motion.camera_moments(slot, kept) for slot, kept in zip(slots, moving, strict=True)]
    first = [camera.solve_camera(moments, mode, 41, 37) for moments in sums]
    medians = [motion.estimate_camera(slot, "median") for slot in slots]
    untrimmed = {k for k, fit in enumerate(first) if fit is not None and np.array_equal(ours[k], fit)}
    unfitted = {k for k, fit in enumerate(first) if fit is None and np.array_equal(ours[k], medians[k])}
    assert {0, 5} <= unfitted  # still, and 3 cells that move
    assert {6, 7} <= untrimmed  # 4 and 7 cells that move
    assert {3, 4} <= set(range(len(slots))) - unfitted - untrimmed  # objects over a zoom, and alone


@emulation
@grids
@pytest.mark.parametrize("mode", ["none", "median", "similarity"])
def test_lengths_and_their_limits_are_those_of_the_definition(grid: tuple[int, int], mode: str) -> None:
    slots = slots_of(*grid, seed=1)
    check_lengths(slots, mode, "cpu")
    ours = cupy_motion.lengths_without_cameras(
        torch.from_numpy(slots), torch.from_numpy(np.stack([motion.estimate_camera(slot, mode) for slot in slots]))
    )
    assert np.array_equal(ours.numpy(), [motion.magnitude(motion.remove_camera(slot, mode)) for slot in slots])


@emulation
def test_a_length_is_told_at_any_rank() -> None:
    rng = np.random.default_rng(3)
    lengths = np.stack(
        [
            rng.integers(0, motion.LENGTH_TOP + 1, 2500),
            rng.integers(5119, 5122, 2500),  # about a border of two bins
            np.full(2500, motion.LENGTH_TOP),
        ]
    ).astype(np.int32)
    for rank in (0, 1, 1249, 2498, 2499):
        ours = cupy_motion.lengths_at_rank(torch.from_numpy(lengths), rank)
        assert ours.tolist() == np.sort(lengths)[:, rank].tolist()


@emulation
def test_negative_lengths_do_not_count_and_each_slot_has_its_rank() -> None:
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, 3000, (4, 30, 50)).astype(np.int32)
    lengths[rng.random(lengths.shape) < 0.4] = -1
    lengths[2], lengths[3] = -1, -2000
    lengths[3, 7, 7] = 12345
    counted = [np.sort(slot[slot >= 0]) for slot in lengths]
    ranks = np.array([0, len(counted[1]) - 1, 0, 0])
    ours = cupy_motion.lengths_at_ranks(torch.from_numpy(lengths), torch.from_numpy(ranks))
    assert ours.tolist() == [counted[0][0], counted[1][-1], motion.LENGTH_TOP, 12345]
    beyond = cupy_motion.lengths_at_ranks(torch.from_numpy(lengths), torch.tensor([2000, 1500, 1, 1]))
    assert beyond.tolist() == [motion.LENGTH_TOP] * 4


@emulation
@grids
def test_moments_are_those_of_the_cells_within_the_limit(grid: tuple[int, int]) -> None:
    slots = slots_of(*grid, seed=2)
    rng = np.random.default_rng(5)
    errors = rng.integers(-1, 5, slots.shape[:3]).astype(np.int32)
    limits = rng.integers(0, 5, len(slots)).astype(np.int32)
    ours = cupy_motion.camera_moments(*map(torch.from_numpy, (slots, errors, limits)))
    kept = (errors >= 0) & (errors <= limits[:, None, None])
    expected = [motion.camera_moments(slot, cells) for slot, cells in zip(slots, kept, strict=True)]
    assert np.array_equal(ours.numpy(), expected)


@emulation
@pytest.mark.parametrize("size", [(1, 1), (9, 15), (67, 61)], ids=str)
def test_residuals_are_counted_and_limited_as_defined(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy_motion, "CHUNK", 1024)  # so that several blocks share a slot
    rng = np.random.default_rng(6)
    few = rng.integers(0, 256, size) * (rng.random(size) < 0.06)
    kinds = [np.zeros(size), np.full(size, 255), rng.integers(0, 256, size), rng.integers(0, 4, size), few]
    check_histograms(np.stack(kinds).astype(np.uint8), "cpu")


@emulation
def test_a_batch_may_be_empty() -> None:
    nothing = torch.zeros((0, 3, 4, 2), dtype=torch.int16)
    for mode in CAMERA_MODES:
        cameras = cupy_motion.estimate_cameras(nothing, mode)
        assert cameras.shape == (0, 2, 3)
    lengths = cupy_motion.lengths_without_cameras(nothing, cameras)
    assert cupy_motion.length_limits(lengths).shape == (0,)
    histograms = cupy_motion.residual_histograms(torch.zeros((0, 12, 16), dtype=torch.uint8))
    assert cupy_motion.residual_limits(histograms).shape == (0,)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", "mean", "median"])
def test_still_cameras_are_made_without_waiting_for_the_device(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without contents: whatever asked for one would fail."""
    monkeypatch.setattr(launch, "launch", lambda *arguments: None)
    slots = torch.empty((5, 6, 7, 2), dtype=torch.int16, device="meta")
    cameras = cupy_motion.estimate_cameras(slots, mode)
    limits = cupy_motion.length_limits(cupy_motion.lengths_without_cameras(slots, cameras))
    residual = torch.empty((5, 24, 28), dtype=torch.uint8, device="meta")
    residual_limits = cupy_motion.residual_limits(cupy_motion.residual_histograms(residual))
    assert cameras.shape == (5, 2, 3)
    assert limits.shape == residual_limits.shape == (5,)


def test_what_has_not_the_stated_form_is_refused() -> None:
    slots = torch.zeros((5, 6, 7, 2), dtype=torch.int16)
    with pytest.raises(ValueError, match=r"camera mode \('zoom'\) must be one of none, mean"):
        cupy_motion.estimate_cameras(slots, "zoom")
    with pytest.raises(ValueError, match=r"motion \(torch.int32\) must be torch.int16"):
        cupy_motion.estimate_cameras(slots.int(), "median")
    with pytest.raises(ValueError, match=r"motion \(5, 6, 7\) must be \[n, Hc, Wc, 2\]"):
        cupy_motion.estimate_cameras(slots[..., 0], "median")
    with pytest.raises(ValueError, match=r"cameras \(4, 2, 3\) must be \(5, 2, 3\)"):
        cupy_motion.lengths_without_cameras(slots, torch.zeros((4, 2, 3), dtype=torch.int64))


def test_the_source_has_the_constants_of_the_definition() -> None:
    text = launch.source_text("motion")
    assert f"#define LENGTH_TOP ((1 << {motion.LENGTH_BITS}) - 1)\n" in text
    assert f"#define CAMERA_BITS {camera.CAMERA_BITS}\n" in text
    assert f"#define BIN_BITS {motion.LENGTH_BITS // 2}\n" in text
    assert f"#define MOMENTS {cupy_motion.MOMENTS}\n" in text
    assert f"#define THREADS {cupy_motion.THREADS}\n" in text
    assert f"#define LEVELS {cupy_motion.LEVELS}\n" in text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that torch can use")
@pytest.mark.parametrize("grid", [(56, 56), (270, 480)], ids=str)
def test_a_gpu_measures_whole_clips_as_numba_does(grid: tuple[int, int]) -> None:
    slots = np.concatenate([slots_of(*grid, seed=seed) for seed in range(6)])[:64]
    for mode in CAMERA_MODES:
        check_cameras(slots, mode, "cuda")
        check_lengths(slots, mode, "cuda")
    rng = np.random.default_rng(8)
    size = (64, 4 * grid[0], 4 * grid[1])
    check_histograms(rng.geometric(rng.uniform(0.01, 0.9, (64, 1, 1)), size).clip(1, 256).astype(np.uint8), "cuda")
