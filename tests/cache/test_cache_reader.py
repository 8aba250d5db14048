"""Reading: both forms and plain zarr give what was written, and damage is never read as data."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from cache_cases import CONFIG, LAYOUT, fill, flip_a_byte, make_clip, make_record, names
from hypothesis import given, settings
from hypothesis import strategies as st

from codecsieve.cache import CacheWriter, ClipArrays, Layout, SparseCache, open_cache, sources
from codecsieve.cache.index import IndexRecord, parse_part, write_part
from codecsieve.cache.location import Location
from codecsieve.errors import CacheError, ConfigError

FORMS: list[Any] = ["shards", "zarr"]
ARRAYS = ("patches", "positions", "scores", "frame_ids")
layouts = st.builds(
    Layout,
    num_frames=st.integers(1, 6),
    k_keep=st.integers(1, 6),
    patch=st.integers(1, 4),
    store=st.sampled_from(["patches", "indices"]),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cache of 70 clips in two shards, two of which failed."""
    fill(tmp_path / "cache", names(70), failing={"clip-3", "clip-69"})
    return tmp_path / "cache"


def assert_same(clip: Any, expected: Any) -> None:
    np.testing.assert_array_equal(clip.pixels, expected.patches, strict=True)
    for name in ARRAYS[1:]:
        np.testing.assert_array_equal(getattr(clip, name), getattr(expected, name), strict=True)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(layout=layouts, count=st.integers(1, 70), failing=st.sets(st.integers(0, 69)))
def test_what_was_written_is_read_in_every_form(layout: Layout, count: int, failing: set[int]) -> None:
    ids = names(count)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), ids, failing={f"clip-{number}" for number in failing}, layout=layout)
        group: Any = zarr.open_group(folder, mode="r")
        for form in FORMS:
            cache = open_cache(folder, form=form)
            assert cache.layout == layout
            assert cache.clip_ids == [i for n, i in enumerate(ids) if n not in failing]
            for number, clip_id in enumerate(cache.clip_ids):
                assert_same(cache[number], make_clip(clip_id, layout))
                row = ids.index(clip_id)
                np.testing.assert_array_equal(group["positions"][row], cache[number].positions)


@pytest.mark.parametrize("form", FORMS)
def test_clips_are_found_by_number_and_by_id(path: Path, form: Any) -> None:
    cache = open_cache(path, form=form)
    assert len(cache) == 68
    assert cache[3].clip_id == "clip-4"
    assert cache["clip-4"].label == "4"
    assert_same(cache[-1], make_clip("clip-68"))
    with pytest.raises(IndexError, match=r"clip 68 of cache .* must be in 0..67"):
        cache[68]
    with pytest.raises(KeyError, match=r"has no clip clip-3: it failed .no video stream"):
        cache["clip-3"]
    with pytest.raises(KeyError, match="'holiday' is no clip's id, the beginning of one, or a clip's file"):
        cache["holiday"]


def test_a_clip_may_be_named_by_what_begins_its_id_or_by_its_file(path: Path) -> None:
    cache = open_cache(path)
    assert cache["clip-6"].clip_id == "clip-6"  # and not one of clip-60, ...
    assert cache.find("clip-67") == cache.find("clip-67.mp4") == cache.find("videos/clip-67.mp4") == "clip-67"
    with pytest.raises(KeyError, match="'clip-' begins the id of 68 clips: clip-0, clip-1, clip-2, clip-4, …;"):
        cache["clip-"]
    assert 0 in cache
    assert -1 in cache
    assert "clip-67.mp4" in cache
    assert np.int64(67) in cache
    for none in ("clip-3", "holiday", "", 68, None, 1.5, True, [0]):
        assert none not in cache


