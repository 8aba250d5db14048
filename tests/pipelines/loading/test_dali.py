"""DALI's batches are torch's: same clips, same order, same pixels, after a stop too."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from cache_cases import fill, names

from codecsieve.cache import Layout, SparseCache, open_cache
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.loading.augment import Normalisation, Photometric
from codecsieve.pipelines.loading.dali import make_dali_loader
from codecsieve.pipelines.loading.dataset import Batch
from codecsieve.pipelines.loading.loader import make_loader

needs_dali = pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None,
    reason="DALI is not installed; pip install 'codecsieve[dali]'",
)
PHOTOMETRIC = Photometric(probability=1)
NORMALISATION = Normalisation((0.5, 0.45, 0.4), (0.25, 0.2, 0.3))
COLOURS: dict[str, Any] = {"photometric": PHOTOMETRIC, "normalisation": NORMALISATION}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SparseCache:
    path = tmp_path_factory.mktemp("dali") / "cache"
    fill(path, names(23), layout=Layout(num_frames=4, k_keep=9, patch=6))
    return open_cache(path)


def assert_same(some: Iterator[Batch] | list[Batch], others: list[Batch]) -> None:
    some = list(some)
    assert [batch.ids for batch in some] == [batch.ids for batch in others]
    for one, other in zip(some, others, strict=True):
        for name in ("positions", "labels", "real"):
            torch.testing.assert_close(getattr(one, name).cpu(), getattr(other, name), atol=0, rtol=0)
        # Rounded to uint8, a colour half-way between two may go either way.
        tolerance = 1 if other.patches.dtype == torch.uint8 else 1e-4
        torch.testing.assert_close(one.patches.cpu(), other.patches, atol=tolerance, rtol=0)


@pytest.mark.slow
@needs_dali
@pytest.mark.parametrize("photometric", [None, PHOTOMETRIC])
@pytest.mark.parametrize("normalisation", [None, NORMALISATION])
def test_two_epochs_of_each_rank_are_torch_s(
    cache: SparseCache, photometric: Photometric | None, normalisation: Normalisation | None
) -> None:
    for rank in range(2):
        options: dict[str, Any] = {"photometric": photometric, "normalisation": normalisation}
        options |= {"seed": 3, "rank": rank, "world_size": 2}
        dali, plain = make_dali_loader(cache, 4, **options), make_loader(cache, 4, **options)
        for _ in range(2):
            assert_same(list(dali), list(plain))


@pytest.mark.slow
@needs_dali
def test_worker_processes_change_nothing(cache: SparseCache) -> None:
    plain = make_loader(cache, 4, **COLOURS)
    expected = [*plain, *plain, *plain]
    dali = make_dali_loader(cache, 4, workers=2, **COLOURS)
    assert_same(islice(dali, 4), expected[:4])
    assert_same(list(dali), expected[4:6])
    assert_same(islice(dali, 6), expected[6:12])  # not asked for the end of the epoch
    assert_same(list(dali), expected[12:])


@needs_dali
@pytest.mark.parametrize("steps", [4, 8])
def test_a_run_that_stopped_goes_on_with_the_same_pixels(cache: SparseCache, steps: int) -> None:
    plain = make_loader(cache, 4, **COLOURS)
    expected = [*plain, *plain, *plain]
    stopped, resumed = (make_dali_loader(cache, 4, **COLOURS) for _ in range(2))
    assert_same(islice(itertools.chain(stopped, stopped), steps), expected[:steps])
    resumed.load_state_dict(stopped.state_dict())
    assert_same([*resumed, *resumed], expected[steps : 6 * (steps // 6 + 2)])
    plain.load_state_dict(stopped.state_dict())
    assert_same(list(plain), expected[steps : 6 * (steps // 6 + 1)])


@needs_dali
def test_batches_stay_what_they_were_while_others_are_read(cache: SparseCache) -> None:
    loader = make_dali_loader(cache, 4)
    kept = [(batch, batch.patches.clone()) for _ in range(3) for batch in loader]
    assert all(torch.equal(batch.patches, copy) for batch, copy in kept)


@pytest.mark.slow
@needs_dali
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_clip_is_told_in_one_line(tmp_path: Path, workers: int) -> None:
    fill(tmp_path, names(3))
    loader = make_dali_loader(open_cache(tmp_path), 2, workers=workers)
    shard = next((tmp_path / "patches").glob("c.0*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    line = r"shard \S+ is damaged: .*; run `codecsieve verify \S+ --repair`, then precompute again: its clips .* anew"
    with pytest.raises(CacheError, match=rf"\A{line}\Z"):
        list(loader)


@needs_dali
@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_gives_the_same_batches(cache: SparseCache, workers: int) -> None:
    for options in ({}, COLOURS):
        dali = make_dali_loader(cache, 4, device="cuda", workers=workers, **options)
        batches = [*dali, *dali]
        plain = make_loader(cache, 4, **options)
        assert all(batch.patches.is_cuda and batch.labels.is_cuda for batch in batches)
        assert_same(batches, [*plain, *plain])


def test_without_dali_a_line_says_what_to_install(cache: SparseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(ConfigError, match=r"^the DALI loader needs DALI, .*pip install 'codecsieve\[dali\]'$"):
        make_dali_loader(cache, 2)
