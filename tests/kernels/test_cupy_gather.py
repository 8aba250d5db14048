"""The GPU's patch gather: the pixels of the CPU bit for bit, from surfaces as the video decoder leaves them."""

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
from codecsieve.kernels.cpu import gather as cpu_gather
from codecsieve.kernels.cupy import gather as cupy_gather
from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy.gather import gather_patches
from codecsieve.kernels.geometry import geometry
from codecsieve.kernels.resample import LUMA_WEIGHTS, ColourMatrix, Taps, colour_matrix, cubic_taps

Samples = npt.NDArray[np.unsignedinteger]


class Gather(NamedTuple):
    """The arguments of `gather_patches`, in NumPy's arrays."""

    luma: Samples
    chroma: Samples | None
    origins: tuple[tuple[int, int], tuple[int, int]]
    luma_taps: tuple[Taps, Taps]
    chroma_taps: tuple[Taps, Taps]
    corners: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    patch: int
    depth: int
    shift: int
    matrix: ColourMatrix


def gather_of(
    sides: tuple[int, int],
    size: int,
    patch: int,
    depth: int = 8,
    grey: bool = False,
    n: int = 2,
    kept: int = 3,
    origin: tuple[int, int] = (0, 0),
    padding: int = 0,
    extremes: bool = False,
    matrix: str = "bt709",
    seed: int = 0,
) -> Gather:
    """Random 4:2:0 pictures, `origin` samples above and left of them, `padding` below and right; kept patches."""
    rng = np.random.default_rng(seed)
    grids = geometry(*sides, size, patch)
    halves = (sides[0] + 1) // 2, (sides[1] + 1) // 2
    axes = ((grids.scaled_height, grids.crop_top), (grids.scaled_width, grids.crop_left))
    shift = 0 if depth == 8 else 16 - depth

    def stored(shape: tuple[int, int], *channels: int) -> Samples:
        whole = [first + shown + padding for first, shown in zip(origin, shape, strict=True)]
        choices = np.array([0, (1 << depth) - 1]) if extremes else np.arange(1 << depth)
        return (rng.choice(choices, (n, *whole, *channels)) << shift).astype(np.uint8 if depth == 8 else np.uint16)

    def taps(shape: tuple[int, int], every: int, moved: tuple[float, float]) -> tuple[Taps, Taps]:
        rows, columns = (
            cubic_taps(source, *axis, size, side / every, by)
            for source, axis, side, by in zip(shape, axes, sides, moved, strict=True)
        )
        return rows, columns

    return Gather(
        luma=stored(sides),
        chroma=None if grey else stored(halves, 2),
        origins=(origin, origin),
        luma_taps=taps(sides, 1, (0.0, 0.0)),
        chroma_taps=taps(halves, 2, (0.0, 0.25)),
        corners=rng.integers(0, size // patch, (kept, 2)) * patch,
        slots=rng.integers(0, n, kept),
        patch=patch,
        depth=depth,
        shift=shift,
        matrix=colour_matrix(matrix, seed % 2 == 1),
    )


def ours(gather: Gather, device: str = "cpu") -> npt.NDArray[np.uint8]:
    arguments = (torch.from_numpy(a).to(device) if isinstance(a, np.ndarray) else a for a in gather)
    patches = gather_patches(*arguments)
    assert patches.dtype == torch.uint8
    return patches.cpu().numpy()


def cpus(gather: Gather) -> npt.NDArray[np.uint8]:
    """Picture by picture, from planes of the samples alone."""
    patches = np.empty((len(gather.slots), 3, gather.patch, gather.patch), np.uint8)
    for slot in np.unique(gather.slots):
        here = gather.slots == slot
        surfaces = [gather.luma[slot]]
        if gather.chroma is not None:
            surfaces += [gather.chroma[slot, ..., 0], gather.chroma[slot, ..., 1]]
        patches[here] = cpu_gather.gather_patches(
            tuple(np.ascontiguousarray(surface >> gather.shift) for surface in surfaces),
            gather.luma_taps,
            gather.chroma_taps,
            gather.corners[here],
            gather.patch,
            gather.depth,
            gather.matrix,
            gather.origins,
        )
    return patches


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_patches_are_the_cpus(emulated: str, data: st.DataObject) -> None:
    patch = data.draw(st.integers(1, 6), "patch")
    gather = gather_of(
        sides=data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)), "sides"),
        size=patch * data.draw(st.integers(1, 3), "grid"),
        patch=patch,
        depth=data.draw(st.sampled_from([8, 10, 12]), "depth"),
        grey=data.draw(st.booleans(), "grey"),
        n=data.draw(st.integers(1, 3), "n"),
        kept=data.draw(st.integers(0, 4), "kept"),
        origin=data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)), "origin"),
        padding=data.draw(st.integers(0, 5), "padding"),
        extremes=data.draw(st.booleans(), "extremes"),
        matrix=data.draw(st.sampled_from(list(LUMA_WEIGHTS)), "matrix"),
        seed=data.draw(st.integers(0, 2**32), "seed"),
    )
    assert np.array_equal(ours(gather), cpus(gather))


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(
    "sides",
    [(9, 13), (28, 28), (29, 51), (97, 56), (168, 171)],
    ids=["upscaled", "as it is", "odd", "x2", "x6"],
)
def test_patches_of_every_scale_are_the_cpus(emulated: str, sides: tuple[int, int], depth: int) -> None:
    gather = gather_of(sides, size=28, patch=14, depth=depth, padding=3, seed=sides[0])
    assert np.array_equal(ours(gather), cpus(gather))


