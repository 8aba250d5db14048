"""Folders of canvases become the caches that they were made of; letterboxed pictures come back as such."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_cases import CONFIG, fill, make_placed_clip, names
from PIL import Image

import codecsieve as cs
from codecsieve.cache import ClipArrays, Layout, SparseCache, open_cache
from codecsieve.errors import ConfigError
from codecsieve.pipelines.exchange.export import export_cache
from codecsieve.pipelines.importing.run import import_cache

T, GRID = 8, 8


def exported(tmp_path: Path, kept: int = 120) -> SparseCache:
    """A cache of three clips in whole blocks, exported to `out`; 120 patches leave the last canvas part empty."""

    def make(clip_id: str, layout: Layout) -> ClipArrays:
        return make_placed_clip(clip_id, layout, GRID, blocks=True)

    layout = Layout(T, kept, 14)
    fill(tmp_path / "given", names(3), layout=layout, config={**CONFIG, "input_size": GRID * 14}, make=make)
    export_cache(tmp_path / "given", tmp_path / "out", "ov2")
    return open_cache(tmp_path / "given")


def assert_same(made: SparseCache, cache: SparseCache, pixels: bool = True) -> None:
    """Clip by clip; an import has them in the order of their folders' names."""
    assert (len(made), made.grid) == (len(cache), cache.grid)
    for other in cache:
        one = made[other.clip_id]
        assert (one.uri, one.label) == (other.uri, other.label)
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.frame_ids, other.frame_ids)
        if pixels:
            np.testing.assert_array_equal(one.patches, other.patches)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [120, 128])
def test_an_export_that_is_imported_is_the_cache_that_it_was(tmp_path: Path, kept: int) -> None:
    cache = exported(tmp_path, kept)
    imported = import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    assert (imported.clips, imported.failures) == (3, {})
    back = open_cache(tmp_path / "back")
    assert_same(back, cache)
    back.verify()
    assert back.config["imported"] == {"source": "folders", "of": cache.config}
    assert back.table.column("fps").to_pylist() == cache.table.column("fps").to_pylist() != [None] * 3
    import_cache(tmp_path / "out", tmp_path / "indices", workers=0)
    assert_same(open_cache(tmp_path / "indices"), cache, pixels=False)


