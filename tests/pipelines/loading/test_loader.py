"""Every clip once, none twice, whoever shares the work; the same again after a stop; and refusals in one line."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from cache_cases import LAYOUT, fill, make_clip, make_record, names
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from codecsieve.cache import CacheWriter, SparseCache, open_cache
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.loading.augment import Normalisation, Photometric, change_colours
from codecsieve.pipelines.loading.dali import make_dali_loader
from codecsieve.pipelines.loading.dataset import NO_LABEL, Batch, SparseDataset, collate
from codecsieve.pipelines.loading.loader import LoaderConfig, LoaderKeywords, make_loader
from codecsieve.pipelines.loading.order import PADDING, ClipOrder

CLIPS = 23
FAILED = ("clip-4", "clip-11")
COLOURS: dict[str, Any] = {
    "photometric": Photometric(),
    "normalisation": Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),
}

sizes = st.integers(1, 60)
worlds = st.integers(1, 7)
batches = st.integers(1, 9)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SparseCache:
    """21 clips of 23, labelled "0".."9"."""
    path = tmp_path_factory.mktemp("loader") / "cache"
    fill(path, names(CLIPS), failing=FAILED)
    return open_cache(path)


def fill_labelled(path: Path, labels: list[str | None]) -> SparseCache:
    with CacheWriter.open(path, LAYOUT, {}) as writer:
        for work in writer.plan(names(len(labels))):
            records = [replace(make_record(clip_id), label=labels[int(clip_id[5:])]) for clip_id in work.ids]
            writer.write_shard(work.shard, {clip_id: make_clip(clip_id) for clip_id in work.ids}, records)
    return open_cache(path)


def same(one: Batch, other: Batch) -> bool:
    tensors = ("patches", "positions", "labels", "real")
    return one.ids == other.ids and all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others)
    assert all(same(one, other) for one, other in zip(some, others, strict=True))


def test_the_keywords_that_type_checkers_know_are_the_options() -> None:
    hints = get_type_hints(LoaderConfig)
    assert hints.pop("batch_size") is int
    assert get_type_hints(LoaderKeywords) == hints
    assert LoaderKeywords.__required_keys__ == frozenset()


@pytest.mark.parametrize("make", [make_loader, make_dali_loader])
def test_an_option_that_there_is_not_names_the_one_that_was_meant(cache: SparseCache, make: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{make.__name__}\(\) has no option sed; did you mean seed\?$"):
        make(cache, 4, sed=1)


# --- the order


@given(sizes, worlds, batches, seeds, st.booleans())
def test_every_clip_comes_once_over_all_ranks(clips: int, world: int, batch: int, seed: int, shuffle: bool) -> None:
    ranks = [list(ClipOrder(clips, batch, seed, shuffle, rank, world)) for rank in range(world)]
    assert {len(steps) for steps in ranks} == {len(ClipOrder(clips, batch, seed, shuffle, 0, world))}
    for step in zip(*ranks, strict=True):
        assert len({len(numbers) for numbers in step}) == 1  # as all-gather wants it
        assert 1 <= len(step[0]) <= batch
    given_out = Counter(number for steps in ranks for numbers in steps for number in numbers)
    assert given_out.pop(PADDING, 0) < world
    assert given_out == Counter(range(clips))


@given(sizes, worlds, batches, seeds)
def test_the_clips_of_a_step_do_not_depend_on_how_many_ranks_share_it(
    clips: int, world: int, batch: int, seed: int
) -> None:
    ranks = zip(*(ClipOrder(clips, batch, seed, True, rank, world) for rank in range(world)), strict=True)
    shared = [sorted(itertools.chain(*step)) for step in ranks]
    assert [[n for n in step if n != PADDING] for step in shared] == [
        sorted(step) for step in ClipOrder(clips, batch * world, seed)
    ]


@given(st.data(), sizes, worlds, batches, seeds)
def test_after_any_step_a_state_gives_what_was_left(
    data: st.DataObject, clips: int, world: int, batch: int, seed: int
) -> None:
    rank = data.draw(st.integers(0, world - 1))
    epoch = data.draw(st.integers(0, 3))
    whole = _epoch(clips, batch, seed, rank, world, epoch)
    steps = data.draw(st.integers(0, len(whole) - 1))
    first, second = (ClipOrder(clips, batch, seed, True, rank, world) for _ in range(2))
    for _ in range(epoch * len(first) + steps):
        first.advance()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.epoch == epoch
    assert list(second) == list(first) == whole[steps:]


def _epoch(clips: int, batch: int, seed: int, rank: int, world: int, epoch: int) -> list[list[int]]:
    order = ClipOrder(clips, batch, seed, True, rank, world)
    order.epoch = epoch
    return list(order)


@given(st.data(), sizes, worlds, worlds, batches, batches, seeds)
def test_what_is_left_can_be_shared_by_another_number_of_ranks(
    data: st.DataObject, clips: int, world: int, other: int, batch: int, other_batch: int, seed: int
) -> None:
    first = [ClipOrder(clips, batch, seed, True, rank, world) for rank in range(world)]
    steps = data.draw(st.integers(0, len(first[0]) - 1))
    seen = [number for order in first for numbers in islice(order, steps) for number in numbers]
    for _ in range(steps):
        first[0].advance()
    for rank in range(other):
        order = ClipOrder(clips, other_batch, seed, True, rank, other)
        order.load_state_dict(first[0].state_dict())
        seen += [number for numbers in order for number in numbers if number != PADDING]
    assert Counter(seen) == Counter(range(clips))


def test_epochs_and_seeds_have_orders_of_their_own_and_validation_has_none() -> None:
    orders = {str(_epoch(50, 50, seed, 0, 1, epoch)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    assert list(ClipOrder(5, 2, shuffle=False)) == [[0, 1], [2, 3], [4]]


def test_iterating_does_not_move_the_position() -> None:
    order = ClipOrder(10, 3)
    assert list(order) == list(order)
    assert order.state_dict() == {"epoch": 0, "done": 0, "clips": 10, "seed": 0, "shuffle": True}


@pytest.mark.parametrize("change", [{"clips": 11}, {"seed": 1}, {"shuffle": False}])
def test_a_state_of_another_order_is_refused(change: dict[str, Any]) -> None:
    order = ClipOrder(**{"clips": 10, "batch_size": 3, **change})
    with pytest.raises(ConfigError, match=r"must be the saved state's"):
        order.load_state_dict(ClipOrder(10, 3).state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), r"clips \(0\) must be > 0"),
        ((1, 0), r"batch_size \(0\) must be > 0"),
        ((1, 1, -1), r"seed \(-1\) must be >= 0"),
        ((1, 1, 0, True, 2, 2), r"rank \(2\) must be in 0..1"),
        ((1, 1, 0, True, 0, 0), r"world_size \(0\) must be > 0"),
    ],
)
def test_orders_that_cannot_be_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClipOrder(*arguments)


# --- the dataset


def test_a_batch_is_what_the_cache_holds(cache: SparseCache) -> None:
    dataset = SparseDataset(cache)
    batch = dataset.__getitems__([3, 20, 0])
    assert len(dataset) == CLIPS - len(FAILED)
    assert batch.ids == tuple(cache.clip_ids[number] for number in (3, 20, 0))
    for row, clip_id in enumerate(batch.ids):
        clip = make_clip(clip_id)
        assert torch.equal(batch.patches[row], torch.from_numpy(clip.patches))
        assert torch.equal(batch.positions[row], torch.from_numpy(clip.positions.astype("int32")))
        assert dataset.classes[batch.labels[row]] == clip_id[-1]
    assert batch.labels.dtype == torch.int64
    assert batch.real.tolist() == [True] * 3
    assert same(dataset[20], dataset.__getitems__([20]))


def test_padding_is_black_unlabelled_and_not_real(cache: SparseCache) -> None:
    for numbers, real in (([5, PADDING], [True, False]), ([PADDING], [False])):
        batch = SparseDataset(cache).__getitems__(numbers)
        assert batch.real.tolist() == real
        assert batch.labels[-1] == NO_LABEL
        assert batch.ids[-1] == ""
        assert not batch.patches[-1].any()
        assert batch.patches.shape == (len(numbers), LAYOUT.k_keep, 3, LAYOUT.patch, LAYOUT.patch)


def test_a_split_is_named_by_ids_or_numbers(cache: SparseCache) -> None:
    dataset = SparseDataset(cache, ["clip-9", "clip-2"])
    assert dataset.ids == ("clip-9", "clip-2")
    assert dataset.classes == tuple("0123456789")
    assert dataset.labels.tolist() == [9, 2]
    assert SparseDataset(cache, [2, 0]).ids == ("clip-2", "clip-0")
    assert SparseDataset(cache, ["clip-9"], classes=list("9876543210")).labels.tolist() == [0]


def test_all_splits_number_the_classes_alike(tmp_path: Path) -> None:
    """By value where they are numbers, whatever labels a split has itself."""
    cache = fill_labelled(tmp_path, [str(number) for number in range(12)])
    for clips in (None, [2, 10, 11]):
        dataset = SparseDataset(cache, clips)
        assert dataset.classes == tuple(map(str, range(12)))
        assert dataset.labels.tolist() == (list(range(12)) if clips is None else clips)


def test_a_loader_does_not_go_on_where_one_of_other_clips_was(cache: SparseCache) -> None:
    state = make_loader(cache, 2, clips=[0, 1, 2, 3]).state_dict()
    make_loader(cache, 2, clips=[0, 1, 2, 3]).load_state_dict(state)
    with pytest.raises(ConfigError, match="these are other clips; resume on the same split"):
        make_loader(cache, 2, clips=[5, 6, 7, 8]).load_state_dict(state)


def test_a_pickled_dataset_keeps_its_clips_while_precompute_goes_on(tmp_path: Path) -> None:
    fill(tmp_path, names(70), failing=["clip-1"])
    dataset = SparseDataset(open_cache(tmp_path))
    pickled = pickle.dumps(dataset)
    fill(tmp_path, names(70), retry_failed=True)
    again = pickle.loads(pickled)
    assert "clip-1" in open_cache(tmp_path).clip_ids
    assert again.ids == dataset.ids
    assert same(again[1], dataset[1])


def test_clips_without_any_label_have_none(tmp_path: Path) -> None:
    dataset = SparseDataset(fill_labelled(tmp_path, [None, None]))
    assert dataset.classes == ()
    assert dataset[1].labels.tolist() == [NO_LABEL]


def test_a_label_outside_the_classes_is_refused(cache: SparseCache) -> None:
    with pytest.raises(ConfigError, match=r"^clip clip-2 of cache .* has label '2', must have one of the 2 classes"):
        SparseDataset(cache, classes=["0", "1"])
    with pytest.raises(ConfigError, match=r"^classes \(0\) must be > 0"):
        SparseDataset(cache, classes=[])
    with pytest.raises(ConfigError, match=r"must be distinct"):
        SparseDataset(cache, classes=["0", "0"])


def test_a_missing_label_among_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^clip clip-1 of cache .* has no label"):
        SparseDataset(fill_labelled(tmp_path, ["a", None]))


def test_a_cache_without_pixels_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, names(2), layout=replace(LAYOUT, store="indices"))
    with pytest.raises(ConfigError, match=r"holds no pixels .*; make one with precompute --store patches$"):
        make_loader(open_cache(tmp_path), 2)


def test_an_empty_split_is_refused(cache: SparseCache, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gives 0 clips, must give > 0: the split names no clip"):
        make_loader(cache, 2, clips=[])
    fill(tmp_path, names(2), failing=names(2))
    with pytest.raises(ConfigError, match=r"gives 0 clips, must give > 0: it has no clip that is ok"):
        make_loader(open_cache(tmp_path), 2)


@pytest.mark.parametrize("clip", ["clip-4", "unheard-of", 21, -1])
def test_a_split_with_a_clip_that_is_not_in_is_refused(cache: SparseCache, clip: int | str) -> None:
    with pytest.raises(ConfigError, match=r"must be an id or a number \(0\.\.20\) in cache"):
        make_loader(cache, 2, clips=[clip])


def test_numbers_outside_the_dataset_are_refused(cache: SparseCache) -> None:
    with pytest.raises(IndexError, match=r"clip 21 must be in 0\.\.20"):
        SparseDataset(cache)[21]


# --- the loader


def test_ranks_together_see_every_clip_once(cache: SparseCache) -> None:
    loaders = [make_loader(cache, 4, rank=rank, world_size=2, seed=5) for rank in range(2)]
    read = [list(loader) for loader in loaders]
    assert [len(batches) for batches in read] == [len(loader) for loader in loaders] == [3, 3]
    real = [clip_id for batches in read for b in batches for clip_id, r in zip(b.ids, b.real, strict=True) if r]
    assert sorted(real) == sorted(cache.clip_ids)
    assert sum(not r for batches in read for b in batches for r in b.real) == 1


def test_an_epoch_follows_the_other_and_can_be_gone_back_to(cache: SparseCache) -> None:
    loader = make_loader(cache, 4, **COLOURS)
    first, second = list(loader), list(loader)
    assert loader.epoch == 2
    assert [b.ids for b in first] != [b.ids for b in second]
    loader.set_epoch(0)
    assert_same(list(loader), first)


def test_colours_are_those_drawn_for_the_epoch(cache: SparseCache) -> None:
    loader = make_loader(cache, 4, seed=9, shuffle=False, photometric=Photometric())
    plain = list(make_loader(cache, 4, shuffle=False))
    for epoch in range(2):
        for batch, as_kept in zip(loader, plain, strict=True):
            change = Photometric().draw(9, epoch, as_kept.ids)
            assert torch.equal(batch.patches, change_colours(as_kept.patches, change, None))


@pytest.mark.parametrize("steps", range(7))
def test_a_run_that_stopped_goes_on_with_the_same_pixels(cache: SparseCache, steps: int) -> None:
    whole = make_loader(cache, 4, seed=1, **COLOURS)
    expected = [*whole, *whole]
    stopped = make_loader(cache, 4, seed=1, **COLOURS)
    for _ in islice(stopped, steps):
        state = stopped.state_dict()
    resumed = make_loader(cache, 4, seed=1, **COLOURS)
    if steps:
        resumed.load_state_dict(state)
    assert_same([*resumed, *(resumed if steps < 6 else [])], expected[steps:])
    assert_same([*stopped, *(stopped if steps < 6 else [])], expected[steps:])


@pytest.mark.slow
def test_workers_change_neither_order_nor_pixels_and_may_be_fewer_after_a_stop(cache: SparseCache) -> None:
    alone = make_loader(cache, 4, seed=2, **COLOURS)
    expected = [*alone, *alone]
    several = make_loader(cache, 4, seed=2, workers=2, **COLOURS)
    read = list(islice(several, 2))
    state = several.state_dict()  # while workers have read further
    assert_same([*read, *several, *several], expected)
    resumed = make_loader(cache, 4, seed=2, **COLOURS)
    resumed.load_state_dict(state)
    assert_same(list(resumed), expected[2:6])
    several.load_state_dict(state)
    assert_same(list(several), expected[2:6])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_clip_is_told_in_one_line(tmp_path: Path, workers: int) -> None:
    fill(tmp_path, names(3))
    loader = make_loader(open_cache(tmp_path), 2, workers=workers)
    shard = next((tmp_path / "patches").glob("c.0*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    line = r"shard \S+ is damaged: .*; run `codecsieve verify \S+ --repair`, then precompute again: its clips .* anew"
    with pytest.raises(CacheError, match=rf"\A{line}\Z"):
        list(loader)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, r"workers \(-1\) must be >= 0"),
        ({"device": "abacus"}, r"device \('abacus'\) must be one of cpu, cuda, cuda:N"),
        ({"rank": 1}, r"rank \(1\) must be in 0\.\.0"),
        ({"batch_size": 0}, r"batch_size \(0\) must be > 0"),
    ],
)
def test_options_out_of_range_are_refused(cache: SparseCache, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_loader(cache, **{"batch_size": 2, **options})


@pytest.mark.gpu
def test_a_gpu_gives_the_same_batches(cache: SparseCache) -> None:
    for workers in (0, 1):
        pairs = zip(
            make_loader(cache, 4, device="cuda", workers=workers, **COLOURS),
            make_loader(cache, 4, **COLOURS),
            strict=True,
        )
        for device, host in pairs:
            assert device.patches.is_cuda
            torch.testing.assert_close(device.patches.cpu(), host.patches, atol=1e-4, rtol=0)
            assert same(replace(device.to("cpu"), patches=host.patches), host)


def test_a_loader_of_a_cache_that_lacks_clips_of_its_plan_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "cache", names(66))
    make_loader(open_cache(tmp_path / "cache"), batch_size=2)
    assert not caplog.messages
    (tmp_path / "cache" / "index" / "part-000001.parquet").unlink()
    make_loader(open_cache(tmp_path / "cache"), batch_size=2)
    assert caplog.messages == [f"cache {tmp_path / 'cache'} lacks 2 of the clips planned; run precompute again"]


# --- a batch as a mapping


def test_a_batch_is_a_mapping_of_its_fields(cache: SparseCache) -> None:
    batch = SparseDataset(cache).__getitems__([3, 1])
    assert isinstance(batch, Mapping)
    assert list(batch) == ["patches", "positions", "labels", "real", "ids", "metadata"]
    assert len(batch) == len(list(batch))
    assert all(batch[name] is getattr(batch, name) for name in batch)
    assert dict(**batch) == dict(batch)
    assert batch.inputs.keys() == {"patches", "positions"}
    assert batch == batch
    assert batch != SparseDataset(cache).__getitems__([3, 1])
    with pytest.raises(KeyError):
        batch["to"]


def test_a_batch_is_made_of_one_mapping_too_but_of_nothing_less(cache: SparseCache) -> None:
    batch = SparseDataset(cache).__getitems__([3, 1])
    assert same(Batch(dict(batch)), batch)
    assert same(Batch({**batch, "ids": list(batch.ids)}), batch)
    assert same(pickle.loads(pickle.dumps(batch)), batch)
    with pytest.raises(TypeError, match=r"missing, or not one of these: ids, labels, positions, real$"):
        Batch(patches=batch.patches)
    with pytest.raises(TypeError, match=r"missing, or not one of these: colours$"):
        Batch(batch, colours=3)


def test_what_is_joined_is_what_was_read_at_once(cache: SparseCache) -> None:
    dataset = SparseDataset(cache)
    whole = dataset.__getitems__([5, 0, 7])
    assert collate(whole) is whole
    with pytest.raises(KeyError, match=r"a batch has no 0, .* give a DataLoader collate_fn=codecsieve.collate"):
        next(iter(DataLoader(dataset, batch_size=2)))
    assert same(collate([dataset[5], dataset[0], dataset[7]]), whole)


def test_clips_of_different_k_are_not_joined(cache: SparseCache, tmp_path: Path) -> None:
    layout = replace(LAYOUT, k_keep=3)
    fill(tmp_path / "cache", names(2), layout=layout)
    other = SparseDataset(open_cache(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"one shape, these have \[3, 3, 2, 2\] and \[5, 3, 2, 2\]"):
        collate([SparseDataset(cache)[0], other[0]])


def test_loader_dataset_and_batch_tell_what_they_are_in_five_lines(tmp_path: Path) -> None:
    cache = fill_labelled(tmp_path / "cache", ["<b>run</b>\x1b[31m" + "x" * 300, "jump"] * 12)
    loader = make_loader(cache, 7, normalisation=COLOURS["normalisation"])
    batch = next(iter(loader))
    for thing in (loader, loader.dataset, batch, SparseDataset(cache).__getitems__([0, 1, PADDING])):
        lines = repr(thing).splitlines()
        assert 1 <= len(lines) <= 5
        assert all(line.isprintable() and len(line) < 500 for line in lines)
    assert "4 batches of 7; at 1 of epoch 0" in repr(loader)
    assert "1 of them padding" in repr(SparseDataset(cache).__getitems__([0, PADDING]))
    html = batch._repr_html_()
    assert html.count('src="data:image/png;base64,') == 4