@pytest.mark.parametrize("depth", [8, 15])
@pytest.mark.parametrize("seed", [0, 1], ids=["limited", "full"])
@pytest.mark.parametrize("name", LUMA_WEIGHTS)
def test_black_and_white_do_not_overflow(emulated: str, name: str, seed: int, depth: int) -> None:
    gather = gather_of((40, 40), 16, 8, depth=depth, kept=4, extremes=True, matrix=name, seed=seed)
    assert np.array_equal(ours(gather), cpus(gather))


def test_the_largest_patch(emulated: str) -> None:
    gather = gather_of((70, 90), size=64, patch=32, kept=2)
    assert np.array_equal(ours(gather), cpus(gather))


def test_a_patch_is_cut_in_pieces_where_the_strip_does_not_hold_it(emulated: str) -> None:
    """Three rows at a time of four: 2700 samples each."""
    gather = gather_of((5, 2700), size=4, patch=4, kept=1, n=1)
    stretched = gather._replace(
        luma_taps=(gather.luma_taps[0], cubic_taps(2700, 4, 0, 4, 2700.0, 0.0)),
        chroma_taps=(gather.chroma_taps[0], cubic_taps(1350, 4, 0, 4, 1350.0, 0.25)),
    )
    assert cupy_gather.STRIP // 2700 == 3
    assert np.array_equal(ours(stretched), cpus(stretched))


@pytest.mark.parametrize("patch", [3, 4])
def test_a_patch_as_wide_as_the_widest_picture(emulated: str, patch: int) -> None:
    """One row at a time: a patch of all of the 8192 samples across."""
    gather = gather_of((6, 8192), size=patch, patch=patch, kept=1, n=1)
    stretched = gather._replace(
        luma_taps=(gather.luma_taps[0], cubic_taps(8192, patch, 0, patch, 8192.0, 0.0)),
        chroma_taps=(gather.chroma_taps[0], cubic_taps(4096, patch, 0, patch, 4096.0, 0.25)),
    )
    assert np.array_equal(ours(stretched), cpus(stretched))


def test_surfaces_cut_to_the_crop_begin_after_the_pictures_first_sample(emulated: str) -> None:
    gather = gather_of((40, 90), size=28, patch=14, kept=4)
    assert gather.chroma is not None
    cuts = [taps[1].first[0] for taps in (gather.luma_taps, gather.chroma_taps)]
    cut = gather._replace(
        luma=np.ascontiguousarray(gather.luma[:, :, cuts[0] :]),
        chroma=np.ascontiguousarray(gather.chroma[:, :, cuts[1] :]),
        origins=((0, -int(cuts[0])), (0, -int(cuts[1]))),
    )
    assert min(cuts) > 0
    assert np.array_equal(ours(cut), cpus(gather))