def test_a_path_may_be_typed_as_from_here(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache(path)
    uri = Path(cache["clip-67"].uri)
    assert cache.find(f"./{uri.parent.name}//{uri.name}") == "clip-67"
    monkeypatch.chdir(path)
    assert cache.find(os.path.relpath(uri, path)) == "clip-67"


def test_what_is_neither_number_nor_name_is_refused(path: Path) -> None:
    cache = open_cache(path)
    for key in (1.5, None, True, Path("clip-4.mp4"), [True, False], [2.0], np.array([0.5])):
        with pytest.raises(TypeError, match=r"is no clip of cache .*: give its number, id or file's name"):
            cache[key]  # type: ignore[call-overload]


def test_slices_and_lists_are_batches(path: Path) -> None:
    cache = open_cache(path)
    assert cache[0:3].clip_ids == ("clip-0", "clip-1", "clip-2")
    assert cache[[66, "clip-4"]].clip_ids == ("clip-67", "clip-4")
    assert cache[np.array([1, 2])].clip_ids == ("clip-1", "clip-2")
    assert cache.read("clip-4").clip_ids == ("clip-4",)
    assert len(cache[5:5]) == 0
    assert cache[np.arange(68) % 30 == 1].clip_ids == ("clip-1", "clip-32", "clip-62")
    assert cache[np.array(cache.labels) == "7"].clip_ids == tuple(i for i in cache.clip_ids if i.endswith("7"))
    with pytest.raises(IndexError, match=r"truth values \[2\] must be one for each of 68 clips"):
        cache[np.array([True, False])]
    assert [clip.clip_id for clip in cache] == cache.clip_ids


def test_a_form_that_there_is_not_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"form \('zar'\) must be one of auto, shards, zarr"):
        open_cache(path, form="zar")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_its_clips_stacked_in_the_order_asked_for(path: Path, form: Any) -> None:
    cache = open_cache(path, form=form)
    batch = cache.read([66, "clip-4", 0])
    assert len(batch) == 3
    assert batch.clip_ids == ("clip-67", "clip-4", "clip-0")
    assert batch.labels == ("7", "4", "0")
    for place, clip_id in enumerate(batch.clip_ids):
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(batch, name)[place], getattr(cache[clip_id], name))


def test_what_is_read_may_be_changed_without_changing_the_cache(path: Path) -> None:
    cache = open_cache(path)
    before = cache[0].patches
    assert before is not None
    before[:] = 0
    assert_same(cache[0], make_clip("clip-0"))


def test_the_index_lists_every_clip_failed_ones_too(path: Path) -> None:
    index = open_cache(path).index
    assert index["id"].to_pylist() == names(70)
    assert index["status"].to_pylist().count("failed") == 2
    assert index.column_names[:8] == ["id", "uri", "fingerprint", "row", "crc32c", "label", "status", "error"]


def test_plain_zarr_reads_it_and_rows_without_a_clip_are_zero(path: Path) -> None:
    group: Any = zarr.open_group(path, mode="r")
    patches = group["patches"]
    assert (patches.shape, patches.chunks, patches.shards) == (
        (70, 5, 3, 2, 2),
        (1, 5, 3, 2, 2),
        (64, 5, 3, 2, 2),
    )
    everything = {name: np.asarray(group[name][:]) for name in ARRAYS}
    for row, clip_id in enumerate(names(70)):
        for name in ARRAYS:
            expected = getattr(make_clip(clip_id), name) * (clip_id not in ("clip-3", "clip-69"))
            np.testing.assert_array_equal(everything[name][row], expected)


@pytest.mark.slow
def test_shards_that_zarr_wrote_are_read_directly(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "rewritten", ignore=shutil.ignore_patterns("c.*"))
    ours: Any = zarr.open_group(path, mode="r")
    theirs: Any = zarr.open_group(tmp_path / "rewritten", mode="r+")
    for name in ARRAYS:
        theirs[name][:] = ours[name][:]
    cache = open_cache(tmp_path / "rewritten", form="shards", verify=True)
    for clip_id in cache.clip_ids:
        assert_same(cache[clip_id], make_clip(clip_id))


