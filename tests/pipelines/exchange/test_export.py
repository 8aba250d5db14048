"""An export as a whole: chosen, refused, interrupted, gone on with."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cache_cases import CONFIG, fill, flip_a_byte, make_placed_clip, names

from codecsieve.cache import ClipArrays, Layout, SparseCache, open_cache
from codecsieve.cache.table import say_of_cache
from codecsieve.errors import CacheError, ConfigError
from codecsieve.files import lock
from codecsieve.pipelines.exchange import to_lance
from codecsieve.pipelines.exchange.config import CANVAS_FORMATS, FORMATS
from codecsieve.pipelines.exchange.export import Exported, export_cache
from codecsieve.pipelines.exchange.folder import UNFINISHED

SHARD = "27 KB"  # two clips
FILES = [to for to in FORMATS if to != "lance"]  # Lance names its files at random
LAYOUT = Layout(num_frames=4, k_keep=8, patch=14)
GRID = 4


def fill_placed(path: Path, **options: Any) -> None:
    """A cache that every format takes."""
    config = {**CONFIG, "input_size": GRID * LAYOUT.patch, **options}

    def make(clip_id: str, layout: Layout) -> ClipArrays:
        return make_placed_clip(clip_id, layout, GRID, blocks=True)

    fill(path, names(5), failing={"clip-3"}, layout=LAYOUT, config=config, make=make)


@pytest.fixture
def cache(tmp_path: Path) -> SparseCache:
    fill_placed(tmp_path / "cache")
    return open_cache(tmp_path / "cache")


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


class InterruptError(Exception):
    """Stands for whatever ends an export."""


def export_until(cache: SparseCache, out: Path, to: str, clips: int) -> None:
    """Export, and be interrupted when so many clips are done."""

    def interrupt(done: int, _: int) -> None:
        if done >= clips:
            raise InterruptError

    with pytest.raises(InterruptError):
        export_cache(cache, out, to, shard_size=SHARD, progress=interrupt)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("to", FILES)
@pytest.mark.parametrize("clips", [1, 3, 4])
def test_an_interrupted_export_goes_on_and_has_the_same_files(
    cache: SparseCache, tmp_path: Path, to: str, clips: int
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    export_cache(cache, whole, to, shard_size=SHARD)  # type: ignore[arg-type]
    export_until(cache, out, to, clips)
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == []
    exported = export_cache(cache, out, to, shard_size=SHARD)  # type: ignore[arg-type]
    assert (exported.clips, exported.failed, exported.shards) == (4, 1, 2)
    assert exported.made < 4 or clips == 1
    assert content(out) == content(whole)


def test_what_is_whole_is_not_written_again(cache: SparseCache, tmp_path: Path) -> None:
    out, told = tmp_path / "out", []
    assert export_cache(cache, out, "npz").made == 4
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = export_cache(tmp_path / "cache", out, "npz", progress=lambda done, total: told.append((done, total)))
    assert again == Exported(out, clips=4, made=0, shards=1, failed=1)
    assert told == [(0, 4), (4, 4)]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_an_export_of_a_cache_that_moved_goes_on(cache: SparseCache, tmp_path: Path) -> None:
    export_until(cache, tmp_path / "out", "webdataset", 3)
    (tmp_path / "cache").rename(tmp_path / "moved")
    assert export_cache(tmp_path / "moved", tmp_path / "out", "webdataset", shard_size=SHARD).made == 2


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_only_clips_that_meet_a_condition(cache: SparseCache, tmp_path: Path, to: str) -> None:
    exported = export_cache(cache, tmp_path / "out", to, where="label in ('0', '4')")  # type: ignore[arg-type]
    assert (exported.clips, exported.made) == (2, 2)
    assert json.loads((tmp_path / "out" / "export.json").read_text())["clips"] == 2


def test_a_shard_is_at_least_a_clip(cache: SparseCache, tmp_path: Path) -> None:
    assert export_cache(cache, tmp_path / "out", "webdataset", shard_size=1).shards == 4


def test_an_out_that_is_something_else_is_refused(cache: SparseCache, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "export.json").write_text('{"to": "somewhere"}')
    for name, says in (
        ("full", "is not empty and not an export; use another OUT"),
        ("file", "is a file, not an export; use another OUT"),
        ("foreign", r"export\.json is not one that codecsieve wrote; use another OUT or delete it"),
        ("cache", "is not empty and not an export"),
    ):
        before = content(tmp_path / name)
        with pytest.raises(CacheError, match=says):
            export_cache(cache, tmp_path / name, "npz")
        assert content(tmp_path / name) == before


@pytest.mark.parametrize("begun", [True, False])
def test_an_export_of_something_else_is_refused(cache: SparseCache, tmp_path: Path, begun: bool) -> None:
    out = tmp_path / "out"
    if begun:
        export_until(cache, out, "npz", 3)
    else:
        export_cache(cache, out, "npz", shard_size=SHARD)
    before = content(out)
    with pytest.raises(CacheError, match=r"out is an export to npz, you asked for hf; use another OUT or delete it$"):
        export_cache(cache, out, "hf", shard_size=SHARD)
    with pytest.raises(CacheError, match="has shards of 2 clips, you asked for 1;"):
        export_cache(cache, out, "npz", shard_size="14 KB")
    with pytest.raises(CacheError, match=r"is an export of other clips, .* \(4 clips there, 1 here\)"):
        export_cache(cache, out, "npz", shard_size=SHARD, where="label = '0'")
    fill_placed(tmp_path / "other", fuse="max")
    with pytest.raises(CacheError, match="of a cache that was made with fuse=weighted, you asked max;"):
        export_cache(tmp_path / "other", out, "npz", shard_size=SHARD)
    say_of_cache(tmp_path / "cache", pa.table({"id": ["clip-0"], "label": ["new"]}))
    with pytest.raises(CacheError, match="or said other things of them"):
        export_cache(tmp_path / "cache", out, "npz", shard_size=SHARD)
    assert {name: data for name, data in content(out).items() if name != ".lock"} == {
        name: data for name, data in before.items() if name != ".lock"
    }


def test_two_at_once_are_refused(cache: SparseCache, tmp_path: Path) -> None:
    export_until(cache, tmp_path / "out", "npz", 3)
    with lock(tmp_path / "out" / ".lock", tmp_path / "out"), pytest.raises(CacheError, match="is being written by"):
        export_cache(cache, tmp_path / "out", "npz", shard_size=SHARD)


def test_options_that_cannot_work_make_nothing(
    cache: SparseCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"to \('csv'\) must be one of webdataset, hf, npz, lance, llava, assets, "):
        export_cache(cache, out, "csv")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"shard_size \('many'\) must be a size"):
        export_cache(cache, out, "npz", shard_size="many")
    with pytest.raises(ConfigError, match="has no clips that meet the condition; nothing is exported"):
        export_cache(cache, out, "npz", where="fps > 1000")
    with pytest.raises(ConfigError, match=r"where \('fsp > 1'\): .*; columns: id, "):
        export_cache(cache, out, "npz", where="fsp > 1")
    with pytest.raises(CacheError):
        export_cache(tmp_path / "nowhere", out, "npz")
    monkeypatch.setattr(to_lance.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"needs pylance, which is not installed; pip install 'codecsieve\[export\]'"):
        export_cache(cache, out, "lance")
    assert not out.exists()


def test_a_cache_without_clips_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2), failing=names(2))
    with pytest.raises(ConfigError, match="has no clips; nothing is exported"):
        export_cache(tmp_path / "cache", tmp_path / "out", "npz")


def test_columns_that_would_have_one_name_are_refused(cache: SparseCache, tmp_path: Path) -> None:
    said = {"id": ["clip-0"], "label": ["a"], "scores": [1], "given_scores": [2], "a.b": [3], "a_b": [4]}
    say_of_cache(tmp_path / "cache", pa.table(said))
    with pytest.raises(ConfigError, match="two columns that an export would both call given_scores; rename one"):
        export_cache(tmp_path / "cache", tmp_path / "out", "npz")
    fill(tmp_path / "dots", names(1))
    say_of_cache(tmp_path / "dots", pa.table({"id": ["clip-0"], "label": ["a"], "a.b": [3], "a_b": [4]}))
    with pytest.raises(ConfigError, match="two columns would be called 'a_b' in Lance"):
        export_cache(tmp_path / "dots", tmp_path / "out", "lance")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", FORMATS)
def test_a_damaged_clip_ends_the_export_in_one_line_and_is_never_in_it(
    cache: SparseCache, tmp_path: Path, to: str
) -> None:
    flip_a_byte(next((tmp_path / "cache" / "patches").glob("c.0*")), 4800)
    with pytest.raises(
        CacheError, match=r"^clip clip-1 of cache .* does not match its checksum; run `codecsieve verify"
    ):
        export_cache(tmp_path / "cache", tmp_path / "out", to, shard_size=SHARD)  # type: ignore[arg-type]
    assert not (tmp_path / "out" / "export.json").exists()
    assert not list((tmp_path / "out" / UNFINISHED).rglob("*.partial"))


def test_a_cache_of_indices_has_no_patches(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2), layout=Layout(4, 5, 2, store="indices"))
    for to in FORMATS:
        if to in CANVAS_FORMATS:
            with pytest.raises(ConfigError, match="holds no pixels"):
                export_cache(tmp_path / "cache", tmp_path / to, to)  # type: ignore[arg-type]
            continue
        export_cache(tmp_path / "cache", tmp_path / to, to)  # type: ignore[arg-type]
        arrays = json.loads((tmp_path / to / "export.json").read_text())["arrays"]
        assert list(arrays) == ["positions", "scores", "frame_ids"]


def test_a_full_disk_is_one_line_that_names_the_file(
    cache: SparseCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CacheError, match=r"^cannot write .*: No space left on device; make room or choose another"):
            export_cache(cache, tmp_path / "out", "webdataset")
    assert export_cache(cache, tmp_path / "out", "webdataset").made == 4
