"""Whether the GPU gives what the processor gives, bit for bit: kernels, decoded pictures, and whole clips.

Measured before anything else: the speed of a wrong result says nothing.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import show
from benchmarks.gpu.scenes import Encoding, Scale, Surfaces, clip_surfaces, encode
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.nvdec import DevicePicture, NvdecSession
from codecsieve.codec.nvdec_support import check_supported, first_layout
from codecsieve.codec.packets import open_source
from codecsieve.codec.search import luma_taps
from codecsieve.codec.upright import upright_layout
from codecsieve.kernels.cpu import search as on_cpu
from codecsieve.kernels.cpu.energy import slot_scores
from codecsieve.kernels.cpu.gather import gather_patches
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.gpu import score_slots
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.kernels.resample import colour_matrix
from codecsieve.kernels.rules import CAMERA_MODES, FUSE_MODES, Measure
from codecsieve.kernels.triton.residual import search_residual, vector_cells
from codecsieve.kernels.triton.search import search_vectors
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.crops import crop_taps
from codecsieve.pipelines.sieve.gpu_clip import sieve_clip_on_gpu
from codecsieve.pipelines.sieve.gpu_stack import PictureStack
from codecsieve.pipelines.sieve.kept import SievedClip

FRAMES = 60
OPEN_GOP = "keyint=12:min-keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0"
HEVC_GOP = {"preset": "veryfast", "x265-params": f"{OPEN_GOP}:log-level=error"}
MEASURES: dict[str, tuple[str, Measure]] = {
    "contrast": ("weighted", Measure("mean", 9)),
    "unlike, by product": ("product", Measure("mean", 9, scale="none")),
    "unlike 17x17": ("weighted", Measure("mean", 17)),
    "variance 3x3": ("weighted", Measure("variance", 3)),
    "gradient of the residual": ("weighted", Measure(res_use_grad=True)),
}
"""Fusion and measure, by what stands for motion or residual."""
Case = dict[str, Any]


def equality(scale: Scale, folder: Path) -> dict[str, Any]:
    """The section: `cases` with `equal`, which is null, with a reason, for what could not be compared."""
    cases = [*_kernel_cases(scale), *_video_cases(scale, folder)]
    show("Equal to the processor", ["case", "equal"], [(case["case"], case["equal"]) for case in cases])
    return {"all_equal": all(case["equal"] is True for case in cases), "cases": cases}


def _case(name: str, compare: Callable[[], bool]) -> Case:
    try:
        return {"case": name, "equal": bool(compare())}
    except Exception as error:  # the other cases are compared all the same
        traceback.print_exc()
        return {"case": name, "equal": None, "reason": f"{type(error).__name__}: {error}"}


# --- kernels


def _kernel_cases(scale: Scale) -> Iterator[Case]:
    for bit_depth in (8, 10):
        yield from _levels_and_patches(scale, bit_depth)
    yield from _search_and_scores(scale)


def _levels_and_patches(scale: Scale, bit_depth: int) -> Iterator[Case]:
    config = scale.config
    surfaces = clip_surfaces(config.num_frames, scale.small_size, bit_depth, scale.device)
    kept = np.sort(np.random.default_rng(3).choice(config.patches_per_clip, config.k_keep, replace=False))
    slots, rows, columns = np.unravel_index(kept, (config.num_frames, config.grid, config.grid))
    corners = np.stack([rows, columns], axis=1) * config.patch_size
    yield _case(f"pyramids, {bit_depth} bits", lambda: _same_levels(surfaces, config))
    yield _case(f"gather, {bit_depth} bits", lambda: _same_patches(surfaces, config, slots, corners))


def filled_stack(surfaces: Surfaces, config: SieveConfig) -> PictureStack:
    """The stack of a clip whose pictures are all shown."""
    numbers = set(range(len(surfaces.luma)))
    stack = PictureStack(surfaces.layout, config, numbers, numbers, surfaces.luma.device, pixels=True)
    pictures = (DevicePicture(surfaces.luma[n], surfaces.chroma[n], n, n, True, None) for n in sorted(numbers))
    for _ in stack.passing(pictures):
        pass
    return stack


def _same_levels(surfaces: Surfaces, config: SieveConfig) -> bool:
    levels, _ = filled_stack(surfaces, config).levels()
    expected = [on_cpu.pyramid(picture) for picture in _model_luma(surfaces, config.input_size)]
    same = []
    for array, shape, pictures in zip(levels.arrays, levels.shapes, zip(*expected, strict=True), strict=True):
        inside = slice(shape.reach, shape.reach + shape.side)
        same.append(np.array_equal(array.cpu().numpy()[:, inside, inside], np.stack(pictures)))
    return all(same)


def _samples(surfaces: Surfaces) -> tuple[np.ndarray, np.ndarray]:
    """Luma and chroma as FFmpeg has them: 10 bits in the lower ones of 16."""
    shift = 0 if surfaces.layout.bit_depth == 8 else 16 - surfaces.layout.bit_depth
    return surfaces.luma.cpu().numpy() >> shift, surfaces.chroma.cpu().numpy() >> shift


def _model_luma(surfaces: Surfaces, size: int) -> Iterator[np.ndarray]:
    taps = luma_taps(upright_layout(surfaces.layout), size)
    for plane in _samples(surfaces)[0]:
        yield on_cpu.area_resize(plane, 0, 0, *taps, surfaces.layout.bit_depth)


def _same_patches(surfaces: Surfaces, config: SieveConfig, slots: np.ndarray, corners: np.ndarray) -> bool:
    patches = filled_stack(surfaces, config).cut(slots, corners)
    layout = surfaces.layout
    luma_of, chroma_of = crop_taps(upright_layout(layout), config.input_size, config.patch_size)
    matrix = colour_matrix(layout.matrix, layout.full_range)
    expected = []
    for slot, (y, uv) in enumerate(zip(*_samples(surfaces), strict=True)):
        planes = y, np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1])
        here = np.ascontiguousarray(corners[slots == slot])
        taps = luma_of.taps, chroma_of.taps
        expected.append(gather_patches(planes, *taps, here, config.patch_size, layout.bit_depth, matrix))
    return np.array_equal(patches, np.concatenate(expected))


def _search_and_scores(scale: Scale) -> Iterator[Case]:
    config, count = scale.config, scale.config.num_frames
    surfaces = clip_surfaces(count + 1, scale.small_size, 8, scale.device)
    pyramids = [on_cpu.pyramid(picture) for picture in _model_luma(surfaces, config.input_size)]
    pairs = list(zip(pyramids[1:], pyramids[:-1], strict=True))
    vectors = np.stack([on_cpu.search_pyramids(*pair) for pair in pairs])
    motion, residual = (np.stack(parts) for parts in zip(*(on_cpu.search_signals(*p) for p in pairs), strict=True))
    histograms = np.stack([np.bincount(picture.ravel(), minlength=256) for picture in residual])
    numbers = torch.arange(1, count + 1, device=scale.device)

    def levels() -> tuple[Levels, Levels]:
        held, _ = filled_stack(surfaces, config).levels()
        return held.pictures(numbers), held.pictures(numbers - 1)

    def same_residual() -> bool:
        found = search_residual(*levels(), on_device(vectors))
        return _same(found[0], residual) and _same(found[1], histograms)

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(scale.device)

    yield _case("search vectors", lambda: _same(search_vectors(*levels()), vectors))
    yield _case("residual and histogram", same_residual)
    yield _case("vectors to cells", lambda: _same(vector_cells(on_device(vectors), config.input_size), motion))
    for mode in CAMERA_MODES:
        for fuse in FUSE_MODES:
            yield _case(f"scores, {mode} {fuse}", _same_scores(scale, motion, residual, mode, fuse, Measure()))
    for name, (fuse, measure) in MEASURES.items():
        yield _case(f"scores, {name}", _same_scores(scale, motion, residual, "median", fuse, measure))


def _same_scores(
    scale: Scale, motion: np.ndarray, residual: np.ndarray, mode: str, fuse: str, measure: Measure
) -> Callable[[], bool]:
    config = scale.config
    grids = geometry(*residual.shape[1:], config.input_size, config.patch_size)
    table = center_table(grids, config.center_prior, config.center_sigma)
    how = grids, table, mode, fuse, fuse_weights(1.0, 0.7)

    def compare() -> bool:
        tensors = torch.from_numpy(motion).to(scale.device), torch.from_numpy(residual).to(scale.device)
        found = score_slots(*tensors, *how, measure=measure)
        slots = zip(motion, residual, strict=True)
        return _same(found, np.stack([slot_scores(*slot, *how, measure) for slot in slots]))

    return compare


def _same(found: torch.Tensor, expected: np.ndarray) -> bool:
    return np.array_equal(found.cpu().numpy(), expected)


# --- videos


def _encodings(size: tuple[int, int]) -> tuple[Encoding, ...]:
    x264 = {"preset": "veryfast", "x264-params": "bframes=3:keyint=24:scenecut=0"}
    vp9 = {"cpu-used": "8", "deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "16", "g": "24"}
    return (
        Encoding("h264 closed gop", "libx264", size, x264),
        Encoding(
            "h264 open gop", "libx264", size, {"preset": "veryfast", "x264-params": f"{OPEN_GOP}:b-pyramid=normal"}
        ),
        Encoding("hevc open gop", "libx265", size, HEVC_GOP),
        Encoding("hevc 10 bits", "libx265", size, HEVC_GOP, "yuv420p10le", "mkv"),
        Encoding("vp9", "libvpx-vp9", size, vp9, suffix="webm"),
    )


def _video_cases(scale: Scale, folder: Path) -> Iterator[Case]:
    """Decoded planes, then the clip, of each kind of video: all by one session, as they come."""
    with NvdecSession(scale.device.index or 0, 0, scale.device) as session:
        for encoding in _encodings(scale.small_size):
            made = cache(partial(encode, encoding, folder, FRAMES))
            for number, plane in enumerate(("luma", "chroma")):
                yield _case(f"{encoding.name}, {plane}", partial(_same_planes, session, made, number))
            yield _case(f"{encoding.name}, clip", partial(_same_clip, session, made, scale.config))


def _same_planes(session: NvdecSession, made: Callable[[], Path], plane: int) -> bool:
    wanted = np.arange(1, FRAMES, 3)
    found, expected = _by_nvdec(session, made(), wanted), _by_ffmpeg(made(), wanted)
    same = [np.array_equal(planes[plane], expected[display][plane]) for display, planes in found.items()]
    return sorted(found) == wanted.tolist() and all(same)


def _same_clip(session: NvdecSession, made: Callable[[], Path], config: SieveConfig) -> bool:
    return same_clips(sieve_clip_on_gpu(session, made(), config), sieve_clip(made(), config))


def _by_nvdec(session: NvdecSession, path: Path, wanted: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    planes = {}
    with open_source(str(path)) as source:
        layout, interlaced = first_layout(source, wanted)
        check_supported(source, layout, interlaced, session.gpu)
        for picture in session.pictures(source, wanted, layout):
            if picture.display_index in wanted:
                # Read before the next picture takes the surface; `cpu` waits for the default stream, the session's.
                surfaces = Surfaces(layout, _copied(picture.luma), _copied(picture.chroma))
                planes[picture.display_index] = _samples(surfaces)
    return planes


def _copied(plane: torch.Tensor) -> torch.Tensor:
    """A copy on the host of a plane, whose 16 bits torch moves as signed ones."""
    if plane.element_size() == 1:
        return plane.cpu().clone()
    return plane.view(torch.int16).cpu().clone().view(torch.uint16)


def _by_ffmpeg(path: Path, wanted: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    planes = {}
    with open_source(str(path)) as source:
        for picture in decode_pictures(source, wanted, motion=False):
            if picture.display_index in wanted:
                top, left = picture.layout.crop_top, picture.layout.crop_left
                rows, columns = picture.layout.height, picture.layout.width
                y, u, v = picture.planes
                half = slice(top // 2, (top + rows) // 2), slice(left // 2, (left + columns) // 2)
                luma = y[top : top + rows, left : left + columns].copy()
                planes[picture.display_index] = luma, np.stack([u[half], v[half]], axis=-1)
    return planes


def same_clips(clip: SievedClip, expected: SievedClip) -> bool:
    """Whether two clips are the same, bit for bit, whatever decoded them."""
    names = [field.name for field in dataclasses.fields(SievedClip)]
    names = [name for name in names if name not in ("decoder", "pictures_decoded")]
    return all(np.array_equal(getattr(clip, name), getattr(expected, name)) for name in names)