@pytest.mark.slow
def test_a_compressed_copy_is_read_through_zarr(path: Path, tmp_path: Path) -> None:
    ours: Any = zarr.open_group(path, mode="r")
    copy = zarr.create_group(tmp_path / "copy", attributes=dict(ours.attrs))
    for name in ARRAYS:
        copy.create_array(name, data=ours[name][:], chunks=(1, *ours[name].shape[1:]))
    shutil.copytree(path / "index", tmp_path / "copy" / "index")
    shutil.copy(path / "plan.parquet", tmp_path / "copy")
    open_cache(tmp_path / "copy").verify()
    with pytest.raises(CacheError, match=r"copy is not made of local, uncompressed shards; read it with form='zarr'"):
        open_cache(tmp_path / "copy", form="shards")
    with pytest.raises(CacheError, match=r"patches.zarr.json is not as codecsieve wrote it"):
        fill(tmp_path / "copy", ["clip-0"])


def test_a_url_is_read_as_a_folder_is(path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="URLs need fsspec")
    fsspec.filesystem("memory").put(str(path), "/bucket/cache", recursive=True)
    cache = open_cache("memory://bucket/cache")
    cache.verify()
    assert cache.index.equals(open_cache(path).index)
    assert_same(cache["clip-68"], make_clip("clip-68"))


@pytest.mark.parametrize("form", FORMS)
def test_a_black_clip_is_a_clip(tmp_path: Path, form: Any) -> None:
    black = ClipArrays(**{array.name: np.zeros(array.shape, array.dtype) for array in LAYOUT.arrays()})
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        writer.plan(names(1))
        writer.write_shard(0, {"clip-0": black}, [make_record("clip-0")])
    assert_same(open_cache(tmp_path / "cache", form=form)[0], black)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ARRAYS)
def test_a_flipped_byte_names_the_clip(path: Path, form: Any, name: str) -> None:
    chunk = getattr(make_clip("clip-0"), name).nbytes
    shard = next((path / name).glob("c.0.*"))
    flip_a_byte(shard, 4 * chunk)  # the fifth chunk: clip-3 failed, so this is clip-5
    with pytest.raises(
        CacheError, match=r"clip clip-5 of cache .* does not match its checksum; run `codecsieve verify"
    ):
        open_cache(path, form=form).verify()
    for verify in ("once", True):
        with pytest.raises(CacheError, match="clip clip-5 "):
            open_cache(path, form=form, verify=verify)["clip-5"]
    careful = open_cache(path, form=form)
    for read in (lambda: careful["clip-5"], lambda: careful.read(["clip-5"])):
        with pytest.raises(CacheError, match="clip clip-5 "):
            read()
    assert_same(careful["clip-4"], make_clip("clip-4"))


@pytest.mark.parametrize("form", FORMS)
def test_a_lost_shard_is_an_error_not_zeros(path: Path, form: Any) -> None:
    next((path / "scores").glob("c.1.*")).unlink()
    cache = open_cache(path, form=form)
    assert_same(cache["clip-0"], make_clip("clip-0"))
    with pytest.raises(CacheError, match=r"; run `codecsieve verify .*cache --repair`, then precompute again"):
        cache["clip-68"]


@pytest.mark.parametrize("kept", [0, 3, 700, -1])
def test_a_shard_cut_short_is_an_error(path: Path, kept: int) -> None:
    shard = next((path / "patches").glob("c.0.*"))
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(CacheError, match=r"c.0.0.0.0.0 is damaged: its shard index is cut short or does not match"):
        open_cache(path, form="shards")[0]
    with pytest.raises(CacheError):
        open_cache(path, form="zarr")[0]


def test_a_shard_of_another_shape_is_an_error(path: Path, tmp_path: Path) -> None:
    fill(tmp_path / "wide", names(1), layout=Layout(4, 6, 2))
    shutil.copy(tmp_path / "wide" / "scores" / "c.0.0", path / "scores" / "c.0.0")
    with pytest.raises(CacheError, match=r"c.0.0 is damaged: its chunks are not all of 20 bytes"):
        open_cache(path)[0]


def test_a_chunk_that_the_index_lists_and_the_shard_lacks_is_an_error(path: Path, tmp_path: Path) -> None:
    fill(tmp_path / "young", names(2))
    shutil.copy(tmp_path / "young" / "scores" / "c.0.0", path / "scores" / "c.0.0")
    cache = open_cache(path, form="shards")
    assert cache["clip-1"].scores.size == 5
    with pytest.raises(CacheError, match="it has no chunk in slot 2 although the index lists a clip there"):
        cache["clip-2"]
    with pytest.raises(CacheError, match=r"clip-2 of cache .* does not match its checksum"):
        open_cache(path, form="zarr")["clip-2"]


