"""k-means and labels: planted clusters are found, labels are the nearest centres, and bits do not depend on how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codecsieve.errors import ConfigError
from codecsieve.pipelines.concepts import nearest, rows
from codecsieve.pipelines.concepts.config import ConceptsOptions
from codecsieve.pipelines.concepts.halfway import Halfway
from codecsieve.pipelines.concepts.kmeans import add_up, fill_empty, find_centres, means
from codecsieve.pipelines.concepts.label import label_rows
from codecsieve.pipelines.concepts.rows import HeldRows, slabs, unit
from codecsieve.pipelines.concepts.start import first_centres, sample_size

pytest.importorskip("faiss", reason="faiss is not installed: pip install 'codecsieve[train]'")

PLANTED = 30


def planted(count: int = 1500, noise: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around so many centres, and which of these each belongs to."""
    random = np.random.default_rng(seed)
    own = random.integers(0, PLANTED, count)
    around = unit(random.normal(size=(PLANTED, 24)))[own]
    return unit(around + noise * random.normal(size=around.shape)), own


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """The adjusted Rand index (Hubert and Arabie 1985) of two partitions: 1 the same, about 0 by chance."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    chance = rows * columns / pairs(np.array([len(one)]))
    return (both - chance) / ((rows + columns) / 2 - chance)


def options(**given: Any) -> ConceptsOptions:
    return ConceptsOptions(**{"centres": PLANTED, "labels": 3, **given})


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_clusters_are_found(metric: str, seed: int) -> None:
    vectors, own = planted(seed=seed)
    made = label_rows(HeldRows(vectors), find_centres(HeldRows(vectors), options(metric=metric, seed=seed)), 1)
    assert agreement(own, made.labels[:, 0]) >= 0.95
    assert made.counts.empty == 0
    assert made.counts.mean_cosine > 0.95


def test_labels_are_the_nearest_centres_by_brute_force() -> None:
    random = np.random.default_rng(5)
    vectors, centres = unit(random.normal(size=(5000, 16))), random.normal(size=(70, 16)).astype(np.float32)
    made = label_rows(HeldRows(vectors), centres, 4)
    cosines = vectors.astype(np.float64) @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T
    wanted = np.argsort(-cosines, axis=1, kind="stable")[:, :4]
    assert np.array_equal(made.labels, wanted)
    np.testing.assert_allclose(made.cosines, np.take_along_axis(cosines, wanted, 1), atol=1e-5)
    sizes = np.bincount(wanted[:, 0], minlength=70)
    assert (made.counts.empty, made.counts.largest) == ((sizes == 0).sum(), sizes.max())


def test_a_pass_is_lloyd_s() -> None:
    vectors, _ = planted(noise=0.4)
    chosen = options(metric="l2", iterations=1, start="random")
    first = first_centres(HeldRows(vectors), chosen)
    own = ((vectors[:, None] - first[None]) ** 2).sum(2).argmin(1)
    wanted = np.stack([vectors[own == number].mean(0, dtype=np.float64) for number in range(PLANTED)])
    np.testing.assert_allclose(find_centres(HeldRows(vectors), chosen), wanted, atol=1e-6)


class ReadAnew:
    """Rows that are not held: every pass reads them."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors, self.width, self.taken = vectors, vectors.shape[1], 0

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, numbers: Sequence[int]) -> np.ndarray:
        self.taken += len(numbers)
        return unit(self.vectors[list(numbers)])


def test_rows_that_are_read_in_every_pass_make_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SLAB", 256)
    vectors = planted(noise=0.5)[0].astype(np.float16)
    anew = ReadAnew(vectors)
    chosen = options(iterations=4)
    made = find_centres(anew, chosen)
    assert made.tobytes() == find_centres(HeldRows(vectors), chosen).tobytes()
    assert made.tobytes() == find_centres(HeldRows(vectors), chosen).tobytes()
    assert made.tobytes() != find_centres(HeldRows(vectors), options(iterations=4, seed=1)).tobytes()
    assert anew.taken == sample_size(len(anew), chosen) + 4 * len(anew)
    assert [first for first, _ in slabs(anew)] == list(range(0, 1500, 256))


