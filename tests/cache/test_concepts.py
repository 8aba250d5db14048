"""A bank on disk: what was written is read, whole or not at all, and what is damaged is one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cache_cases import fill, names
from kills import CHANGES, count_calls, kill_at

import codecsieve.cache.concepts as concepts
from codecsieve.cache.concepts import open_concepts, write_concepts
from codecsieve.errors import CacheError

IDS = names(5)
LABELS = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [6, 0]])
TOLD = {"encoder": "small", "metric": "cosine", "counts": {"clips": 5}}


def centres(classes: int = 7, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(classes, width)).astype(np.float32)


def bank(folder: Path, seed: int = 0) -> None:
    write_concepts(folder, centres(seed=seed), IDS, LABELS, TOLD)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    cosines = np.linspace(1, 0, 10).reshape(5, 2)
    made = write_concepts(tmp_path / "bank", centres(), IDS, LABELS, TOLD, cosines)
    read = open_concepts(tmp_path / "bank")
    assert (read.classes, read.width, read.ids) == (7, 4, IDS)
    assert read.labels.dtype == np.int32
    assert np.array_equal(read.labels, LABELS)
    assert read.cosines is not None
    assert np.array_equal(read.cosines, cosines.astype(np.float32))
    assert read.described == made.described == {"kind": "concepts", "format": 1, **TOLD}
    assert np.array_equal(read.centres(), centres())
    assert np.array_equal(read.centres(2, 5), centres()[2:5])
    with pytest.raises(CacheError, match=r"centres \(5\.\.8\) of .* must be in 0\.\.7"):
        read.centres(5, 8)


def test_ranges_lie_in_chunks_of_even_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concepts, "ROWS", 4)
    made = write_concepts(tmp_path / "bank", centres(9), IDS, LABELS, {})
    assert [path.stat().st_size for path in sorted((tmp_path / "bank/centres").glob("c.*"))] == [3 * 4 * 4 + 4] * 3
    assert np.array_equal(made.centres(), centres(9))
    assert np.array_equal(made.centres(2, 8), centres(9)[2:8])
    assert made.cosines is None


def test_zarr_reads_the_centres_by_itself(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    bank(tmp_path / "bank")
    group = zarr.open_group(tmp_path / "bank", mode="r")
    assert np.array_equal(group["centres"][:], centres())
    assert group.attrs["codecsieve"]["kind"] == "concepts"


def test_a_bank_is_replaced(tmp_path: Path) -> None:
    bank(tmp_path / "bank")
    replaced = write_concepts(tmp_path / "bank", centres(3, 2), ["a"], np.array([[2]]), {})
    assert (replaced.classes, replaced.width, replaced.ids) == (3, 2, ["a"])
    assert np.array_equal(replaced.centres(), centres(3, 2))


def test_what_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    fill(tmp_path / "cache", names(2))
    (tmp_path / "zarr").mkdir()
    (tmp_path / "zarr/zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    (tmp_path / "file").write_text("dear")
    for name in ("mine", "cache", "zarr"):
        before = sorted((tmp_path / name).rglob("*"))
        with pytest.raises(CacheError, match="is not empty and holds no concepts; use another folder"):
            bank(tmp_path / name)
        assert sorted((tmp_path / name).rglob("*")) == before
    with pytest.raises(CacheError, match="is a file, and concepts are a folder"):
        bank(tmp_path / "file")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"centres": centres()[0]}, r"centres \(float32 \[4\]\) must be float32 \[C, D\]"),
    ({"centres": centres() * np.float32("nan")}, "centres must be finite"),
    ({"labels": LABELS[1:]}, r"labels \(int64 \[4, 2\]\) must be whole numbers \[5, L\]"),
    ({"labels": LABELS + 0.5}, r"labels \(float64 \[5, 2\]\) must be whole numbers"),
    ({"labels": LABELS + 1}, r"labels must be in 0\.\.6"),
    ({"labels": LABELS - 1}, r"labels must be in 0\.\.6"),
    ({"ids": [*IDS[:4], IDS[0]]}, "ids must be of clips, each named once"),
    ({"ids": [*IDS[:4], "a\nb"]}, "ids must be of clips, each named once"),
    ({"described": {"x": float("nan")}}, "must be plain JSON"),
    ({"cosines": np.ones((5, 3))}, r"cosines \(\[5, 3\]\) must be \[5, 2\], as labels"),
]


@pytest.mark.parametrize(("given", "says"), WRONG)
def test_what_is_no_bank_is_not_written(given: dict[str, Any], says: str, tmp_path: Path) -> None:
    right: dict[str, Any] = {"centres": centres(), "ids": IDS, "labels": LABELS, "described": {}}
    with pytest.raises(CacheError, match=says):
        write_concepts(tmp_path / "bank", **{**right, **given})
    assert not (tmp_path / "bank/zarr.json").exists()


def relabel(path: Path, ids: list[Any], labels: list[Any]) -> None:
    lists = pa.array(labels, pa.list_(pa.int32()))
    table = pa.table({"id": pa.array(ids, pa.string()), "labels": lists})
    pq.write_table(table, path / "labels.parquet")


def test_labels_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    bank(tmp_path)
    for ids, labels, says in (
        (["a", "b"], [[0], [7]], r"labels must be in 0\.\.6, the centres there are"),
        (["a", "b"], [[0], [-1]], r"labels must be in 0\.\.6"),
        (["a", "a"], [[0], [1]], "an id is missing, or comes twice"),
        (["a", None], [[0], [1]], "an id is missing, or comes twice"),
        (["a", "b"], [[0], [1, 2]], "clips must have as many labels each"),
        (["a", "b"], [[0], None], "clips must have as many labels each"),
        (["a", "b"], [[0], [None]], "clips must have as many labels each"),
        (["a", "b"], [[], []], "clips must have as many labels each"),
        ([], [], "clips must have as many labels each"),
    ):
        relabel(tmp_path, ids, labels)
        with pytest.raises(CacheError, match=says) as refused:
            open_concepts(tmp_path)
        assert "\n" not in str(refused.value)
    relabel(tmp_path, ["a", "b"], [[0], [1]])  # cosines may be missing
    assert open_concepts(tmp_path).cosines is None


@pytest.mark.parametrize("name", ["zarr.json", "labels.parquet", "centres/zarr.json"])
def test_files_that_are_missing_or_torn_are_one_line(name: str, tmp_path: Path) -> None:
    bank(tmp_path)
    data = (tmp_path / name).read_bytes()
    for torn in (data[: len(data) // 2], b"", b"\xff" * 40):
        (tmp_path / name).write_bytes(torn)
        with pytest.raises(CacheError, match=name.replace(".", r"\.")):
            open_concepts(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CacheError, match=rf"holds no concepts \(.*{name}.*is missing\); make it again with"):
        open_concepts(tmp_path)


def test_centres_that_are_missing_or_torn_are_one_line(tmp_path: Path) -> None:
    bank(tmp_path)
    chunk = tmp_path / "centres/c.0.0"
    data = chunk.read_bytes()
    for torn in (data[:-1], data[:9], b"", bytes([data[0] ^ 1]) + data[1:]):
        chunk.write_bytes(torn)
        with pytest.raises(CacheError, match=r"centres is damaged .*; make it again") as refused:
            open_concepts(tmp_path).centres()
        assert "\n" not in str(refused.value)
    chunk.unlink()
    with pytest.raises(CacheError, match=r"centres of 0\.\.6 are lost; make it again"):
        open_concepts(tmp_path).centres()
    write_concepts(tmp_path, centres(), IDS, LABELS, TOLD)  # what is damaged is replaced
    assert np.array_equal(open_concepts(tmp_path).centres(), centres())


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
def test_killed_at_any_point_there_is_a_whole_bank_or_none(there: bool, tmp_path: Path) -> None:
    def begin(folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        if there:
            bank(folder)
        return folder

    calls = count_calls(CHANGES, bank, begin(tmp_path / "counted"), 1)
    for call in range(calls):
        folder = begin(tmp_path / "bank")
        kill_at(call, bank, folder, 1)
        try:
            found = open_concepts(folder).centres()
        except CacheError as error:
            assert "holds no concepts" in str(error)  # noqa: PT017
        else:
            assert np.array_equal(found, centres(seed=1)) or (there and np.array_equal(found, centres()))
        bank(folder, 1)
        assert np.array_equal(open_concepts(folder).centres(), centres(seed=1))
