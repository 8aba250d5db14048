"""Scores of patches in Triton: equal bit for bit to the definition, under the interpreter, and to numba, on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_triton_search import interpreted

from codecsieve.kernels.cpu import energy as cpu_energy
from codecsieve.kernels.geometry import Geometry, center_table, geometry
from codecsieve.kernels.reference import energy as reference_energy
from codecsieve.kernels.reference.energy import ENERGY_ONE, fuse_weights, percentile_rank
from codecsieve.kernels.reference.motion import LENGTH_TOP, length_at_rank, magnitude, remove_camera
from codecsieve.kernels.rules import FUSE_MODES
from codecsieve.kernels.triton.energy import pool_energy

modes = pytest.mark.parametrize(
    ("fuse", "mixed"),
    [*((fuse, (8192, 8192)) for fuse in FUSE_MODES), ("weighted", (16384, 0)), ("weighted", (1, 16383))],
)


@dataclass(frozen=True)
class Slots:
    """The arguments of `pool_energy`, in numpy."""

    lengths: npt.NDArray[np.int32]
    length_limits: npt.NDArray[np.int32]
    residual: npt.NDArray[np.uint8]
    residual_limits: npt.NDArray[np.int32]
    grids: Geometry
    table: npt.NDArray[np.int32]

    def score(self, fuse: str, mixed: tuple[int, int], device: str = "cpu") -> npt.NDArray[np.int64]:
        """What Triton gives."""
        arrays = (self.lengths, self.length_limits, self.residual, self.residual_limits)
        on_device = [torch.tensor(array, device=device) for array in arrays]
        table = torch.tensor(self.table, device=device)
        scores = pool_energy(*on_device, self.grids, table, fuse, mixed)
        assert scores.dtype == torch.int64
        return scores.cpu().numpy()


def random_slots(rng: np.random.Generator, grids: Geometry, n: int = 3) -> Slots:
    """Slots of any lengths and residuals, dense or sparse, and what counts as 1.0 in them at its extremes or not."""
    cells = (n, grids.cells_height, grids.cells_width)
    tops = rng.choice([3, 4096, LENGTH_TOP], (n, 1, 1))
    lengths = rng.integers(0, tops + 1, cells) * (rng.random(cells) < 0.7)
    residual = rng.integers(0, 256, (n, grids.height, grids.width)) >> rng.choice([0, 3], (n, 1, 1))
    return Slots(
        lengths.astype(np.int32),
        rng.choice([1, 2, 5000, LENGTH_TOP], n).astype(np.int32),
        residual.astype(np.uint8),
        rng.choice([1, 7, 254, 255], n).astype(np.int32),
        grids,
        center_table(grids, float(rng.choice([0.0, 0.3, 7.0])), 0.35),
    )


def by_reference(slots: Slots, fuse: str, mixed: tuple[int, int]) -> npt.NDArray[np.int64]:
    scores = []
    for t, limit in enumerate(slots.length_limits.tolist()):
        clipped = np.minimum(slots.lengths[t], limit).astype(np.int64)
        motion = ((clipped * ENERGY_ONE + limit // 2) // limit).astype(np.int32)
        energy = reference_energy.cell_energy(
            motion, slots.residual[t], int(slots.residual_limits[t]), slots.table, fuse, mixed
        )
        scores.append(reference_energy.pool_scores(energy, slots.grids.pool_y, slots.grids.pool_x, slots.grids.patch))
    return np.stack(scores)


@pytest.mark.slow
@interpreted
@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([(28, 14), (56, 7), (16, 16)]),
    st.sampled_from(FUSE_MODES),
    st.tuples(st.floats(0, 100), st.floats(0.001, 100)).map(lambda w: fuse_weights(*w)),
)
@example(0, 1, 1, (14, 14), "weighted", (16384, 0))
@example(1, 64, 64, (64, 16), "geomean", (8192, 8192))
def test_scores_are_those_of_the_definition_bit_for_bit(
    seed: int, height: int, width: int, model: tuple[int, int], fuse: str, mixed: tuple[int, int]
) -> None:
    slots = random_slots(np.random.default_rng(seed), geometry(height, width, *model))
    assert np.array_equal(slots.score(fuse, mixed), by_reference(slots, fuse, mixed))


@pytest.mark.slow
@interpreted
@modes
def test_every_mode_scores_patches_of_more_cells_than_a_program_has(fuse: str, mixed: tuple[int, int]) -> None:
    slots = random_slots(np.random.default_rng(0), geometry(101, 91, 28, 14))
    assert slots.grids.pool_y.weights.shape[1] * slots.grids.pool_x.weights.shape[1] > 128
    assert np.array_equal(slots.score(fuse, mixed), by_reference(slots, fuse, mixed))


@interpreted
@modes
def test_a_picture_that_is_all_motion_and_residual_scores_all_there_is(fuse: str, mixed: tuple[int, int]) -> None:
    grids = geometry(37, 50, 56, 14)
    slots = Slots(
        np.full((2, grids.cells_height, grids.cells_width), LENGTH_TOP, np.int32),
        np.array([1, LENGTH_TOP], np.int32),
        np.full((2, 37, 50), 255, np.uint8),
        np.array([255, 1], np.int32),
        grids,
        center_table(grids, 7.0, 0.35),
    )
    assert (slots.score(fuse, mixed) == 255 * 14 * 14).all()


@interpreted
def test_the_geometric_mean_is_rounded_down_exactly() -> None:
    """Of products that are squares, and of those one less; a patch is a cell, and large enough to show a unit."""
    grids = geometry(64, 64, 512, 32)
    levels = np.arange(256).reshape(16, 16)
    residual = levels.repeat(4, axis=0).repeat(4, axis=1).astype(np.uint8)
    energies = np.maximum(256 * np.stack([levels, levels]) - [[[0]], [[2]]], 0)
    slots = Slots(
        ((energies * LENGTH_TOP + ENERGY_ONE // 2) // ENERGY_ONE).astype(np.int32),
        np.full(2, LENGTH_TOP, np.int32),
        np.stack([residual, residual]),
        np.full(2, 255, np.int32),
        grids,
        center_table(grids, 0.0, 0.35),
    )
    # Those of the second slot are 256 a (256 a - 2) = (256 a - 1)^2 - 1.
    assert np.array_equal(slots.score("geomean", (8192, 8192)), energies * 32 * 32 // 256)


@pytest.mark.slow
@interpreted
@pytest.mark.parametrize(("model", "fit"), [((28, 14), "crop"), ((56, 14), "letterbox")])
def test_slots_with_their_own_percentiles_score_as_in_the_definition(model: tuple[int, int], fit: str) -> None:
    rng = np.random.default_rng(5)
    grids = geometry(45, 100, *model, fit)
    motion = rng.normal(0, 9, (3, grids.cells_height, grids.cells_width, 2)).astype(np.int16)
    residual = rng.geometric(0.1, (3, 45, 100)).clip(0, 255).astype(np.uint8)
    slots = _measured(motion, residual, grids, "median")
    scores = slots.score("weighted", (8192, 8192)) + grids.unscored
    for t in range(3):
        arguments = (motion[t], residual[t], grids, slots.table, "median", "weighted", (8192, 8192))
        assert np.array_equal(scores[t], reference_energy.slot_scores(*arguments))


@interpreted
def test_no_slots_have_no_scores() -> None:
    assert random_slots(np.random.default_rng(0), geometry(20, 30, 28, 14), 0).score("max", (1, 16383)).shape == (
        0,
        2,
        2,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": np.zeros((2, 5, 7), np.int32)}, r"lengths .*\(2, 5, 7\)\) must be torch.int32 \(2, 5, 8\)"),
        ({"residual": np.zeros((2, 20, 31), np.uint8)}, r"residual .* must be torch.uint8 \(2, 20, 30\)"),
        (
            {"residual_limits": np.ones(2, np.int64)},
            r"residual_limits \(torch.int64 \(2,\)\) must be torch.int32 \(2,\)",
        ),
        ({"length_limits": np.ones(3, np.int32)}, r"length_limits .* must be torch.int32 \(2,\)"),
        ({"table": np.ones((5, 7), np.int32)}, r"table .* must be torch.int32 \(5, 8\)"),
    ],
)
def test_arrays_of_another_shape_are_refused(change: dict[str, npt.NDArray[np.int32]], message: str) -> None:
    slots = random_slots(np.random.default_rng(0), geometry(20, 30, 28, 14), 2)
    with pytest.raises(ValueError, match=message):
        replace(slots, **change).score("max", (8192, 8192))
    with pytest.raises(ValueError, match=r"fuse \('min'\) must be one of"):
        slots.score("min", (8192, 8192))


@pytest.mark.gpu
@modes
@pytest.mark.parametrize(
    ("n", "height", "width", "model"),
    [(64, 224, 224, (224, 14)), (3, 1080, 1920, (224, 14)), (5, 241, 427, (224, 14)), (1, 1, 1, (14, 14))],
)
def test_a_gpu_gives_the_scores_of_numba_bit_for_bit(
    n: int, height: int, width: int, model: tuple[int, int], fuse: str, mixed: tuple[int, int]
) -> None:
    rng = np.random.default_rng(n)
    grids = geometry(height, width, *model)
    motion = rng.normal(0, 9, (n, grids.cells_height, grids.cells_width, 2)).astype(np.int16)
    residual = rng.geometric(0.1, (n, height, width)).clip(0, 255).astype(np.uint8)
    slots = _measured(motion, residual, grids, "none")
    expected = [
        cpu_energy.slot_scores(motion[t], residual[t], grids, slots.table, "none", fuse, mixed) for t in range(n)
    ]
    assert np.array_equal(slots.score(fuse, mixed, "cuda"), np.stack(expected))


def _measured(motion: npt.NDArray[np.int16], residual: npt.NDArray[np.uint8], grids: Geometry, mode: str) -> Slots:
    """Slots of a clip, measured against their own 95th percentiles."""
    lengths = np.stack([magnitude(remove_camera(of_slot, mode)) for of_slot in motion])
    rank = percentile_rank(lengths[0].size)
    limits = [max(length_at_rank(of_slot, rank), 1) for of_slot in lengths]
    histograms = [reference_energy.residual_histogram(picture) for picture in residual]
    return Slots(
        lengths,
        np.array(limits, np.int32),
        residual,
        np.array([reference_energy.residual_limit(counts) for counts in histograms], np.int32),
        grids,
        center_table(grids, 0.3, 0.35),
    )
