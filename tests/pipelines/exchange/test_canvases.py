"""Exports to pictures: each array as its format defines it, each patch's pixels as the cache has them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cache_cases import CONFIG, fill, make_placed_clip, names
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codecsieve.cache import ClipArrays, Layout, SparseCache, open_cache
from codecsieve.cache.table import say_of_cache
from codecsieve.errors import ConfigError
from codecsieve.pipelines.exchange.blocks import block_order, in_blocks, raster_order
from codecsieve.pipelines.exchange.canvases import Sheet, pack, unpack
from codecsieve.pipelines.exchange.export import export_cache
from codecsieve.pipelines.exchange.names import stem_of

GRID = 6
ROWS = 8 * 36 * 36


def make_cache(path: Path, patch: int = 14, k_keep: int = 40, blocks: bool = False, **config: Any) -> SparseCache:
    """Two clips of 8 slots of 6x6 patches."""

    def make(clip_id: str, layout: Layout) -> ClipArrays:
        return make_placed_clip(clip_id, layout, GRID, blocks)

    layout = Layout(num_frames=8, k_keep=k_keep, patch=patch)
    fill(path, names(2), layout=layout, config={**CONFIG, "input_size": GRID * patch, **config}, make=make)
    return open_cache(path)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def cell(canvas: np.ndarray, place: int, columns: int, patch: int) -> np.ndarray:
    """The patch uint8 [3, P, P] at a place of a canvas, counted row by row."""
    top, left = place // columns * patch, place % columns * patch
    return canvas[top : top + patch, left : left + patch].transpose(2, 0, 1)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_what_is_packed_is_unpacked_as_it_was(count: int, rows: int, columns: int, patch: int, random: Any) -> None:
    shape = (count * rows * columns, 3, patch, patch)
    patches = np.random.default_rng(random.randrange(2**32)).integers(0, 256, shape, dtype=np.uint8)
    canvases = pack(patches, Sheet(rows, columns, patch))
    assert canvases.shape == (count, rows * patch, columns * patch, 3)
    for number, one in enumerate(patches):
        canvas, place = divmod(number, rows * columns)
        np.testing.assert_array_equal(cell(canvases[canvas], place, columns, patch), one)
    np.testing.assert_array_equal(unpack(canvases, patch), patches)


@pytest.mark.slow
@pytest.mark.parametrize("patch", [14, 16])
def test_llava_has_eight_exact_pictures_of_36x36_patches_and_their_places(tmp_path: Path, patch: int) -> None:
    cache = make_cache(tmp_path / "cache", patch)
    export_cache(cache, tmp_path / "out", "llava")
    for line, clip in zip(lines(tmp_path / "out" / "clips.jsonl"), cache, strict=True):
        stem, digest = Path(clip.uri).stem, hashlib.sha1(clip.uri.encode()).hexdigest()[:8]
        folder = f"sample_{clip.clip_id}__{stem}__{digest}"
        assert list(line) == ["id", "conversations", "image", "positions_thw"]
        assert line["id"] == clip.clip_id
        assert line["image"] == [f"{folder}/{stem}_{number:03d}.png" for number in range(8)]
        positions = np.load(tmp_path / "out" / line["positions_thw"])
        assert (positions.dtype, positions.shape) == (np.int32, (ROWS, 3))
        np.testing.assert_array_equal(positions[: len(clip.positions)], clip.positions)
        canvases = [picture(tmp_path / "out" / name) for name in line["image"]]
        assert {canvas.shape for canvas in canvases} == {(36 * patch, 36 * patch, 3)}
        for number, pixels in enumerate(clip.patches):
            np.testing.assert_array_equal(cell(canvases[0], number, 36, patch), pixels)


def test_rows_are_sorted_and_what_is_left_of_the_pictures_repeats_the_last_patch(tmp_path: Path) -> None:
    def backwards(clip_id: str, layout: Layout) -> ClipArrays:
        clip = make_placed_clip(clip_id, layout, GRID)
        return ClipArrays(clip.patches, clip.positions[::-1].copy(), clip.scores, clip.frame_ids)

    layout = Layout(num_frames=8, k_keep=40, patch=14)
    fill(tmp_path / "cache", names(1), layout=layout, config={"input_size": GRID * 14}, make=backwards)
    export_cache(tmp_path / "cache", tmp_path / "out", "assets")
    folder, clip = tmp_path / "out" / "assets" / "clip-0", open_cache(tmp_path / "cache")[0]
    positions, last = np.load(folder / "positions_thw.npy"), picture(folder / "mosaic_007.png")
    np.testing.assert_array_equal(positions[:40], clip.positions[::-1])
    assert (positions[40:] == positions[39]).all()
    assert all((cell(last, place, 36, 14) == clip.patches[0]).all() for place in (0, 700, 1295))
    meta = json.loads((folder / "meta.json").read_text())
    assert (meta["codecsieve"]["kept"], meta["codecsieve"]["repeated"]) == (40, ROWS - 40)


def test_assets_have_the_files_that_are_looked_for(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    export_cache(cache, tmp_path / "out", "assets")
    for clip in cache:
        folder = tmp_path / "out" / "assets" / clip.clip_id
        arrays = ["frame_ids.npy", "meta.json", "positions_thw.npy", "visible_indices.npy"]
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            [*arrays, *(f"mosaic_{number:03d}.png" for number in range(8))]
        )
        positions, indices = np.load(folder / "positions_thw.npy"), np.load(folder / "visible_indices.npy")
        assert (indices.dtype, indices.shape) == (np.int64, (ROWS,))
        np.testing.assert_array_equal(indices, np.ravel_multi_index(tuple(positions.T), (8, GRID, GRID)))
        frames = np.load(folder / "frame_ids.npy")
        assert frames.dtype == np.int32
        np.testing.assert_array_equal(frames, clip.frame_ids)
        meta = json.loads((folder / "meta.json").read_text())
        assert (meta["video"], meta["key"]) == (clip.uri, clip.clip_id)
        assert meta["cfg"] == {"seq_len_frames": 8, "num_images": 8, "square_size": 504, "patch_size": 14}
        assert meta["codecsieve"]["config"] == cache.config


@pytest.mark.parametrize("whole", [True, False])
def test_whether_the_first_frame_is_whole_is_said(tmp_path: Path, whole: bool) -> None:
    def make(clip_id: str, layout: Layout) -> ClipArrays:
        clip = make_placed_clip(clip_id, layout, GRID)
        first = np.argwhere(np.ones((1, GRID, GRID)))
        clip.positions[:36] = first
        clip.positions[36:] = [[7, 0, 0], [7, 0, 1], [7, 0, 2], [7, 0, 3]]
        clip.positions[5, 0] += not whole
        return clip

    layout = Layout(num_frames=8, k_keep=40, patch=14)
    fill(tmp_path / "cache", names(1), layout=layout, config={"input_size": GRID * 14}, make=make)
    export_cache(tmp_path / "cache", tmp_path / "out", "assets")
    meta = json.loads((tmp_path / "out" / "assets" / "clip-0" / "meta.json").read_text())
    assert meta["codecsieve"]["first_frame_whole"] is whole


def test_assets_are_called_by_the_column_key(tmp_path: Path) -> None:
    make_cache(tmp_path / "cache")
    say_of_cache(tmp_path / "cache", pa.table({"id": names(2), "label": ["a", "b"], "key": ["videomme_7_0", "x/../y"]}))
    export_cache(tmp_path / "cache", tmp_path / "out", "assets")
    assert {path.name for path in (tmp_path / "out" / "assets").iterdir()} == {"videomme_7_0", "x%2F%2E%2E%2Fy"}
    say_of_cache(tmp_path / "cache", pa.table({"id": names(2), "label": ["a", "b"], "key": ["same", "same"]}))
    with pytest.raises(ConfigError, match="two clips have the key 'same'; give each its own"):
        export_cache(tmp_path / "cache", tmp_path / "other", "assets")
    assert not (tmp_path / "other").exists()


def test_patches_of_16_px_can_be_jpeg_of_quality_95(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", patch=16)
    export_cache(cache, tmp_path / "out", "assets", canvas="jpeg")
    path = tmp_path / "out" / "assets" / "clip-0" / "mosaic_000.jpg"
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (576, 576))
        expected = io.BytesIO()
        Image.new("RGB", (16, 16)).save(expected, "JPEG", quality=95)
        with Image.open(expected) as of_95:
            assert image.quantization == of_95.quantization  # type: ignore[attr-defined]
    # Noise, and colour at half resolution: far from exact, but each patch in its own place.
    error = np.abs(cell(picture(path), 7, 36, 16).astype(int) - cache["clip-0"].patches[7])
    others = np.abs(cell(picture(path), 7, 36, 16).astype(int) - cache["clip-0"].patches[8])
    assert error.mean() < 0.7 * others.mean()


def test_a_patch_of_jpeg_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    """Which is why 16 px is asked for. Decoders may smooth colour across blocks, brightness never."""

    def luma(neighbour: int) -> np.ndarray:
        patches = np.full((2, 3, 16, 16), neighbour, np.uint8)
        patches[0] = np.arange(256, dtype=np.uint8).reshape(16, 16)
        data = io.BytesIO()
        Image.fromarray(pack(patches, Sheet(1, 2, 16))[0]).save(data, "JPEG", quality=95)
        with Image.open(data) as image:
            image.draft("YCbCr", image.size)
            return np.asarray(image)[:, :16, 0]

    np.testing.assert_array_equal(luma(0), luma(255))


def test_what_is_asked_and_answered_is_what_the_columns_say(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache")
    export_cache(cache, tmp_path / "plain", "llava", question="What is it?")
    images = "<image>\n" * 8
    for line, clip in zip(lines(tmp_path / "plain" / "clips.jsonl"), cache, strict=True):
        asked, answered = {"from": "human", "value": f"{images}What is it?"}, {"from": "gpt", "value": clip.label}
        assert line["conversations"] == [asked, answered]
    turns = [
        {"from": "human", "value": "Look: <video>\nWho wins?"},
        {"from": "gpt", "value": "Nobody."},
        {"from": "human", "value": "And <video>?"},
    ]
    said = {"conversations": [json.dumps(turns), None], "question": [None, "Why?"], "answer": [None, "So."]}
    say_of_cache(tmp_path / "cache", pa.table({"id": names(2), "label": ["a", "b"], **said}))
    export_cache(tmp_path / "cache", tmp_path / "said", "llava", path_prefix="/data/tuning")
    first, second = lines(tmp_path / "said" / "clips.jsonl")
    assert first["conversations"] == [{"from": "human", "value": f"Look: {images}Who wins?"}, *turns[1:]]
    assert [turn["value"] for turn in second["conversations"]] == [f"{images}Why?", "So."]
    assert first["image"][7].startswith("/data/tuning/sample_clip-0__")
    assert first["positions_thw"].startswith("/data/tuning/sample_clip-0__")


@pytest.mark.parametrize(
    "text", ["Who wins?", "[]", '[{"from": "gpt", "value": "I."}]', '[{"from": "human"}]', "[" * 9999]
)
def test_a_column_that_holds_no_conversation_is_refused_before_anything_is_made(tmp_path: Path, text: str) -> None:
    make_cache(tmp_path / "cache")
    said = pa.table({"id": names(2), "label": ["a", "b"], "conversations": [None, text]})
    say_of_cache(tmp_path / "cache", said)
    with pytest.raises(ConfigError, match="clip clip-1: its column conversations must be JSON of turns"):
        export_cache(tmp_path / "cache", tmp_path / "out", "llava")
    assert not (tmp_path / "out").exists()


def test_names_of_videos_that_no_file_can_have_are_encoded() -> None:
    assert stem_of("/videos/a b é.mp4") == "a b é"
    assert stem_of("s3://bucket/clip.mp4") == "clip"
    assert stem_of('/videos/a:"b.mp4') == "a%3A%22b"
    assert len(stem_of("/videos/" + "x" * 300 + ".mp4")) == 160


@pytest.mark.parametrize(("k_keep", "rows", "count", "padding"), [(72, 6, 2, 0), (40, 4, 2, 8), (20, 4, 1, 4)])
def test_ov2_has_whole_blocks_on_canvases_no_larger_than_a_frame(
    tmp_path: Path, k_keep: int, rows: int, count: int, padding: int
) -> None:
    cache = make_cache(tmp_path / "cache", k_keep=k_keep, blocks=True)
    export_cache(cache, tmp_path / "out", "ov2")
    for line, clip in zip(lines(tmp_path / "out" / "clips.jsonl"), cache, strict=True):
        folder = tmp_path / "out" / "clips" / clip.clip_id
        arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        np.testing.assert_array_equal(arrays["image_grid_thw"], [[1, rows, GRID]] * count)
        assert arrays["image_grid_thw"].dtype == arrays["gop_ids"].dtype == np.int64
        np.testing.assert_array_equal(arrays["gop_ids"], [0] * count)
        places = arrays["patch_positions"]
        assert (places.dtype, places.shape) == (np.int32, (count * rows * GRID, 3))
        kept = places[: len(places) - padding]
        assert (places[len(kept) :] == -1).all()
        # Four after the other are a block: upper two, lower two, of one frame.
        within = kept.reshape(-1, 4, 3) - kept[::4, None]
        assert (within == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]).all()
        assert (kept[::4, 1:] % 2 == 0).all()
        canvases = np.stack([picture(folder / f"canvas_{number:03d}.png") for number in range(count)])
        assert canvases.shape == (count, rows * 14, GRID * 14, 3)
        # Row by row: what is at a place of the canvas is at its place of the video.
        raster, pixels = arrays["src_patch_position"], unpack(canvases, 14)
        known = {
            (clip.frame_ids[slot], row, column): patch
            for (slot, row, column), patch in zip(clip.positions.tolist(), clip.patches, strict=True)
        }
        assert sorted(map(tuple, raster.tolist())) == sorted(map(tuple, places.tolist()))
        assert len(known) == len(kept)
        for place, patch in zip(raster.tolist(), pixels, strict=True):
            np.testing.assert_array_equal(patch, known.get(tuple(place), np.zeros_like(patch)))
        np.testing.assert_array_equal(raster[block_order(rows, GRID, count)], places)
        np.testing.assert_array_equal(arrays["source_pts"], (places[:: rows * GRID, 0] / 29.97).astype(np.float32))
        meta = json.loads((folder / "meta.json").read_text())
        assert (meta["codecsieve"]["padding"], meta["hb_wb"], meta["fps"]) == (padding, [rows, GRID], 29.97)
        assert line["messages"][0]["content"].count("<image>\n") == len(line["images"]) == count
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
        assert line["patch_positions"] == [f"clips/{clip.clip_id}/src_patch_position.npy"]


def test_ov2_has_canvases_of_its_own_for_each_group_of_slots(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", k_keep=4 * 40, blocks=True, groups=4)
    export_cache(cache, tmp_path / "out", "ov2")
    for line, clip in zip(lines(tmp_path / "out" / "clips.jsonl"), cache, strict=True):
        folder = tmp_path / "out" / "clips" / clip.clip_id
        arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        np.testing.assert_array_equal(arrays["gop_ids"], [0, 0, 1, 1, 2, 2, 3, 3])
        np.testing.assert_array_equal(arrays["image_grid_thw"], [[1, 4, GRID]] * 8)
        order = in_blocks(clip.positions, GRID)
        assert order is not None
        kept = clip.positions[order].astype(int)
        kept[:, 0] = clip.frame_ids[kept[:, 0]]
        for group, places in enumerate(arrays["patch_positions"].reshape(4, 48, 3)):
            np.testing.assert_array_equal(places[:40], kept[40 * group : 40 * group + 40])
            assert (places[40:] == -1).all()
            pixels = unpack(np.stack([picture(folder / f"canvas_{2 * group + n:03d}.png") for n in (0, 1)]), 14)
            pixels = pixels[block_order(4, GRID, 2)]
            np.testing.assert_array_equal(pixels[:40], clip.patches[order][40 * group : 40 * group + 40])
            assert not pixels[40:].any()
        meta = json.loads((folder / "meta.json").read_text())
        assert (meta["num_groups"], meta["total_images"], meta["codecsieve"]["padding"]) == (4, 8, 32)
        assert len(line["images"]) == 8
    wrong = make_cache(tmp_path / "wrong", k_keep=40, blocks=True, groups=7)
    with pytest.raises(ConfigError, match=r"says that it has 7 groups, of 40 patches; make it again$"):
        export_cache(wrong, tmp_path / "none", "ov2")


def test_ov2_of_patches_that_are_not_whole_blocks_is_refused_in_one_line(tmp_path: Path) -> None:
    make_cache(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"^clip clip-0 of cache .* is not kept in whole 2x2 blocks, .* --merge 2$"):
        export_cache(tmp_path / "cache", tmp_path / "out", "ov2")
    assert not (tmp_path / "out").exists()


def test_blocks_are_told_from_what_is_none() -> None:
    block = np.array([[3, 2, 4], [3, 2, 5], [3, 3, 4], [3, 3, 5]])
    np.testing.assert_array_equal(in_blocks(block, 6), [0, 1, 2, 3])  # type: ignore[arg-type]
    np.testing.assert_array_equal(in_blocks(block[::-1], 6), [3, 2, 1, 0])  # type: ignore[arg-type]
    assert in_blocks(block[:3], 6) is None
    assert in_blocks(block - [0, 1, 0], 6) is None  # as large, but between two blocks
    assert in_blocks(block[[0, 1, 2, 2]], 6) is None
    assert in_blocks(np.concatenate([block, block]), 6) is None
    later = np.concatenate([block + np.array([1, 0, 0]), block])
    np.testing.assert_array_equal(in_blocks(later, 6), [4, 5, 6, 7, 0, 1, 2, 3])  # type: ignore[arg-type]


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_raster_order_undoes_block_order(rows: int, columns: int, count: int) -> None:
    order = block_order(2 * rows, 2 * columns, count)
    np.testing.assert_array_equal(order[raster_order(2 * rows, 2 * columns, count)], np.arange(len(order)))
    assert order[:4].tolist() == [0, 1, 2 * columns, 2 * columns + 1]


def test_what_cannot_lie_on_canvases_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_cache(tmp_path / "odd", patch=12)
    make_cache(tmp_path / "cache")
    fill(tmp_path / "large", names(1), layout=Layout(8, ROWS + 1, 14), config={"input_size": 14 * 37})
    fill(tmp_path / "unsaid", names(1), layout=Layout(8, 4, 14))
    make_cache(tmp_path / "placed", blocks=True, target_frames=64)
    for name, to, options, says in (
        ("odd", "llava", {}, "--to llava is for patches of 14 or 16 px, this cache has 12"),
        ("large", "assets", {}, f"has room for {ROWS} patches a clip, this cache keeps {ROWS + 1}"),
        ("unsaid", "assets", {}, "does not say its input_size"),
        ("cache", "assets", {"canvas": "jpeg"}, r"canvas \(jpeg\) is for patches of 16 px, this cache has 14"),
        ("cache", "npz", {"canvas": "jpeg"}, r"canvas \('jpeg'\) is for llava, assets, ov2, not npz"),
        ("cache", "hf", {"question": "Why?"}, r"question \('Why\?'\) is for llava, assets, ov2, not hf"),
        ("cache", "llava", {"canvas": "webp"}, r"canvas \('webp'\) must be one of png, jpeg"),
        ("placed", "ov2", {}, "which a cache made with target_frames does not tell"),
    ):
        with pytest.raises(ConfigError, match=says):
            export_cache(tmp_path / name, out, to, **options)  # type: ignore[arg-type]
        assert not out.exists()


def test_an_export_of_other_pictures_is_not_gone_on_with(tmp_path: Path) -> None:
    make_cache(tmp_path / "cache", patch=16)
    export_cache(tmp_path / "cache", tmp_path / "out", "llava", canvas="jpeg")
    with pytest.raises(Exception, match=r"out was made with canvas=jpeg, you asked png; use another OUT or delete it"):
        export_cache(tmp_path / "cache", tmp_path / "out", "llava")
