"""Motion compensation of a batch of pictures on a GPU: equal to the definition, bit for bit."""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from codecsieve.kernels.cpu import predict as cpu_predict
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy import predict as cupy_predict
from codecsieve.kernels.geometry import CELL
from codecsieve.kernels.reference import predict as reference_predict
from codecsieve.kernels.reference.predict import BILINEAR, BLOCK, LIST_0, LIST_1, SIX_TAP

emulation = pytest.mark.usefixtures("emulated")
filters = pytest.mark.parametrize("taps", [SIX_TAP, BILINEAR])

STORED_SHIFT = {8: 0, 10: 6, 12: 4}
"""Bits below a sample in NVDEC's surfaces, by the sample's depth."""


class Batch(NamedTuple):
    """The arguments of `prediction_residuals`, in numpy; samples of `luma` are not yet shifted."""

    luma: npt.NDArray[np.unsignedinteger]
    current: npt.NDArray[np.int64]
    past: npt.NDArray[np.int64]
    future: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.int16]
    lists: npt.NDArray[np.uint8]
    shown: tuple[int, int, int, int]
    width: int
    taps: int
    bit_depth: int


def similar_planes(
    rng: np.random.Generator, shape: tuple[int, int, int], depth: int
) -> npt.NDArray[np.unsignedinteger]:
    """Pictures that resemble each other in some columns, so that references compete; the last ones are extreme."""
    peak = (1 << depth) - 1
    y, x = np.mgrid[: shape[1], : shape[2]]
    scene = peak * (0.5 + 0.3 * np.sin(x / 5) + 0.2 * np.cos(y / 3 + x / 11))
    planes = scene + rng.normal(0, peak / 60, shape) * rng.integers(0, 2, (shape[0], 1, shape[2]))
    planes[-2:] = rng.choice([0, peak, peak // 2, 1], (2, *shape[1:]))
    return np.clip(planes, 0, peak).astype(np.uint8 if depth == 8 else np.uint16)


def batch_of(
    seed: int, rows: int, width: int, padding: int, shown: tuple[int, int, int, int], taps: int, depth: int, count: int
) -> Batch:
    """`count` pictures that use every list, one or two pasts, a future or none, vectors near and far outside."""
    rng = np.random.default_rng(seed)
    pictures = count + 3
    grid = count, -(-rows // BLOCK), -(-width // BLOCK)
    reach = rng.choice([3, 30, 2000, 32767], (*grid, 1, 1))
    past = rng.integers(0, pictures, (count, 2))
    past[::2, 1] = -1
    future = rng.integers(0, pictures, count)
    future[::3] = -1
    return Batch(
        luma=similar_planes(rng, (pictures, rows, width + padding), depth),
        current=rng.permutation(pictures)[:count],
        past=past,
        future=future,
        vectors=rng.integers(-reach, reach + 1, (*grid, 2, 2)).astype(np.int16),
        lists=rng.integers(0, 4, grid).astype(np.uint8),
        shown=shown,
        width=width,
        taps=taps,
        bit_depth=depth,
    )


def residuals(batch: Batch, device: str = "cpu") -> npt.NDArray[np.uint8]:
    """By the kernel, the samples stored as NVDEC stores them."""
    shift = STORED_SHIFT[batch.bit_depth]
    # The shifted-out bits are not looked at: set some.
    stored = (batch.luma << shift) | (batch.luma & ((1 << shift) - 1)).astype(batch.luma.dtype)
    arrays = (batch.current, batch.past, batch.future, batch.vectors, batch.lists)
    tensors = [torch.from_numpy(array).to(device) for array in (stored, *arrays)]
    ours = cupy_predict.prediction_residuals(*tensors, *batch[6:], shift)
    assert ours.dtype == torch.uint8
    assert ours.device.type == device
    return ours.cpu().numpy()


def expected_residual(batch: Batch, k: int, form: ModuleType = reference_predict) -> npt.NDArray[np.uint8]:
    past = tuple(batch.luma[number] for number in batch.past[k] if number >= 0)
    future = None if batch.future[k] < 0 else batch.luma[batch.future[k]]
    grids = batch.vectors[k], batch.lists[k]
    return form.prediction_residual(batch.luma[batch.current[k]], past, future, *grids, *batch[6:])


@emulation
@filters
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(
    ("rows", "width", "padding", "shown"),
    [
        (16, 24, 0, (0, 0, 16, 24)),
        (37, 45, 19, (0, 0, 37, 45)),
        (29, 33, 3, (9, 3, 15, 30)),
        (5, 3, 0, (2, 1, 1, 2)),
    ],
)
def test_what_prediction_misses_is_that_of_the_definition(
    rows: int, width: int, padding: int, shown: tuple[int, int, int, int], taps: int, depth: int
) -> None:
    batch = batch_of(rows + depth, rows, width, padding, shown, taps, depth, count=6)
    ours = residuals(batch)
    assert np.array_equal(ours, [expected_residual(batch, k) for k in range(6)])


@emulation
@filters
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_every_fraction_is_interpolated_as_defined(taps: int, depth: int) -> None:
    """One block a fraction, on extreme samples where clipping and rounding show, within the picture and beyond it."""
    rng = np.random.default_rng(taps + depth)
    peak = (1 << depth) - 1
    luma = rng.choice([0, peak, peak // 2, 1], (2, 32, 32)).astype(np.uint8 if depth == 8 else np.uint16)
    vectors = np.zeros((3, 4, 4, 2, 2), np.int16)
    vectors[:, :, :, 0] = np.array(list(product(range(4), repeat=2))).reshape(4, 4, 2)
    vectors[1, :, :, 0] += 4 * rng.integers(-9, 10, (4, 4, 2)).astype(np.int16)
    vectors[2, :, :, 0] += 4 * rng.choice([-40, 40, -8000, 8000], (4, 4, 2)).astype(np.int16)
    lists = np.full((3, 4, 4), LIST_0, np.uint8)
    none, past = np.full(3, -1), np.array([[1, -1]] * 3)
    batch = Batch(luma, np.zeros(3, np.int64), past, none, vectors, lists, (0, 0, 32, 32), 32, taps, depth)
    assert np.array_equal(residuals(batch), [expected_residual(batch, k) for k in range(3)])


def flat_block(picture: int, past: tuple[int, int], future: int, used: int, depth: int = 8) -> int:
    """The residual of a flat block whose references are as flat; -1: there is none."""
    levels = np.array([picture, *past, future]).clip(0)
    luma = np.broadcast_to(levels[:, None, None], (4, 8, 8)).astype(np.uint8 if depth == 8 else np.uint16)
    numbers = np.where(np.array([*past, future]) < 0, -1, [1, 2, 3])
    vectors, lists = np.zeros((1, 1, 1, 2, 2), np.int16), np.full((1, 1, 1), used, np.uint8)
    shown = (0, 0, 8, 8)
    batch = Batch(
        luma.copy(),
        np.array([0]),
        numbers[None, :2].copy(),
        numbers[2:].copy(),
        vectors,
        lists,
        shown,
        8,
        SIX_TAP,
        depth,
    )
    residual = residuals(batch)
    assert (residual == residual[0, 0, 0]).all()
    return int(residual[0, 0, 0])


@emulation
def test_references_are_chosen_and_averaged_as_the_lists_say() -> None:
    assert flat_block(100, (90, 97), -1, LIST_0) == 3
    assert flat_block(100, (97, 90), -1, LIST_0) == 3
    assert flat_block(100, (90, -1), 100, LIST_0) == 10
    assert flat_block(100, (90, 97), 60, LIST_1) == 40
    assert flat_block(100, (90, 96), 102, LIST_0 | LIST_1) == 1
    assert flat_block(100, (90, -1), 111, LIST_0 | LIST_1) == 1
    assert flat_block(100, (90, 100), 100, 0) == 10
    assert flat_block(100, (90, 100), -1, LIST_1) == 10
    assert flat_block(1000, (961, -1), -1, LIST_0, depth=10) == 39 >> 2
    assert flat_block(4095, (0, -1), -1, LIST_0, depth=12) == 255


@emulation
def test_without_a_past_only_the_future_predicts() -> None:
    assert flat_block(100, (-1, -1), -1, LIST_0) == 0
    assert flat_block(100, (-1, -1), 90, 0) == 0
    assert flat_block(100, (-1, -1), 90, LIST_1) == 10


@emulation
def test_of_two_references_as_good_the_first_is_taken() -> None:
    luma = np.full((3, 8, 8), 100, np.uint8)
    luma[1, :4], luma[2, 4:] = 103, 97
    vectors, lists = np.zeros((2, 1, 1, 2, 2), np.int16), np.full((2, 1, 1), LIST_0, np.uint8)
    past, none = np.array([[1, 2], [2, 1]]), np.full(2, -1)
    batch = Batch(luma, np.zeros(2, np.int64), past, none, vectors, lists, (0, 0, 8, 8), 8, SIX_TAP, 8)
    assert np.array_equal(residuals(batch), np.abs(luma[1:].astype(int) - 100))


@emulation
def test_decode_statistics_become_vectors_and_lists_of_8x8_blocks() -> None:
    moved, other, still = (5, -3), (-8, 0), (0, 0)
    records = [
        (moved, still, 1, LIST_0, (moved, still)),
        (still, other, 1, LIST_1, (still, other)),
        (moved, other, 1, LIST_0 | LIST_1, (moved, other)),
        (still, still, 1, LIST_0, (still, still)),
        (moved, other, 0, 0, (still, still)),
        (still, (0, 32767), 2, LIST_1, (still, (0, 32767))),
    ]
    order = np.random.default_rng(0).integers(0, len(records), (3, 5, 7))
    mv0, mv1, inter, lists, vectors = (np.array(column)[order] for column in zip(*records, strict=True))
    ours = cupy_predict.statistics_vectors(
        torch.from_numpy(mv0.astype(np.int16)),
        torch.from_numpy(mv1.astype(np.int16)),
        torch.from_numpy(inter.astype(np.uint8)),
    )
    assert [array.dtype for array in ours] == [torch.int16, torch.uint8]
    for array, expected in zip(ours, (vectors, lists), strict=True):
        assert np.array_equal(array.numpy(), expected.repeat(2, axis=1).repeat(2, axis=2))


def check_cell_motions(
    vectors: npt.NDArray[np.int16], lists: npt.NDArray[np.uint8], shown: tuple[int, int, int, int], device: str
) -> None:
    ours = cupy_predict.cell_motions(torch.from_numpy(vectors).to(device), torch.from_numpy(lists).to(device), *shown)
    assert ours.dtype == torch.int16
    expected = [reference_predict.cell_motion(v, u, *shown) for v, u in zip(vectors, lists, strict=True)]
    assert np.array_equal(ours.cpu().numpy(), expected)


@emulation
@pytest.mark.parametrize(
    "shown", [(0, 0, 40, 56), (0, 0, 1, 1), (3, 5, 33, 47), (8, 4, 30, 21), (39, 55, 1, 1)], ids=str
)
def test_list_0_motion_of_blocks_is_that_of_their_cells(shown: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.integers(-32768, 32768, (3, 5, 7, 2, 2)).astype(np.int16)
    check_cell_motions(vectors, rng.integers(0, 4, (3, 5, 7)).astype(np.uint8), shown, "cpu")


@emulation
def test_statistics_lead_to_residuals_on_a_grid_that_is_larger_than_the_picture() -> None:
    """A picture of 24 rows has one and a half rows of 16x16 blocks, so two of them have records."""
    rng = np.random.default_rng(9)
    luma = similar_planes(rng, (4, 24, 40), 8)
    mv0, mv1 = (rng.integers(-20, 21, (1, 2, 3, 2)).astype(np.int16) for _ in range(2))
    inter = np.ones((1, 2, 3), np.uint8)
    vectors, lists = cupy_predict.statistics_vectors(*map(torch.from_numpy, (mv0, mv1, inter)))
    numbers = np.array([0]), np.array([[1, 2]]), np.array([3])
    batch = Batch(luma, *numbers, vectors.numpy(), lists.numpy(), (0, 0, 24, 40), 40, SIX_TAP, 8)
    smaller = batch._replace(vectors=batch.vectors[:, :3, :5], lists=batch.lists[:, :3, :5])
    assert np.array_equal(residuals(batch)[0], expected_residual(smaller, 0))


@emulation
def test_a_batch_may_be_empty() -> None:
    batch = batch_of(0, 16, 16, 0, (0, 0, 16, 16), SIX_TAP, 8, count=2)
    none = batch._replace(
        **{name: getattr(batch, name)[:0] for name in ("current", "past", "future", "vectors", "lists")}
    )
    assert residuals(none).shape == (0, 16, 16)


def test_what_has_not_the_stated_form_is_refused() -> None:
    batch = batch_of(0, 16, 24, 8, (0, 0, 16, 24), SIX_TAP, 8, count=2)
    with pytest.raises(ValueError, match=r"luma \(torch.int32\) \(5, 16, 32\) must be uint8 or uint16 \[m, rows, str"):
        residuals(batch._replace(luma=batch.luma.astype(np.int32)))
    with pytest.raises(ValueError, match=r"past \(2,\) must be \(2, 2\)"):
        residuals(batch._replace(past=batch.past[:, 0].copy()))
    with pytest.raises(ValueError, match=r"vectors \(2, 2, 3, 2\) must be \(2, 2, 3, 2, 2\)"):
        residuals(batch._replace(vectors=batch.vectors[..., 0].copy()))
    with pytest.raises(ValueError, match=r"shown \(0, 0, 17, 24\) must be within the grid of 2 x 3 blocks of 8x8"):
        residuals(batch._replace(shown=(0, 0, 17, 24)))
    with pytest.raises(ValueError, match=r"shown \(0, 0, 16, 24\) must be within 16 x 23 samples"):
        residuals(batch._replace(width=23))
    with pytest.raises(ValueError, match=r"taps \(4\) must be 6 or 2"):
        residuals(batch._replace(taps=4))


def test_the_source_has_the_constants_of_the_definition() -> None:
    text = launch.source_text("predict")
    named = {"BLOCK": BLOCK, "CELL": CELL, "LIST_0": LIST_0, "LIST_1": LIST_1, "SIX_TAP": SIX_TAP}
    for name, value in named.items():
        assert f"#define {name} {value}\n" in text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that torch can use")
@filters
@pytest.mark.parametrize("depth", [8, 10])
def test_a_gpu_predicts_whole_clips_as_numba_does(taps: int, depth: int) -> None:
    batch = batch_of(depth, 240, 426, 86, (8, 101, 224, 224), taps, depth, count=64)
    ours = residuals(batch, "cuda")
    assert np.array_equal(ours, [expected_residual(batch, k, cpu_predict) for k in range(64)])
    check_cell_motions(batch.vectors, batch.lists, batch.shown, "cuda")