@pytest.mark.slow
def test_no_flipped_bit_of_the_index_goes_unnoticed(path: Path) -> None:
    data = (path / "index" / "part-000001.parquet").read_bytes()
    intact = parse_part(data, "part", 1)
    noticed = 0
    for offset in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << offset % 8
        try:
            assert parse_part(bytes(damaged), "part", 1).equals(intact)
        except CacheError:
            noticed += 1
    assert noticed > len(data) // 6


def test_a_damaged_index_names_its_part(path: Path) -> None:
    part = path / "index" / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(CacheError, match=r"part-000001.parquet is damaged .*; remove it and run precompute again"):
        open_cache(path)


def test_only_published_clips_are_seen(path: Path) -> None:
    (path / "index" / "part-000000.parquet").rename(path / "index" / "part-000000.parquet.partial")
    assert open_cache(path).clip_ids == [f"clip-{number}" for number in range(64, 69)]


def test_what_is_no_cache_is_said_to_be_none(path: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"nowhere is not a cache: it has no zarr.json; check the path, or make"):
        open_cache(tmp_path / "nowhere")
    zarr.create_group(tmp_path / "other")
    with pytest.raises(CacheError, match="other is a Zarr group but not a cache of codecsieve"):
        open_cache(tmp_path / "other")
    (path / "zarr.json").write_text("{")
    with pytest.raises(CacheError, match=r"cache/zarr.json is damaged .Expecting property name"):
        open_cache(path)


def test_a_config_that_was_edited_is_refused(path: Path) -> None:
    metadata = path / "zarr.json"
    metadata.write_text(metadata.read_text().replace("weighted", "max"))
    with pytest.raises(CacheError, match=r"config in its zarr.json does not match its hash"):
        open_cache(path)


def test_a_format_to_come_is_refused(path: Path) -> None:
    metadata = path / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"format": 1', '"format": 3'))
    with pytest.raises(CacheError, match="has format 3, this codecsieve reads 1 and 2; install"):
        open_cache(path)


@pytest.mark.parametrize("form", FORMS)
def test_worker_processes_get_the_same_clips(path: Path, form: Any) -> None:
    cache = open_cache(path, form=form, verify=True)
    pickled = pickle.dumps(cache)
    fill(path, [*names(70), "clip-70"])
    copy: SparseCache = pickle.loads(pickled)
    assert copy.clip_ids == cache.clip_ids
    assert_same(copy["clip-68"], make_clip("clip-68"))


def test_running_out_of_open_files_is_not_called_damage(path: Path) -> None:
    cache = open_cache(path, form="shards")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(CacheError, match=r"^cannot read shard .*: Too many open files$"):
            cache[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.slow
def test_threads_may_share_it_and_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "OPEN_SHARDS", 2)
    fill(tmp_path / "cache", names(300))
    cache = open_cache(tmp_path / "cache", verify=True)
    files_before = psutil.Process().num_fds()
    order = np.random.default_rng(0).permutation(len(cache)).tolist() * 2
    with ThreadPoolExecutor(4) as pool:
        for number, clip in zip(order, pool.map(cache.__getitem__, order), strict=True):
            assert clip.clip_id == cache.clip_ids[number]
    assert psutil.Process().num_fds() - files_before <= 2 * len(ARRAYS)


@pytest.mark.parametrize("form", FORMS)
def test_a_reader_goes_on_while_the_cache_grows_and_sees_new_clips_when_opened_again(path: Path, form: Any) -> None:
    cache = open_cache(path, form=form, verify=True)
    assert_same(cache["clip-64"], make_clip("clip-64"))
    fill(path, names(130), retry_failed=True)
    assert_same(cache["clip-64"], make_clip("clip-64"))
    assert_same(cache["clip-68"], make_clip("clip-68"))
    assert len(cache) == 68
    assert open_cache(path).clip_ids == names(130)


