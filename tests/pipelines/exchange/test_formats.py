"""Each format, read back by its own library: what is known of every clip, and its bytes, as in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from cache_cases import LAYOUT, fill

from codecsieve.cache import Layout, SparseCache, open_cache
from codecsieve.cache.table import say_of_cache
from codecsieve.pipelines.exchange.export import export_cache
from codecsieve.pipelines.exchange.selection import NOT_EXPORTED

IDS = [
    "plain-1",
    "3f2a@1.5-3.0-2",
    "a.b/c~d é-3",
    "_ 100%-4",
    "failed-5",
    "Case-6",
    "case-6",
    "no.label-7",
    "x" * 500 + "-8",
]
SHARD = "17 KB"  # two clips
Clips = list[tuple[dict[str, Any], dict[str, np.ndarray]]]


def make_cache(path: Path, layout: Layout = LAYOUT) -> SparseCache:
    fill(path, IDS, failing={"failed-5"}, layout=layout)
    said = {
        "id": IDS,
        "label": ["lauf", "a.b", "x", None, "y", "z", "日本", None, ""],
        "shots": [1, 2, 3, None, 5, 6, 7, 8, 9],
    }
    floats = [0.1, float("inf"), None, float("nan"), 1e300, -0.0, 7.0, 8.0, 9.0]
    further = {"take.no": floats, "good 😀": [True, None, False] * 3, "file": [f"f{i}" for i in range(9)]}
    say_of_cache(path, pa.table({**said, **further}))
    return open_cache(path)


@pytest.fixture(scope="module", params=["patches", "indices"])
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SparseCache:
    layout = Layout(LAYOUT.num_frames, LAYOUT.k_keep, LAYOUT.patch, store=request.param)
    return make_cache(tmp_path_factory.mktemp("cache") / "cache", layout)


def shapes_of(cache: SparseCache) -> dict[str, tuple[int, ...]]:
    return {array.name: array.shape for array in cache.layout.arrays()}


def known(cache: SparseCache) -> list[dict[str, Any]]:
    """What an export is to say of each clip."""
    rows = [row for row in cache.table.to_pylist() if row["status"] == "ok"]
    kept = [{name: value for name, value in row.items() if name not in NOT_EXPORTED} for row in rows]
    return [{("given_file" if name == "file" else name): value for name, value in row.items()} for row in kept]


def in_json(row: dict[str, Any]) -> dict[str, Any]:
    """What JSON keeps of a row: numbers that are none are null."""
    return {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in row.items()}


def assert_equal(read: Clips, cache: SparseCache, rows: list[dict[str, Any]]) -> None:
    assert [repr(row) for row, _ in read] == [repr(row) for row in rows]  # nan too
    for row, arrays in read:
        clip = cache[row["id"]]
        for array in cache.layout.arrays():
            value = arrays.pop(array.name)
            assert (value.dtype, value.shape) == (array.dtype, array.shape)
            assert value.tobytes() == getattr(clip, array.name).tobytes()
        assert not arrays


def test_webdataset_reads_it(cache: SparseCache, tmp_path: Path) -> None:
    import webdataset as wds

    export_cache(cache, tmp_path / "out", "webdataset", shard_size=SHARD)
    shards = sorted(map(str, tmp_path.glob("out/clips-*.tar")))
    assert len(shards) == 4
    samples = list(wds.WebDataset(shards, shardshuffle=False).decode())
    read = []
    for sample in samples:
        arrays = {name.removesuffix(".npy"): value for name, value in sample.items() if name.endswith(".npy")}
        read.append((sample["json"], arrays))
        if len(sample["json"]["id"]) < 200 and sample["json"]["id"].lower() != "case-6":
            assert unquote(sample["__key__"]) == sample["json"]["id"]
    assert len({sample["__key__"].lower() for sample in samples}) == len(cache)
    assert_equal(read, cache, [in_json(row) for row in known(cache)])


def test_numpy_reads_it(cache: SparseCache, tmp_path: Path) -> None:
    export_cache(cache, tmp_path / "out", "npz", shard_size=SHARD)
    read = []
    for row in pq.read_table(tmp_path / "out" / "index.parquet").to_pylist():
        with np.load(tmp_path / "out" / row.pop("file"), allow_pickle=False) as file:
            arrays = dict(file)
        assert json.loads(str(arrays.pop("metadata"))) == in_json(row)
        read.append((row, arrays))
    assert len(list(tmp_path.rglob("*.npz"))) == len(cache)
    assert_equal(read, cache, known(cache))


def test_lance_reads_it(cache: SparseCache, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")

    export_cache(cache, tmp_path / "out", "lance", shard_size=SHARD)
    dataset = lance.dataset(str(tmp_path / "out" / "clips.lance"))
    assert (dataset.version, len(dataset.get_fragments())) == (1, 4)
    shapes = {name: json.loads((dataset.schema.field(name).metadata or {})[b"shape"]) for name in shapes_of(cache)}
    assert {name: tuple(shape) for name, shape in shapes.items()} == shapes_of(cache)
    table = dataset.to_table()
    assert all(pa.types.is_fixed_size_list(table.schema.field(name).type) for name in shapes)
    read = []
    for number in range(len(table)):
        arrays = {name: table[name][number].values.to_numpy(zero_copy_only=False) for name in shapes}
        row = table.drop_columns(list(shapes)).slice(number, 1).to_pylist()[0]
        row = {"take.no" if name == "take_no" else name: value for name, value in row.items()}
        read.append((row, {name: value.reshape(shapes[name]) for name, value in arrays.items()}))
    assert_equal(read, cache, known(cache))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["from disk", "by the card", "by the card, streamed"])
def test_datasets_reads_it(cache: SparseCache, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    out = tmp_path / "out"
    export_cache(cache, out, "hf", shard_size=SHARD)
    ways: dict[str, Callable[[], Any]] = {
        "from disk": lambda: datasets.load_from_disk(str(out / "data")),
        "by the card": lambda: datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "hf")),
        "by the card, streamed": lambda: datasets.load_dataset(str(out), split="train", streaming=True),
    }
    dataset = ways[way]()
    for array in cache.layout.arrays():
        feature = dataset.features[array.name]
        if len(array.shape) == 1:
            assert (feature.feature.dtype, feature.length) == (array.dtype.name, array.shape[0])
        else:
            assert (type(feature).__name__, feature.dtype) == (f"Array{len(array.shape)}D", array.dtype.name)
            assert tuple(feature.shape) == array.shape
    read = []
    for row in dataset:
        arrays = {array.name: np.array(row.pop(array.name), array.dtype) for array in cache.layout.arrays()}
        read.append((row, arrays))
    assert_equal(read, cache, known(cache))
    if way == "from disk" and cache.layout.store == "patches":  # as the card says
        patches = dataset.with_format("numpy", columns=["patches"], dtype="uint8")[1]["patches"]
        assert patches.dtype == np.uint8
        np.testing.assert_array_equal(patches, cache[1].patches)


def test_the_card_says_what_the_dataset_is_and_states_no_licence(cache: SparseCache, tmp_path: Path) -> None:
    export_cache(cache, tmp_path / "out", "hf", shard_size=SHARD)
    head, text = (tmp_path / "out" / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    card = yaml.safe_load(head)
    assert "license" not in card
    (split,) = card["dataset_info"]["splits"]
    assert split["num_examples"] == len(cache)
    names = [feature["name"] for feature in card["dataset_info"]["features"]]
    assert names == [*known(cache)[0], *shapes_of(cache)]
    assert f"- clips: {len(cache)}\n- labels: 6\n- shards: 4" in text
    assert json.loads(text.split("```json")[1].split("```")[0]) == cache.config
    assert "## Licence" in text
