"""Exports read, and made, by the code of those whose forms they are.

codec-video-prep wants numpy < 2 and lmms-video-utils another OpenCV, so no extra of ours has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_cases import fill, make_placed_clip, names
from PIL import Image

from codecsieve.cache import ClipArrays, Layout, SparseCache, open_cache
from codecsieve.pipelines.exchange.export import export_cache

GRID = 8


@pytest.fixture
def cache(tmp_path: Path) -> SparseCache:
    """A clip that keeps 48 whole blocks: three canvases of 8x8 patches."""

    def make(clip_id: str, layout: Layout) -> ClipArrays:
        return make_placed_clip(clip_id, layout, GRID, blocks=True)

    layout = Layout(num_frames=8, k_keep=192, patch=14)
    fill(tmp_path / "cache", names(1), layout=layout, config={"input_size": GRID * 14}, make=make)
    return open_cache(tmp_path / "cache")


@pytest.fixture
def folder(cache: SparseCache, tmp_path: Path) -> Path:
    export_cache(cache, tmp_path / "out", "ov2")
    return tmp_path / "out" / "clips" / "clip-0"


def patches_of(folder: Path, cache: SparseCache) -> np.ndarray:
    """uint8 [K, 3, P, P]: what the positions of an export, in block order, are the positions of."""
    clip = cache[0]
    known = {
        (clip.frame_ids[slot], row, column): patch
        for (slot, row, column), patch in zip(clip.positions.tolist(), clip.patches, strict=True)
    }
    return np.stack([known[tuple(place)] for place in np.load(folder / "patch_positions.npy").tolist()])


def test_a_processor_of_transformers_makes_the_patches_in_the_order_of_the_positions(
    cache: SparseCache, folder: Path
) -> None:
    processors = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    processor = processors.Qwen2VLImageProcessorPil(
        patch_size=14, merge_size=2, temporal_patch_size=1, do_resize=False, do_rescale=False, do_normalize=False
    )
    pictures = [Image.open(folder / name) for name in json.loads((folder / "meta.json").read_text())["canvas_files"]]
    made: Any = processor(images=pictures, return_tensors="np")
    np.testing.assert_array_equal(made["image_grid_thw"], np.load(folder / "image_grid_thw.npy"))
    pixels = np.asarray(made["pixel_values"]).reshape(-1, 3, 14, 14)
    np.testing.assert_array_equal(pixels, patches_of(folder, cache))


def test_codec_video_prep_reads_it_and_comes_to_the_same_positions(folder: Path) -> None:
    theirs = pytest.importorskip(
        "codec_video_prep.integrations.llava_onevision", reason="codec-video-prep is not installed: it wants numpy < 2"
    )
    torch = pytest.importorskip("torch")
    read = theirs.load_llava_codec_result(folder)
    assert read.fps == 29.97
    images, positions, dropped = theirs.drop_padding_canvases(read.images, read.src_positions)
    assert (len(images), dropped) == (3, 0)
    grids = torch.from_numpy(np.load(folder / "image_grid_thw.npy"))
    made = theirs.codec_positions_for_processor(positions, grids, torch.device("cpu"))
    np.testing.assert_array_equal(made.numpy(), np.load(folder / "patch_positions.npy"))
    runs = theirs.timestamp_runs(made, read.fps, decimals=1)
    assert sum(tokens for _, tokens in runs) == 48  # one a block


def test_lmms_video_utils_packs_the_same_blocks_onto_the_same_canvases(cache: SparseCache, folder: Path) -> None:
    theirs = pytest.importorskip("lmms_video_utils.pack", reason="lmms-video-utils is not installed")
    from lmms_video_utils.types import CodecVideoOutput

    torch = pytest.importorskip("torch")
    clip = cache[0]
    frames = torch.zeros((8, 3, GRID * 14, GRID * 14), dtype=torch.uint8)
    for (slot, row, column), patch in zip(clip.positions.tolist(), clip.patches, strict=True):
        frames[slot, :, row * 14 : row * 14 + 14, column * 14 : column * 14 + 14] = torch.from_numpy(patch)
    blocks = sorted({(slot, row // 2, column // 2) for slot, row, column in clip.positions.tolist()})
    canvases, positions = [], []
    for first in range(0, 48, 16):
        picks = [(*block, 1.0) for block in blocks[first : first + 16]]
        canvas, places = theirs._p_canvas(frames, picks, 4, 4, 2, 28, clip.frame_ids.tolist())
        canvases.append(canvas)
        positions.append(places)
    raster = np.load(folder / "src_patch_position.npy")
    np.testing.assert_array_equal(torch.cat(positions).numpy(), raster)
    ours = np.stack([np.asarray(Image.open(folder / f"canvas_{number:03d}.png")) for number in range(3)])
    np.testing.assert_array_equal(torch.stack(canvases).permute(0, 2, 3, 1).numpy(), ours)
    output = CodecVideoOutput(
        canvases=torch.from_numpy(ours).permute(0, 3, 1, 2),
        patch_positions=torch.from_numpy(raster).long(),
        gop_ids=torch.from_numpy(np.load(folder / "gop_ids.npy")),
        source_pts=torch.from_numpy(np.load(folder / "source_pts.npy")),
        fps=29.97,
        n_groups=1,
    )
    assert {name: str(value.dtype) for name, value in output.as_dict().items() if torch.is_tensor(value)} == {
        "canvases": "torch.uint8",
        "patch_positions": "torch.int64",
        "gop_ids": "torch.int64",
        "source_pts": "torch.float32",
    }
