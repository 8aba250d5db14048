"""`similarity` is the published fit of a camera on pictures of any shape; `rigid` is what it was on squares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsieve.kernels.camera import solve_camera
from codecsieve.kernels.dispatch import score_patches, select_patches
from codecsieve.kernels.reference.motion import camera_moments, estimate_camera

Motion = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]

SIZE, PATCH = 112, 14
SLOTS, KEPT = 10, 160
shapes = pytest.mark.parametrize(("height", "width"), [(224, 400), (400, 224), (224, 224)], ids=["16:9", "9:16", "1:1"])


def published_basis(height: int, width: int) -> tuple[Floats, Floats]:
    """What tx, ty, a and b move each pixel by, x and y apart: [H * W, 4]. Both axes run from -1 to 1."""
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"))
    one, zero = np.ones_like(x), np.zeros_like(x)
    return np.stack([one, zero, x, -y], axis=1), np.stack([zero, one, y, x], axis=1)


def published_left(motion: Motion) -> Floats:
    """Lengths, in pixels, of what the published fit leaves of a slot's motion: [H, W], in floats throughout.

    Least squares over the pixels that move, then over the 70 % of these that it explains best.
    """
    moves = motion.astype(float).repeat(4, axis=0).repeat(4, axis=1) / 4
    height, width = moves.shape[:2]
    u, v = moves.reshape(-1, 2).T
    along_x, along_y = published_basis(height, width)

    def left_by(kept: npt.NDArray[np.bool_]) -> Floats:
        basis = np.concatenate([along_x[kept], along_y[kept]])
        camera = np.linalg.lstsq(basis, np.concatenate([u[kept], v[kept]]), rcond=None)[0]
        return np.hypot(u - along_x @ camera, v - along_y @ camera)

    moving = (u != 0) | (v != 0)
    errors = left_by(moving)
    best = moving & (errors <= np.quantile(errors[moving], 0.7))
    return left_by(best).reshape(height, width)


def published_selection(motion: Motion, residual: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The patches kept, ascending, by energies in floats over whole pictures, without a prior."""
    side = min(residual.shape[1:])
    top, left = (residual.shape[1] - side) // 2, (residual.shape[2] - side) // 2
    grid, pixels = SIZE // PATCH, side * PATCH // SIZE
    scores = []
    for moves, changes in zip(motion, residual, strict=True):
        energies = [values / max(np.percentile(values, 95), 1e-9) for values in (published_left(moves), changes)]
        energy = np.mean([np.minimum(each, 1) for each in energies], axis=0)[top : top + side, left : left + side]
        scores.append(energy.reshape(grid, pixels, grid, pixels).mean(axis=(1, 3)))
    return np.sort(np.argsort(-np.ravel(scores), kind="stable")[:KEPT])


