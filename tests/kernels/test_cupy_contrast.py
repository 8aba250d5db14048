"""Motion against its surroundings and the slope of residuals on a GPU: equal to the definition, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_cupy_motion import slots_of

from codecsieve.errors import ConfigError
from codecsieve.kernels.cpu import energy as cpu_energy
from codecsieve.kernels.cupy import contrast as cupy_contrast
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.reference import contrast
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.kernels.rules import CAMERA_MODES, INCONSISTENCY_MODES, SCALE_MODES, Measure

emulation = pytest.mark.usefixtures("emulated")
ways = pytest.mark.parametrize("way", INCONSISTENCY_MODES)


def check_lengths(mode: str, measure: Measure, device: str) -> None:
    slots = slots_of(18, 32)
    ours = cupy_contrast.motion_lengths(torch.from_numpy(slots).to(device), mode, measure)
    assert ours.dtype == torch.int32
    expected = [contrast.motion_lengths(slot, mode, measure) for slot in slots]
    assert np.array_equal(ours.cpu().numpy(), expected)


def check_gradients(device: str) -> None:
    for height, width in ((1, 1), (1, 9), (7, 1), (33, 50)):
        residual = np.random.default_rng(width).integers(0, 256, (3, height, width)).astype(np.uint8)
        ours = cupy_contrast.residual_gradients(torch.from_numpy(residual).to(device))
        assert np.array_equal(ours.cpu().numpy(), [contrast.residual_gradient(levels) for levels in residual])


@pytest.mark.slow
@emulation
@ways
@pytest.mark.parametrize(("mode", "ksize"), [("median", 3), ("similarity", 9), ("none", 17)])
def test_lengths_are_those_of_the_definition(way: str, mode: str, ksize: int) -> None:
    check_lengths(mode, Measure(way, ksize), "cpu")


def test_gradients_are_those_of_the_definition() -> None:
    check_gradients("cpu")


def test_percentiles_of_a_clip_are_the_processors() -> None:
    with pytest.raises(ConfigError, match=r"^scale \('clip'\) is the processor's; use device cpu$"):
        cupy_contrast.check_measure_of_gpu(Measure(scale="clip"))
    with pytest.raises(ValueError, match="scale"):
        cupy_contrast.check_measure_of_gpu(Measure(scale="picture"))


@pytest.mark.gpu
@ways
def test_a_gpu_measures_the_same(way: str) -> None:
    for mode in CAMERA_MODES:
        check_lengths(mode, Measure(way, 9), "cuda")
    check_gradients("cuda")


@pytest.mark.gpu
@ways
@pytest.mark.parametrize("scale", sorted({*SCALE_MODES} - {"clip"}))
@pytest.mark.parametrize("fuse", ["product", "weighted"])
def test_a_gpu_scores_the_same(way: str, scale: str, fuse: str) -> None:
    from codecsieve.kernels.gpu import score_slots

    motion = slots_of(18, 32)
    residual = np.random.default_rng(0).geometric(0.1, (len(motion), 70, 126)).clip(0, 255).astype(np.uint8)
    grids = geometry(70, 126, 56, 14)
    table = center_table(grids, 0.3, 0.35)
    for gradient in (False, True):
        how = grids, table, "median", fuse, fuse_weights(1, 1)
        measure = Measure(way, 9, gradient, scale)
        ours = score_slots(torch.from_numpy(motion).cuda(), torch.from_numpy(residual).cuda(), *how, measure=measure)
        expected = [cpu_energy.slot_scores(*slot, *how, measure) for slot in zip(motion, residual, strict=True)]
        assert np.array_equal(ours.cpu().numpy(), expected)