def test_a_part_of_an_older_cache_is_read_with_nulls(tmp_path: Path) -> None:
    """Columns that were added since are missing there."""
    table = write_part_of_one(tmp_path)
    old = table.drop_columns(["filled", "order", "grid_rows", "grid_columns"])
    sink = pa.BufferOutputStream()
    pq.write_table(old, sink)
    read = parse_part(sink.getvalue().to_pybytes(), "part-000000.parquet", 0)
    assert read.schema.equals(table.schema)
    assert read["order"].to_pylist() == [None]
    assert read["id"].to_pylist() == ["a"]
    other = table.drop_columns(["signals"])
    sink = pa.BufferOutputStream()
    pq.write_table(other, sink)
    with pytest.raises(CacheError, match="its columns are not those it must have"):
        parse_part(sink.getvalue().to_pybytes(), "part-000000.parquet", 0)


def write_part_of_one(tmp_path: Path) -> pa.Table:
    (tmp_path / "index").mkdir()
    return write_part(
        Location(tmp_path), 0, [IndexRecord(id="a", uri="a.mp4", status="failed", error="a.mp4: is none")]
    )


def test_a_cache_without_pixels_says_so_where_they_are_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(3), layout=Layout(4, 5, 2, "indices"))
    cache = open_cache(tmp_path / "cache")
    rest = r"holds no pixels \(store 'indices'\); make one with precompute --store patches$"
    for ask in (cache.check_pixels, lambda: cache[0].patches, lambda: cache[0:2].patches):
        with pytest.raises(ConfigError, match=rest):
            ask()
    assert cache[0].pixels is None
    assert cache[0].show().height > 0
    assert cache[0:2]._repr_html_().count("data:image/png") == 2


def test_cache_clip_and_batch_tell_what_they_are_in_five_lines(tmp_path: Path) -> None:
    config = {"input_size": 8, "policy": "saliency", "signals": "auto"}
    fill(tmp_path / "cache", names(5), failing={"clip-2"}, config=config)
    rows = {"label": ["<script>run\x1b[2J</script>" + "x" * 300], "note": ["<img src=x>\u202e" + "y" * 300]}
    with CacheWriter.open(tmp_path / "cache", LAYOUT, config) as writer:
        writer.say(pa.table({"id": ["clip-0"], **rows}))
    cache = open_cache(tmp_path / "cache")
    for thing in (cache, cache[0], cache[1], cache[0:3], cache[0:0]):
        lines = repr(thing).splitlines()
        assert 1 <= len(lines) <= 5
        assert all(line.isprintable() and len(line) < 500 for line in lines)
    assert "4 clips, 1 failed, 4 labels" in repr(cache)
    assert "further columns: note" in repr(cache)
    for thing, pictures in ((cache, 3), (cache[0], 1), (cache[0:4], 4), (cache[0:0], 0)):
        html = thing._repr_html_()
        assert html.count('<img src="data:image/png;base64,') == html.count("<img") == pictures
        assert "<script" not in html
    assert cache[0]._repr_png_().startswith(b"\x89PNG")
    assert cache.grid == 4


def test_a_damaged_cache_still_tells_what_it_is(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2))
    cache = open_cache(tmp_path / "cache")
    flip_a_byte(next((tmp_path / "cache" / "patches").glob("c.*")), 3)
    html = cache._repr_html_()
    assert "does not match its checksum" in html
    assert "2 clips" in html


def test_a_clip_is_drawn_with_its_patches_in_place(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(1), config={"input_size": 8})
    clip = open_cache(tmp_path / "cache")[0]
    picture = np.asarray(clip.show(slots=4))
    slots = np.unique(clip.positions[:, 0])
    last = clip.positions[:, 0].astype(int) == slots[0]
    _, row, column = clip.positions[last][-1].astype(int)
    shown = picture[row * 28 : row * 28 + 28, column * 28 : column * 28 + 28]
    assert (shown[::14, ::14] == clip.patches[last][-1].transpose(1, 2, 0)).all()
