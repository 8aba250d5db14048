"""Caches of every earlier form are read, checked, compacted, and gone on with as far as their options are told.

`earlier/NAME.zip` are caches of the same two videos and of an empty file, with `--num-frames 4 --input-size 28 --k-keep
4`, each made by the codecsieve of its time and never again:

    columns-19    format 1, the index without `decoder`, `filled` and `order`; options without `method` and `policy`
    columns-20    the index has `decoder`
    release-0.1.0 options name a policy
    columns-22    the index has `filled` and `order`
    table         a manifest's further column, and a label that was changed, in `table.parquet`
    packed        the same compacted: format 2
    fields        options say `bitstream_reader: decoder`, which read true references
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import codecsieve as cs
from codecsieve.cache import CacheError, compact_cache, verify_cache

FOLDER = Path(__file__).parent / "earlier"
ROOT = Path(__file__).resolve().parents[2]
FORMS = ("columns-19", "columns-20", "release-0.1.0", "columns-22", "table", "packed", "fields")
LABELLED = ("table", "packed")
GONE_ON_WITH = ("release-0.1.0", "columns-22", "table", "packed", "fields")
SQUARE, PAN = "20ecf09a3e54eb2e", "675a59a4c9b47e37"


@pytest.fixture
def cache(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The cache of a form, as it was made."""
    folder = tmp_path / request.param
    zipfile.ZipFile(FOLDER / f"{request.param}.zip").extractall(folder)
    (folder / ".lock").touch()
    return folder


@pytest.fixture(scope="module")
def by_numpy() -> ModuleType:
    """The example that reads a cache by the letter of docs/format.md."""
    found = importlib.util.spec_from_file_location("read_with_numpy", ROOT / "examples" / "read_with_numpy.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


every_form = pytest.mark.parametrize("cache", FORMS, indirect=True)


def test_every_form_that_is_kept_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.zip")} == {*FORMS, "videos"}


@every_form
def test_it_is_read_and_whole(cache: Path) -> None:
    found = cs.open_cache(cache, verify=True)
    assert found.clip_ids == [SQUARE, PAN]
    assert found.labels == ["a square" if cache.name in LABELLED else "square", "pan"]
    assert found[SQUARE].metadata == ({"scene": "indoors"} if cache.name in (*LABELLED, "fields") else {})
    assert found.index["status"].to_pylist() == ["ok", "ok", "failed"]
    batch = found.read([SQUARE, PAN])
    assert (batch.patches.shape, batch.positions.shape) == ((2, 4, 3, 14, 14), (2, 4, 3))
    assert verify_cache(cache).damages == ()


@every_form
def test_what_its_index_did_not_have_is_null(cache: Path) -> None:
    index = cs.open_cache(cache).index
    known = {"columns-19": (), "columns-20": ("decoder",), "release-0.1.0": ("decoder",)}.get(
        cache.name, ("decoder", "filled", "order")
    )
    for name in ("decoder", "filled", "order"):
        assert index[name].is_valid().to_pylist()[:2] == [name in known] * 2


@every_form
def test_a_reader_in_numpy_reads_the_same(cache: Path, by_numpy: ModuleType) -> None:
    found, rows = cs.open_cache(cache), by_numpy.read_index(cache)
    assert [(row["id"], row["label"], row["uri"]) for row in rows] == [
        *zip(found.clip_ids, found.labels, found.uris, strict=True)
    ]
    for clip, row in zip(found, rows, strict=True):
        arrays = by_numpy.read_clip(cache, row["row"])
        assert list(arrays) == ["patches", "positions", "scores", "frame_ids"]
        for name, value in arrays.items():
            np.testing.assert_array_equal(value, getattr(clip, name))
        assert by_numpy.crc32c(*arrays.values()) == row["crc32c"]


@every_form
def test_it_is_compacted_to_format_2(cache: Path, by_numpy: ModuleType) -> None:
    before = cs.open_cache(cache)
    compact_cache(cache)
    after = cs.open_cache(cache, verify=True)
    assert after.index.equals(before.index)
    assert [row["id"] for row in by_numpy.read_index(cache)] == [SQUARE, PAN]
    assert not list(cache.glob("index/part-*"))


@pytest.mark.slow
@pytest.mark.parametrize("cache", GONE_ON_WITH, indirect=True)
def test_it_is_gone_on_with_where_its_videos_are_now(cache: Path, tmp_path: Path, make_video) -> None:
    zipfile.ZipFile(FOLDER / "videos.zip").extractall(tmp_path / "videos")
    make_video(tmp_path / "videos" / "new.mp4", frames=8, size=(56, 56), seed=7)
    before = cs.open_cache(cache)[:2]
    summary = cs.precompute(tmp_path / "videos", cache, num_frames=4, input_size=28, k_keep=4, workers=0, device="cpu")
    assert (summary.made, summary.skipped, summary.moved) == (1, 2, 2)
    after = cs.open_cache(cache, verify=True)
    assert len(after) == 3
    np.testing.assert_array_equal(after.read([SQUARE, PAN]).patches, before.patches)


@pytest.mark.parametrize("cache", ["columns-19", "columns-20"], indirect=True)
def test_one_whose_options_do_not_say_all_is_read_but_not_gone_on_with(cache: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(FOLDER / "videos.zip").extractall(tmp_path / "videos")
    with pytest.raises(CacheError, match=r"was made with .*policy=\(nothing\), you asked saliency"):
        cs.precompute(tmp_path / "videos", cache, num_frames=4, input_size=28, k_keep=4, workers=0, device="cpu")


@pytest.mark.parametrize("cache", ["fields"], indirect=True)
def test_a_later_format_is_refused_by_its_number(cache: Path) -> None:
    group = cache / "zarr.json"
    group.write_text(group.read_text().replace('"format": 1', '"format": 3'))
    with pytest.raises(CacheError, match=r"has format 3, this codecsieve reads 1 and 2; install the codecsieve that"):
        cs.open_cache(cache)