@pytest.mark.parametrize("depth", [8, 10])
def test_whole_surfaces_hold_luma_and_chroma(emulated: str, depth: int) -> None:
    gather = gather_of((30, 46), size=28, patch=14, depth=depth)
    assert gather.chroma is not None
    whole = np.concatenate([gather.luma, gather.chroma.reshape(2, 15, 46)], axis=1)
    whole = np.pad(whole, ((0, 0), (0, 0), (0, 18)))
    surfaces = gather._replace(luma=whole, chroma=whole.reshape(2, 45, 32, 2), origins=((0, 0), (30, 0)))
    assert np.array_equal(ours(surfaces), cpus(gather))


def test_no_patches(emulated: str) -> None:
    assert ours(gather_of((30, 46), size=28, patch=14, kept=0)).shape == (0, 3, 14, 14)


def test_what_is_refused() -> None:
    good = gather_of((30, 46), size=28, patch=14)
    assert good.chroma is not None
    elsewhere = gather_of((30, 46), size=42, patch=14)
    for change, message in (
        ({"patch": 33}, r"patch \(33\) must be 1 \.\. 28"),
        ({"patch": 0}, r"patch \(0\) must be 1 \.\. 28"),
        ({"depth": 16}, r"depth \(16\) must be 8 \.\. 15"),
        ({"slots": good.slots[1:]}, r"corners \(3, 2\) and slots \(2,\) must be int64 \[K, 2\] and \[K\]"),
        ({"slots": good.slots.astype(np.int32)}, "must be int64"),
        ({"chroma": good.chroma.astype(np.uint16)}, r"chroma \(torch\.uint16 .* must be torch\.uint8 \[2, rows,"),
        ({"chroma": good.chroma[1:]}, r"chroma \(torch\.uint8 \[1, 15, 23, 2\]\) must be torch\.uint8 \[2, rows,"),
        ({"chroma": good.chroma[..., :1]}, r"chroma \(torch\.uint8 \[2, 15, 23, 1\]\) must be torch\.uint8 \[2, rows,"),
        ({"chroma_taps": elsewhere.chroma_taps}, r"weights of \[42, 42\] model pixels must be of 28 each"),
        ({"origins": ((1, 0), (0, 0))}, r"samples that are weighed \(1 \.\. 31\) must be within the surface's 30"),
        ({"origins": ((0, 0), (0, 9))}, r"samples that are weighed \(\d+ \.\. \d+\) must be within the surface's 23"),
        ({"luma": good.luma.astype(np.float32), "chroma": None}, r"samples \(torch\.float32\) must be uint8 or uint16"),
    ):
        with pytest.raises(ValueError, match=message):
            ours(good._replace(**change))


def test_a_patch_of_too_many_samples_is_refused() -> None:
    gather = gather_of((2, 3), size=2, patch=2, grey=True)
    wide = cubic_taps(9000, 2, 0, 2, 9000.0, 0.0)
    with pytest.raises(ValueError, match=r"samples across a patch \(9000\) must be <= 8192: the picture is too wide"):
        ours(gather._replace(luma=np.zeros((1, 2, 9000), np.uint8), luma_taps=(gather.luma_taps[0], wide)))


def test_the_kernels_constants_are_the_definitions() -> None:
    defined = dict(re.findall(r"#define (\w+) (\d+)$", launch.source_text("gather"), re.MULTILINE))
    shared = {name: getattr(resample, name) for name in ("TAP_BITS", "FRACTION_BITS", "COLOUR_BITS")}
    own = {name: getattr(cupy_gather, name) for name in ("LARGEST_PATCH", "STRIP")}
    assert {name: int(value) for name, value in defined.items()} == shared | own


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("sides", [(224, 224), (180, 241), (1080, 1920), (2160, 3840)])
def test_patches_of_a_clip_are_the_cpus_on_a_gpu(sides: tuple[int, int], depth: int) -> None:
    n = 64 if sides[0] < 1080 else 4
    gather = gather_of(sides, size=224, patch=14, depth=depth, n=n, kept=2048, origin=(2, 1), padding=64)
    assert np.array_equal(ours(gather, "cuda"), cpus(gather))
