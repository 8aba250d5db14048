"""The GPU's levels of block search: those of the CPU bit for bit, with their border around them."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codecsieve.kernels import resample
from codecsieve.kernels.cpu.search import area_resize, pyramid
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy import resample as cupy_resample
from codecsieve.kernels.cupy.resample import axis_table, model_levels
from codecsieve.kernels.geometry import geometry
from codecsieve.kernels.levels import Levels, level_shapes
from codecsieve.kernels.resample import Taps, area_taps


class Surfaces(NamedTuple):
    """Pictures of height x width, shown from (top, left) on, in surfaces of stored samples."""

    stored: npt.NDArray[np.unsignedinteger]
    top: int
    left: int
    rows_taps: Taps
    columns_taps: Taps
    shift: int
    depth: int


def surfaces_of(
    n: int, height: int, width: int, size: int, around: tuple[int, int, int, int], depth: int, seed: int
) -> Surfaces:
    """Random pictures, `around` samples of something else above, left, below and right of them."""
    rng = np.random.default_rng(seed)
    top, left, below, right = around
    samples = rng.integers(0, 1 << depth, (n, top + height + below, left + width + right))
    grids = geometry(height, width, size, size)
    return Surfaces(
        stored=samples.astype(np.uint8) if depth == 8 else (samples << (16 - depth)).astype(np.uint16),
        top=top,
        left=left,
        rows_taps=area_taps(height, grids.scaled_height, grids.crop_top, size),
        columns_taps=area_taps(width, grids.scaled_width, grids.crop_left, size),
        shift=0 if depth == 8 else 8,
        depth=depth,
    )


def levels_of(surfaces: Surfaces, device: str = "cpu") -> Levels:
    luma = torch.from_numpy(surfaces.stored).to(device)
    return model_levels(luma, *surfaces[1:6])


def expected_levels(surfaces: Surfaces) -> list[npt.NDArray[np.uint8]]:
    """The CPU's pyramids, and around them the border by NumPy's own padding."""
    unused = 0 if surfaces.depth == 8 else 16 - surfaces.depth
    pictures = [pyramid(area_resize(plane >> unused, *surfaces[1:5], surfaces.depth)) for plane in surfaces.stored]
    levels = []
    for shape, level in zip(level_shapes(len(surfaces.rows_taps.first)), zip(*pictures, strict=True), strict=True):
        below, right = (whole - shape.reach - shape.side for whole in (shape.rows, shape.pitch))
        around = ((0, 0), (shape.reach, below), (shape.reach, right))
        levels.append(np.pad(np.stack(level), around, mode="edge"))
    return levels


def assert_same(levels: Levels, expected: list[npt.NDArray[np.uint8]]) -> None:
    assert len(levels.arrays) == len(expected)
    for ours, theirs in zip(levels.arrays, expected, strict=True):
        assert ours.dtype == torch.uint8
        assert np.array_equal(ours.cpu().numpy(), theirs)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 3),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    size=st.integers(1, 21),
    around=st.tuples(*[st.integers(0, 3)] * 4),
    depth=st.sampled_from([8, 10, 12]),
    seed=st.integers(0, 2**32),
)
def test_levels_are_the_cpus(
    emulated: str,
    n: int,
    height: int,
    width: int,
    size: int,
    around: tuple[int, int, int, int],
    depth: int,
    seed: int,
) -> None:
    surfaces = surfaces_of(n, height, width, size, around, depth, seed)
    assert_same(levels_of(surfaces), expected_levels(surfaces))


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(
    ("height", "width"),
    [(9, 13), (28, 28), (29, 51), (97, 56), (168, 171)],
    ids=["upscaled", "as it is", "odd", "x2", "x6"],
)
def test_levels_of_every_scale_are_the_cpus(emulated: str, height: int, width: int, depth: int) -> None:
    surfaces = surfaces_of(2, height, width, 28, (0, 0, 0, 5), depth, seed=height)
    assert_same(levels_of(surfaces), expected_levels(surfaces))


@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_picture_stays_as_it_is(emulated: str, value: int) -> None:
    surfaces = surfaces_of(1, 60, 90, 17, (0, 0, 0, 0), 8, seed=0)
    surfaces.stored[:] = value
    assert all((array == value).all() for array in levels_of(surfaces).arrays)


def test_threads_make_all_of_a_row_longer_than_a_block(emulated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy_resample, "MOST_THREADS", 32)
    surfaces = surfaces_of(2, 30, 50, 21, (0, 0, 0, 0), 8, seed=1)
    assert_same(levels_of(surfaces), expected_levels(surfaces))


def test_whole_surfaces_with_chroma_below_are_read_as_luma(emulated: str) -> None:
    surfaces = surfaces_of(2, 20, 30, 14, (0, 0, 10, 2), 8, seed=2)
    luma_alone = surfaces._replace(stored=np.ascontiguousarray(surfaces.stored[:, :20]))
    assert_same(levels_of(surfaces), expected_levels(luma_alone))


def test_no_pictures_have_no_levels(emulated: str) -> None:
    levels = levels_of(surfaces_of(0, 20, 30, 14, (0, 0, 0, 0), 8, seed=3))
    assert [tuple(array.shape) for array in levels.arrays] == [
        (0, shape.rows, shape.pitch) for shape in level_shapes(14)
    ]


def test_a_surface_smaller_than_the_picture_is_refused() -> None:
    surfaces = surfaces_of(1, 20, 30, 14, (0, 0, 0, 0), 8, seed=4)
    with pytest.raises(ValueError, match=r"samples that are weighed \(1 \.\. 21\) must be within the surface's 20"):
        levels_of(surfaces._replace(top=1))
    with pytest.raises(ValueError, match=r"samples that are weighed \(-\d+ \.\. \d+\) must be within the surface's 30"):
        levels_of(surfaces._replace(left=-9))


def test_samples_of_another_kind_are_refused() -> None:
    surfaces = surfaces_of(1, 20, 30, 14, (0, 0, 0, 0), 8, seed=5)
    with pytest.raises(ValueError, match=r"samples \(torch\.float32\) must be uint8 or uint16"):
        levels_of(surfaces._replace(stored=surfaces.stored.astype(np.float32)))


def test_a_crop_that_is_not_square_is_refused() -> None:
    surfaces = surfaces_of(1, 20, 30, 14, (0, 0, 0, 0), 8, seed=6)
    with pytest.raises(ValueError, match=r"rows of the crop \(14\) and columns \(13\) must be as many"):
        levels_of(surfaces._replace(columns_taps=area_taps(30, 21, 0, 13)))


def test_weights_go_to_the_device_once() -> None:
    taps = area_taps(30, 14, 0, 14)
    cpu = torch.device("cpu")
    table = axis_table(taps, 2, 40, cpu)
    assert axis_table(taps, 2, 40, cpu) is table
    assert axis_table(Taps(taps.first, taps.weights), 2, 40, cpu) is not table
    assert table.dtype == torch.int32
    assert np.array_equal(table[0], taps.first + 2)
    assert np.array_equal(table[1:], taps.weights.T)


def test_the_kernels_constant_is_the_definitions() -> None:
    defined = dict(re.findall(r"#define (\w+) (\d+)", launch.source_text("resample")))
    assert defined == {"TAP_BITS": str(resample.TAP_BITS)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (180, 241), (1080, 1920), (2160, 3840)])
def test_levels_of_a_clip_are_the_cpus_on_a_gpu(height: int, width: int, depth: int) -> None:
    n = 64 if height < 1080 else 4
    surfaces = surfaces_of(n, height, width, 224, (2, 1, 3, 64), depth, seed=7)
    assert_same(levels_of(surfaces, "cuda"), expected_levels(surfaces))