def filmed(height: int, width: int, seed: int) -> tuple[Motion, npt.NDArray[np.uint8]]:
    """Signals of slots in which objects move before a camera that pans, turns and zooms: motion int16
    [T, Hc, Wc, 2] in quarter-pel, a part of the cells still; residual uint8 [T, H, W].
    """
    rng = np.random.default_rng(seed)
    y, x = (2.0 * axis - np.max(axis) for axis in np.mgrid[: height // 4, : width // 4])
    motion = np.empty((SLOTS, *x.shape, 2), np.int16)
    for slot in motion:
        pan, (zoom, turn) = rng.normal(0, 20, 2), rng.normal(0, 0.3, 2)
        moves = pan + np.stack([zoom * x - turn * y, turn * x + zoom * y], axis=-1) + rng.normal(0, 2, (*x.shape, 2))
        for _ in range(4):
            row, column = rng.integers(0, x.shape[0] - 12), rng.integers(0, x.shape[1] - 12)
            moves[row : row + 12, column : column + 12] += rng.normal(0, 30, 2)
        slot[:] = np.rint(moves * (rng.random((*x.shape, 1)) > 0.1))
    blocks = rng.gamma(0.5, 16, (SLOTS, height // 8, width // 8)).repeat(8, axis=1).repeat(8, axis=2)
    return motion, (blocks * rng.random((SLOTS, height, width))).clip(0, 255).astype(np.uint8)


def agreement(signals: tuple[Motion, npt.NDArray[np.uint8]], mode: str) -> float:
    keyframe = np.zeros(SLOTS, bool)
    scores = score_patches(*signals, keyframe, size=SIZE, patch=PATCH, mv_compensate=mode, center_prior=0)
    return len(np.intersect1d(select_patches(scores, KEPT), published_selection(*signals))) / KEPT


@pytest.mark.slow
@shapes
def test_similarity_keeps_what_the_published_fit_keeps(height: int, width: int) -> None:
    signals = filmed(height, width, seed=height)
    assert agreement(signals, "similarity") >= 0.97
    if height != width:
        assert agreement(signals, "rigid") < 0.95  # so the shape matters here


def cells(height: int, width: int, seed: int) -> Motion:
    """Motion with a camera, noise and cells that stand still: int16 [height, width, 2]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slopes = rng.integers(-6, 7, 4)
    moves = np.stack([slopes[0] * x + slopes[1] * y, slopes[2] * x + slopes[3] * y], axis=-1)
    return ((moves + rng.integers(-9, 10, moves.shape)) * (rng.random((height, width, 1)) < 0.8)).astype(np.int16)


def half_cells(height: int, width: int) -> tuple[float, float]:
    """Half a cell, the unit of our cameras, on axes that run from the first pixel to the last in two units."""
    return 4 / (4 * width - 1), 4 / (4 * height - 1)


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_solution_is_least_squares_on_axes_from_minus_one_to_one(height: int, width: int, seed: int) -> None:
    motion = cells(height, width, seed)
    kept = np.random.default_rng(seed + 1).random((height, width)) < 0.6
    kept.flat[:4] = True
    solved = solve_camera(camera_moments(motion, kept), "similarity", height, width)
    assert solved is not None

    pixels = kept.repeat(4, axis=0).repeat(4, axis=1).ravel()
    along_x, along_y = published_basis(4 * height, 4 * width)
    u, v = motion.repeat(4, axis=0).repeat(4, axis=1).reshape(-1, 2)[pixels].T.astype(float)
    basis = np.concatenate([along_x[pixels], along_y[pixels]])
    tx, ty, a, b = np.linalg.lstsq(basis, np.concatenate([u, v]), rcond=None)[0]
    p, q = half_cells(height, width)
    expected = [[tx, a * p, -b * q], [ty, b * p, a * q]]
    assert np.abs(solved / (1024 * 65536) - expected).max() < 1e-6


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 2**32))
@settings(deadline=None)
def test_affine_is_the_same_on_axes_of_any_length(height: int, width: int, seed: int) -> None:
    motion = cells(height, width, seed)
    solved = solve_camera(camera_moments(motion, np.ones((height, width), bool)), "affine", height, width)
    assert solved is not None
    along_x, _ = published_basis(4 * height, 4 * width)
    basis = along_x[:, [0, 2, 3]]
    moves = motion.repeat(4, axis=0).repeat(4, axis=1).reshape(-1, 2).astype(float)
    fitted = np.linalg.lstsq(basis, moves, rcond=None)[0]
    p, q = half_cells(height, width)
    assert np.abs(solved / (1024 * 65536) - fitted.T * (1, p, -q)).max() < 1e-6  # the basis has -y


@given(st.integers(1, 30), st.integers(0, 2**32))
@settings(deadline=None)
def test_on_squares_similarity_has_the_bits_of_rigid(side: int, seed: int) -> None:
    motion = cells(side, side, seed)
    assert (estimate_camera(motion, "similarity") == estimate_camera(motion, "rigid")).all()


def test_rigid_has_the_bits_that_similarity_had() -> None:
    y, x = np.mgrid[:9, :16]
    motion = np.stack([3 * x - 2 * y + (x * y) % 7, 2 * x + 5 * y - (x + y) % 5], axis=-1).astype(np.int16)
    camera = [[1131894808, 113172383, -64589516], [2208317024, 64589516, 113172383]]
    assert estimate_camera(motion, "rigid").tolist() == camera
    assert estimate_camera(motion, "similarity").tolist() != camera
