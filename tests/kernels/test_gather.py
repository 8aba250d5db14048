"""The patch gather: the pixels that Pillow's bicubic gives, and numba equal to the definition bit for bit."""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codecsieve.kernels.cpu import gather as cpu_gather
from codecsieve.kernels.reference import gather as reference_gather
from codecsieve.kernels.resample import LUMA_WEIGHTS, ColourMatrix, Taps, colour_matrix, cubic_taps

Plane = npt.NDArray[np.unsignedinteger]

FORMATS = {"grey": (0, 0), "4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:4": (1, 1)}
"""Luma samples a chroma sample, in y and x."""

forms = pytest.mark.parametrize("form", [reference_gather, cpu_gather], ids=["reference", "cpu"])


class Gather(NamedTuple):
    """The arguments of `gather_patches`."""

    planes: tuple[Plane, ...]
    luma_taps: tuple[Taps, Taps]
    chroma_taps: tuple[Taps, Taps]
    corners: npt.NDArray[np.int64]
    patch: int
    depth: int
    matrix: ColourMatrix


def taps_of(
    shape: tuple[int, int],
    step: tuple[int, int],
    scaled: tuple[int, int],
    crop: tuple[int, int, int],
    shift: float,
) -> tuple[Taps, Taps]:
    """Bicubic taps of rows and columns: shape in luma samples, crop as top, left, size."""
    axes = zip(shape, step, scaled, crop, (0.0, shift), strict=False)
    rows, columns = (
        cubic_taps(-(-length // every), to, offset, crop[2], length / every, moved if every == 2 else 0.0)
        for length, every, to, offset, moved in axes
    )
    return rows, columns


@st.composite
def gathers(draw: st.DrawFn) -> Gather:
    depth = draw(st.sampled_from([8, 10, 12]))
    step_y, step_x = FORMATS[name := draw(st.sampled_from(list(FORMATS)))]
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    patch = draw(st.integers(1, 6))
    size = patch * draw(st.integers(1, 3))
    scaled = size + draw(st.integers(0, 9)), size + draw(st.integers(0, 9))
    crop = draw(st.integers(0, scaled[0] - size)), draw(st.integers(0, scaled[1] - size)), size
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = np.uint8 if depth == 8 else np.uint16
    levels = rng.choice([0, 1, (1 << depth) - 1], 3) if draw(st.booleans()) else np.arange(1 << depth)
    shapes = [(height, width)]
    if name != "grey":
        shapes += [(-(-height // step_y), -(-width // step_x))] * 2
    places = rng.integers(0, size // patch, (draw(st.integers(0, 4)), 2))
    shift = draw(st.sampled_from([0.0, 0.25]))
    return Gather(
        planes=tuple(rng.choice(levels, shape).astype(kind) for shape in shapes),
        luma_taps=taps_of((height, width), (1, 1), scaled, crop, 0.0),
        chroma_taps=taps_of((height, width), (step_y or 1, step_x or 1), scaled, crop, shift),
        corners=places * patch,
        patch=patch,
        depth=depth,
        matrix=colour_matrix(draw(st.sampled_from(list(LUMA_WEIGHTS))), draw(st.booleans())),
    )


@pytest.mark.slow
@settings(max_examples=150)
@given(gathers())
def test_numba_gathers_the_same_pixels_bit_for_bit(gather: Gather) -> None:
    expected = reference_gather.gather_patches(*gather)
    ours = cpu_gather.gather_patches(*gather)
    assert ours.dtype == expected.dtype == np.uint8
    assert ours.shape == (len(gather.corners), 3, gather.patch, gather.patch)
    assert np.array_equal(ours, expected)


@given(gathers(), st.tuples(*[st.integers(0, 5)] * 4), st.integers(0, 9))
def test_numba_reads_the_shown_samples_of_a_larger_plane(
    gather: Gather, origin: tuple[int, int, int, int], padding: int
) -> None:
    origins = origin[:2], origin[2:]

    def coded(plane: Plane, top: int, left: int) -> Plane:
        around = np.pad(plane, ((top, padding), (left, padding)), constant_values=255)
        around[:, :left] = 0
        return around

    planes = tuple(coded(plane, *origins[min(index, 1)]) for index, plane in enumerate(gather.planes))
    ours = cpu_gather.gather_patches(planes, *gather[1:], origins)
    assert np.array_equal(ours, reference_gather.gather_patches(*gather))


@pytest.mark.slow
@given(gathers())
def test_numba_needs_no_more_than_the_samples_of_the_crop(gather: Gather) -> None:
    """Planes cut to what the taps count: sample (0, 0) of the picture then lies before them."""
    planes, origins = [], []
    for plane, (rows, columns) in zip(gather.planes, [gather.luma_taps, *[gather.chroma_taps] * 2], strict=False):
        top, left = rows.first[0], columns.first[0]
        bottom, right = (axis.first[-1] + axis.weights.shape[1] for axis in (rows, columns))
        planes.append(plane[top:bottom, left:right].copy())
        origins.append((-top, -left))
    ours = cpu_gather.gather_patches(tuple(planes), *gather[1:], (origins[0], origins[-1]))
    assert np.array_equal(ours, reference_gather.gather_patches(*gather))


def test_numba_gathers_patches_near_and_far_along_a_row() -> None:
    rng = np.random.default_rng(0)
    size, patch = 560, 14
    shapes = (90, 1800), (45, 900), (45, 900)
    gather = Gather(
        planes=tuple(rng.integers(0, 256, each, dtype=np.uint8) for each in shapes),
        luma_taps=(cubic_taps(90, 28, 0, 28, 90.0, 0.0), cubic_taps(1800, size, 0, size, 1800.0, 0.0)),
        chroma_taps=(cubic_taps(45, 28, 0, 28, 45.0, 0.0), cubic_taps(900, size, 0, size, 900.0, 0.25)),
        corners=np.array([(0, 14), (0, 28), (0, 546), (0, 532), (0, 0), (14, 280), (14, 238), (0, 238)]),
        patch=patch,
        depth=8,
        matrix=colour_matrix("bt709", False),
    )
    assert np.array_equal(cpu_gather.gather_patches(*gather), reference_gather.gather_patches(*gather))


def pillow_rgb(planes: list[npt.NDArray[np.float32]], scaled: tuple[int, int], matrix: str) -> npt.NDArray[np.float64]:
    """Full-range Y, or Y, Cb, Cr, to RGB [3, rows, columns]: Pillow's resize, the matrix in floats."""
    y, *chroma = (
        np.asarray(Image.fromarray(plane).resize(scaled[::-1], Image.Resampling.BICUBIC)).astype(float)
        for plane in planes
    )
    u, v = (plane - 128 for plane in chroma) if chroma else (0 * y, 0 * y)
    red_weight, blue_weight = LUMA_WEIGHTS[matrix]
    red, blue = y + 2 * (1 - red_weight) * v, y + 2 * (1 - blue_weight) * u
    green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(np.stack([red, green, blue]), 0, 255)


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(("height", "width"), [(90, 160), (20, 36)], ids=["downscale", "upscale"])
@pytest.mark.parametrize("name", FORMATS)
@forms
def test_patches_are_pillows_bicubic(form: ModuleType, name: str, height: int, width: int, depth: int) -> None:
    rng = np.random.default_rng(depth)
    step = FORMATS[name]
    shapes = [(height, width)]
    if name != "grey":
        shapes += [(height // step[0], width // step[1])] * 2
    planes = [rng.integers(0, 1 << depth, shape) for shape in shapes]
    scaled, size, patch = (42, 75), 42, 14
    crop = 0, (75 - 42) // 2, size
    corners = np.array(list(product((0, 14, 28), repeat=2)))
    ours = form.gather_patches(
        tuple(plane.astype(np.uint8 if depth == 8 else np.uint16) for plane in planes),
        taps_of((height, width), (1, 1), scaled, crop, 0.0),
        taps_of((height, width), (step[0] or 1, step[1] or 1), scaled, crop, 0.0),
        corners,
        patch,
        depth,
        colour_matrix("bt709", True),
    )
    theirs = pillow_rgb([(plane / 2 ** (depth - 8)).astype(np.float32) for plane in planes], scaled, "bt709")
    theirs = theirs[:, :, crop[1] :]
    for pixels, (top, left) in zip(ours, corners, strict=True):
        assert np.abs(pixels - theirs[:, top : top + patch, left : left + patch]).max() < 0.8


@forms
def test_patches_come_in_the_order_of_their_corners(form: ModuleType) -> None:
    plane = np.arange(16, dtype=np.uint8).reshape(4, 4) * 10
    taps = taps_of((4, 4), (1, 1), (4, 4), (0, 0, 4), 0.0)
    corners = np.array([[2, 2], [0, 2], [2, 2]])
    ours = form.gather_patches((plane,), taps, taps, corners, 2, 8, colour_matrix("bt601", True))
    expected = [plane[2:, 2:], plane[:2, 2:], plane[2:, 2:]]
    assert np.array_equal(ours, np.stack(expected)[:, None].repeat(3, axis=1))