@pytest.mark.parametrize("start", ["random", "spread"])
def test_first_centres_are_different_clips(start: str) -> None:
    vectors, own = planted()
    first = first_centres(HeldRows(vectors), options(start=start))
    places = [int((vectors @ centre).argmax()) for centre in first]
    assert len(set(places)) == PLANTED
    if start == "spread":
        assert len(set(own[places])) == PLANTED


def test_a_clustering_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    vectors, _ = planted(noise=0.5)
    chosen = options(iterations=6)
    halfway = Halfway(tmp_path / "work", "mine")

    def stop(done: int, total: int) -> None:
        if done == 4 * len(vectors):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_centres(HeldRows(vectors), chosen, halfway, stop)
    told: list[int] = []
    made = find_centres(HeldRows(vectors), chosen, halfway, lambda done, total: told.append(done))
    assert told[0] == 3 * len(vectors)
    assert made.tobytes() == find_centres(HeldRows(vectors), chosen).tobytes()
    assert Halfway(tmp_path / "work", "another").read() is None
    file = tmp_path / "work/centres"
    for torn in (file.read_bytes()[:-5], file.read_bytes()[:-4] + b"abcd", b"", b"{"):
        file.write_bytes(torn)
        assert halfway.read() is None


def test_copies_leave_clusters_empty_and_are_counted() -> None:
    vectors = np.repeat(unit(np.random.default_rng(0).normal(size=(5, 8))), 20, axis=0)
    made = label_rows(HeldRows(vectors), find_centres(HeldRows(vectors), options(centres=9, labels=2)), 2)
    assert made.counts.duplicate_clips == 95
    assert made.counts.empty == 4
    assert made.counts.duplicate_centres >= 4
    assert made.counts.same_labels == 95
    assert made.counts.largest == 20
    assert made.counts.mean_cosine == pytest.approx(1)


def test_labels_that_say_the_same_are_counted() -> None:
    around = np.eye(4, 8, dtype=np.float32)
    centres = np.concatenate([around, around[:1] + 0.01 * np.eye(8, dtype=np.float32)[5:7]])  # three of them nearly one
    made = label_rows(HeldRows(around), centres, 3)
    assert made.counts.collisions == 1
    assert label_rows(HeldRows(around), centres, 2).counts.collisions == 1
    assert label_rows(HeldRows(around), centres, 1).counts.collisions == 0
    assert label_rows(HeldRows(around[:1]), centres[:1], 1).counts.duplicate_centres == 0


def test_empty_clusters_take_halves_of_the_largest() -> None:
    centres = np.eye(5, dtype=np.float32)
    sizes = np.array([10, 0, 4, 0, 1])
    fill_empty(centres, sizes, np.random.default_rng(0))
    near = np.eye(5)
    assert np.abs(np.abs(centres[1]) - near[0]).max() < 0.01
    assert np.abs(np.abs(centres[3]) - near[0]).max() < 0.01  # a half of 10 is more than 4
    assert np.array_equal(centres[[2, 4]], near[[2, 4]])
    assert len({centre.tobytes() for centre in centres}) == 5
    alone = np.eye(2, dtype=np.float32)
    fill_empty(alone, np.array([1, 0]), np.random.default_rng(0))
    assert np.array_equal(alone, np.eye(2))


def test_it_ends_when_nothing_moves_any_more() -> None:
    anew = ReadAnew(planted()[0])
    chosen = options(iterations=50)
    find_centres(anew, chosen)
    assert anew.taken < sample_size(len(anew), chosen) + 20 * len(anew)


def test_a_cluster_without_a_mean_stays() -> None:
    vectors = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    sums, sizes = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)
    add_up(vectors, np.array([0, 0, 1]), sums, sizes)
    before = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    assert np.array_equal(sizes, [2, 1, 0])
    assert np.array_equal(means(sums, sizes, before, "cosine"), before)


def test_without_faiss_it_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"need faiss, .* pip install 'codecsieve\[train\]'"):
        nearest.load_faiss()


def test_a_gpu_is_used_where_faiss_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss, moved = nearest.load_faiss(), []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: moved.append(index) or index, raising=False)
    numbers, _ = nearest.Nearest(np.eye(3, dtype=np.float32), "cosine").search(np.eye(3, dtype=np.float32))
    assert len(moved) == 1
    assert numbers[:, 0].tolist() == [0, 1, 2]