@pytest.mark.slow
def test_letterboxed_blocks_of_real_videos_come_back_in_their_order(
    tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    """And so do those of a clip with fewer frames than slots, where every slot keeps all."""
    (tmp_path / "videos").mkdir()
    for seed, frames in enumerate((30, 30, 12)):
        make_video(tmp_path / "videos" / f"v{seed}.mp4", frames=frames, size=(320, 240), seed=seed)
    options: dict[str, Any] = {"num_frames": 12, "input_size": 112, "fit": "letterbox", "merge": 2, "k_keep": 256}
    cs.precompute(tmp_path / "videos", tmp_path / "cache", workers=0, **options)
    cache = open_cache(tmp_path / "cache")
    export_cache(cache, tmp_path / "out", "ov2")
    import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    back = open_cache(tmp_path / "back")
    assert_same(back, cache)
    assert (back.config["fit"], back.config["input_size"]) == ("letterbox", 112)


def test_a_frame_that_several_slots_show_is_put_where_it_can_be(
    tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    """Whole frames of a clip of five: slots repeat them, and each comes back to its own."""
    path = make_video(tmp_path / "a.mp4", frames=5, size=(128, 128))
    cs.precompute(path, tmp_path / "cache", num_frames=8, input_size=56, policy="sampling", k_keep=8 * 16, workers=0)
    cache = open_cache(tmp_path / "cache")
    assert len(set(cache[0].frame_ids.tolist())) == 5
    export_cache(cache, tmp_path / "out", "ov2")
    import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    assert_same(open_cache(tmp_path / "back"), cache)


# --- what codec-video-prep writes


def write_prepared(folder: Path, rows: int, columns: int, canvases: int, seed: int = 0) -> dict[tuple[int, ...], Any]:
    """A folder as codec-video-prep 0.2.5 leaves one, of frames of rows x columns patches; each patch by its place."""
    random = np.random.default_rng(seed)
    frame_ids = np.array([1, 3, 7, 11, 15, 19], np.int32)
    half = len(frame_ids), rows // 2, columns // 2
    blocks = np.sort(random.permutation(np.prod(half))[: canvases * half[1] * half[2]])
    corners = np.stack(np.unravel_index(blocks, half), axis=1) * [1, 2, 2]
    folder.mkdir(parents=True)
    pixels = random.integers(0, 256, (canvases, rows * 14, columns * 14, 3), dtype=np.uint8)
    raster = np.empty((canvases, rows, columns, 3), np.int32)
    for number, (slot, row, column) in enumerate(corners.tolist()):
        canvas, place = divmod(number, half[1] * half[2])
        above, left = 2 * (place // half[2]), 2 * (place % half[2])
        for down in range(2):
            for right in range(2):
                raster[canvas, above + down, left + right] = frame_ids[slot], row + down, column + right
    known = {
        tuple(raster[canvas, y, x].tolist()): pixels[canvas, y * 14 : y * 14 + 14, x * 14 : x * 14 + 14]
        for canvas, y, x in np.ndindex(canvases, rows, columns)
    }
    files = [f"canvas_{number:03d}.png" for number in range(canvases)]
    for file, picture in zip(files, pixels, strict=True):
        Image.fromarray(picture).save(folder / file)
    np.save(folder / "src_patch_position.npy", raster.reshape(-1, 3))
    np.save(folder / "frame_ids.npy", frame_ids)
    meta = {
        "video": f"{folder.name}.mp4", "config": {"video": folder.name, "group_size": 16}, "fps": 25.0, "patch": 14,
        "block_size": 2, "hb_wb": [rows, columns], "seq_len": len(frame_ids), "total_images": canvases,
        "canvas_files": files,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta))
    return known


@pytest.mark.parametrize(("rows", "columns"), [(4, 8), (8, 4), (6, 6)])
def test_what_codec_video_prep_made_lies_in_the_middle_of_a_square(tmp_path: Path, rows: int, columns: int) -> None:
    known = {key: write_prepared(tmp_path / "made" / key, rows, columns, 3, ord(key)) for key in "ab"}
    imported = import_cache(tmp_path / "made", tmp_path / "cache", store="patches", workers=0)
    assert imported.failures == {}
    cache = open_cache(tmp_path / "cache")
    side = max(rows, columns)
    assert (cache.clip_ids, cache.uris, cache.grid) == (["a", "b"], ["a.mp4", "b.mp4"], side)
    assert (cache.config["fit"], cache.config["imported"]["of"]) == ("letterbox", {"group_size": 16})
    for clip in cache:
        assert len(clip.positions) == 3 * rows * columns
        for (slot, row, column), patch in zip(clip.positions.tolist(), clip.patches, strict=True):
            place = int(clip.frame_ids[slot]), row - (side - rows) // 2, column - (side - columns) // 2
            np.testing.assert_array_equal(patch.transpose(1, 2, 0), known[clip.clip_id][place])
    export_cache(cache, tmp_path / "again", "ov2")  # the blocks are whole still


def test_the_folder_of_one_video_may_be_named_itself(tmp_path: Path) -> None:
    write_prepared(tmp_path / "made", 4, 8, 2)
    imported = import_cache(tmp_path / "made", tmp_path / "cache", store="patches", workers=0)
    assert (imported.clips, open_cache(tmp_path / "cache").clip_ids) == (1, ["made"])


def test_clips_that_keep_other_numbers_of_patches_are_rows_with_the_reason(tmp_path: Path) -> None:
    write_prepared(tmp_path / "made" / "a", 4, 8, 3)
    write_prepared(tmp_path / "made" / "b", 4, 8, 2)
    write_prepared(tmp_path / "made" / "c", 4, 6, 4)
    imported = import_cache(tmp_path / "made", tmp_path / "cache", workers=0)
    assert imported.clips == 1
    assert "b keeps 64 patches, the first clip 96" in imported.failures["b"]
    assert "6 slots of 6x6 patches" in imported.failures["c"]


def spoil(folder: Path, what: str, outside: Path) -> str:
    """Spoil a clip's folder, and return what is to be said of it."""
    meta = json.loads((folder / "meta.json").read_text())
    positions = np.load(folder / "src_patch_position.npy")
    match what:
        case "a canvas elsewhere":
            shutil.copy(folder / "canvas_000.png", outside)
            meta["canvas_files"][0] = f"../../../{outside.name}"
            says = "leads out of the folder; nothing outside is read"
        case "a program for a canvas":
            meta["canvas_files"][0] = "canvas_000.npy"
            says = "has no PNG or JPEG pictures"
        case "fewer canvases":
            del meta["canvas_files"][1:]
            says = "is [128, 3], not frame, row and column of each patch on 1 canvases of 8x8"
        case "a smaller canvas":
            Image.new("RGB", (14 * GRID, 14)).save(folder / "canvas_000.png")
            says = "not 8x8 patches of 14 px"
        case "no rows":
            meta["hb_wb"] = [0, GRID]
            says = "does not say how many slots, and how large patches are"
        case "a billion rows":
            meta["hb_wb"] = [10**9, GRID]
            says = "does not say how many slots, and how large patches are"
        case "a place outside":
            positions[0, 1] = GRID
            says = "has places outside of frames of 8x8 patches"
        case "a frame of no slot":
            positions[0, 0] = 10**6
            says = "has patches of frame 1000000, which is in no slot, or too often"
        case "a patch twice":
            positions[1] = positions[0]
            says = "which is in no slot, or too often"
        case "objects":
            np.save(folder / "src_patch_position.npy", np.array([print], object), allow_pickle=True)
            says = "holds object, not integers"
    if what != "objects":
        np.save(folder / "src_patch_position.npy", positions)
    (folder / "meta.json").write_text(json.dumps(meta))
    return says


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        "a canvas elsewhere", "a program for a canvas", "fewer canvases", "a smaller canvas", "no rows",
        "a billion rows", "a place outside", "a frame of no slot", "a patch twice", "objects",
    ],
)  # fmt: skip
def test_a_folder_that_is_spoilt_or_leads_elsewhere_fails_alone(tmp_path: Path, what: str) -> None:
    exported(tmp_path)
    says = spoil(tmp_path / "out" / "clips" / "clip-1", what, tmp_path / "outside.png")
    imported = import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    assert imported.clips == 2
    ((clip_id, reason),) = imported.failures.items()
    assert clip_id == "clip-1"
    assert says in reason


# --- indices of letterboxed videos


def test_indices_of_letterboxed_pictures_are_cut_out_of_letterboxed_pictures(
    tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    path = make_video(tmp_path / "a.mp4", frames=30, size=(320, 240))
    options: dict[str, Any] = {"num_frames": 4, "input_size": 112}
    sieved = cs.sieve(path, k_keep=60, fit="letterbox", **options)
    (tmp_path / "published").mkdir()
    np.save(tmp_path / "published" / "a.npy", sieved.indices)
    for fit in ("letterbox", "crop"):
        import_cache(tmp_path / "published", tmp_path / fit, path, store="patches", fit=fit, workers=0, **options)
        cache = open_cache(tmp_path / fit)
        assert cache.config.get("fit", "crop") == fit
        assert np.array_equal(cache[0].patches, sieved.patches) == (fit == "letterbox")
    with pytest.raises(ConfigError, match=r"fit \('pad'\) must be one of crop, letterbox"):
        import_cache(tmp_path / "published", tmp_path / "pad", path, fit="pad", workers=0)  # type: ignore[arg-type]
