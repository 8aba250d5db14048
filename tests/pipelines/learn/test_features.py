"""The feature cache: every clip is encoded once, whatever happens, and features of something else are refused."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from cache_cases import CONFIG, LAYOUT, fill, make_clip, make_record, names
from forked import killed_copy
from torch import Tensor

import codecsieve.files as publishing
from codecsieve.cache import CacheWriter, Layout, SparseCache, open_cache
from codecsieve.cache.features import FeatureCache, feature_key
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.learn.frozen import FrozenEncoder, TokenEncoder, cached_features, fingerprint

pytestmark = pytest.mark.usefixtures("one_thread")

CLIPS = 140  # two shards and a bit

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")


class Means:
    """Not a network: a token is a patch's mean colour and its place, in 64 channels."""

    name = "means"
    fingerprint = "1" * 64

    def __init__(self) -> None:
        self.encoded = 0

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        self.encoded += len(patches)
        six = torch.cat([patches.float().mean((-1, -2)), positions.float()], dim=-1)  # [B, K, 6]
        return torch.nn.functional.pad(six, (0, 58))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sparse") / "cache"
    fill(path, names(CLIPS), failing={"clip-3"})
    return path


@pytest.fixture
def cache(path: Path) -> SparseCache:
    return open_cache(path)


def all_of(cache: SparseCache) -> list[int]:
    return list(range(len(cache)))


def make(cache: SparseCache, folder: Path, encoder: TokenEncoder | None = None) -> FeatureCache:
    return cached_features(cache, all_of(cache), encoder or Means(), folder)


def expected(cache: SparseCache, numbers: list[int]) -> np.ndarray:
    batch = cache.read(numbers)
    tokens = Means()(torch.from_numpy(batch.patches), torch.from_numpy(batch.positions.astype(np.int64)))
    return tokens.numpy().astype(np.float16)


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name != ".lock"}


def kill_at_publication(number: int, before: bool) -> None:
    """Have this process killed at the n-th file that it publishes, before or after the file is in place."""
    replace, count = os.replace, 0

    def replacing(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == number and before:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    publishing.os.replace = replacing  # type: ignore[attr-defined]  # in a child process that dies


def test_features_are_the_encoder_s_tokens_of_each_clip(cache: SparseCache, tmp_path: Path) -> None:
    features = make(cache, tmp_path / "features")
    assert features.shape == (LAYOUT.k_keep, 64)
    some = [138, 0, 64, 63, 64]
    np.testing.assert_array_equal(features.read(some), expected(cache, some))
    features.verify()


def test_they_are_plain_zarr_in_the_sparse_cache_s_rows(cache: SparseCache, tmp_path: Path) -> None:
    make(cache, tmp_path / "features")
    tokens = zarr.open_group(tmp_path / "features", mode="r")["tokens"]
    assert tokens.shape == (CLIPS, LAYOUT.k_keep, 64)
    assert tokens.dtype == np.float16
    row = cache.index["row"].to_pylist()[cache.index["id"].to_pylist().index("clip-100")]
    np.testing.assert_array_equal(tokens[row], expected(cache, [cache.clip_ids.index("clip-100")])[0])


def test_a_clip_is_encoded_once(cache: SparseCache, tmp_path: Path) -> None:
    first, second, third = Means(), Means(), Means()
    cached_features(cache, [1, 2, 70], first, tmp_path / "features")
    assert first.encoded == 3 + 1  # one more for the shape
    cached_features(cache, all_of(cache), second, tmp_path / "features")
    assert second.encoded == len(cache) - 3
    features = cached_features(cache, all_of(cache), third, tmp_path / "features")
    assert third.encoded == 0
    np.testing.assert_array_equal(features.read(all_of(cache)), expected(cache, all_of(cache)))


def test_features_grow_with_their_cache(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(10))
    make(open_cache(tmp_path / "cache"), tmp_path / "features")
    fill(tmp_path / "cache", names(100))
    grown, encoder = open_cache(tmp_path / "cache"), Means()
    features = cached_features(grown, all_of(grown), encoder, tmp_path / "features")
    assert encoder.encoded == 90
    np.testing.assert_array_equal(features.read(all_of(grown)), expected(grown, all_of(grown)))
    assert zarr.open_group(tmp_path / "features", mode="r")["tokens"].shape[0] == 100


@pytest.mark.slow
@needs_fork
def test_a_run_that_is_killed_at_any_file_is_finished_by_the_next(cache: SparseCache, tmp_path: Path) -> None:
    make(cache, tmp_path / "whole")
    whole = files(tmp_path / "whole")
    for number in range(1, 1 + len(whole)):
        for before in (True, False):
            folder = tmp_path / f"killed {number} {before}"

            def work(folder: Path = folder, number: int = number, before: bool = before) -> None:
                kill_at_publication(number, before)
                make(cache, folder)

            assert killed_copy(work)
            published = len(list((folder / "index").glob("part-*.parquet")))
            encoder = Means()
            make(cache, folder, encoder)
            assert files(folder) == whole
            shards = [63, 64, 12]  # clip-3 failed
            assert encoder.encoded - sum(shards[published:]) in (0, 1)


def test_ranks_share_the_shards(cache: SparseCache, tmp_path: Path) -> None:
    make(cache, tmp_path / "whole")
    cached_features(cache, [0], Means(), tmp_path / "shared")
    key = feature_key(cache, Means.name, Means.fingerprint)
    ranks = [FeatureCache(tmp_path / "shared", cache, key) for _ in range(2)]

    def encode(batches: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
        return (expected(cache, list(batch)).astype(np.float32) for batch in batches)

    for rank, features in enumerate(ranks):
        features.write(all_of(cache), encode, batch_size=3 + 40 * rank, rank=rank, size=2)
    assert files(tmp_path / "shared") == files(tmp_path / "whole")
    np.testing.assert_array_equal(ranks[0].read([0, 5]), expected(cache, [0, 5]))


def test_features_of_something_else_are_refused(cache: SparseCache, path: Path, tmp_path: Path) -> None:
    make(cache, tmp_path / "features")
    other_model = Means()
    other_model.fingerprint, other_model.name = "2" * 64, "medians"
    with pytest.raises(CacheError, match=r"are of another model \(means\), you asked medians"):
        make(cache, tmp_path / "features", other_model)

    fill(tmp_path / "other", names(20), config={**CONFIG, "fuse": "max"})
    with pytest.raises(CacheError, match="are of a cache with another config"):
        make(open_cache(tmp_path / "other"), tmp_path / "features")

    fill(tmp_path / "reordered", list(reversed(names(CLIPS))))
    with pytest.raises(CacheError, match=r"are of another cache: row \d+ is clip clip-\d+ there, clip-\d+ here"):
        make(open_cache(tmp_path / "reordered"), tmp_path / "features")

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(CacheError, match="is not empty and holds no features"):
        make(cache, tmp_path / "mine")
    assert files(tmp_path / "mine") == {"letter.txt": b""}
    with pytest.raises(CacheError, match="is not empty and holds no features"):
        make(cache, path)


def test_clips_of_the_same_ids_with_other_pixels_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(2))
    make(open_cache(tmp_path / "cache"), tmp_path / "features")
    with CacheWriter.open(tmp_path / "other", LAYOUT, CONFIG) as writer:
        for work in writer.plan(names(2)):
            clips = {"clip-0": make_clip("clip-0"), "clip-1": make_clip("clip-7")}
            writer.write_shard(work.shard, clips, [make_record(clip_id) for clip_id in work.ids])
    with pytest.raises(CacheError, match=r"row 1 is clip clip-1 there, clip-1, with other pixels here"):
        make(open_cache(tmp_path / "other"), tmp_path / "features")


def test_without_a_folder_they_lie_beside_the_cache_one_folder_a_model(tmp_path: Path) -> None:
    fill(tmp_path / "cache", names(3))
    cache, other = open_cache(tmp_path / "cache"), Means()
    other.fingerprint = "2" * 64
    folders = {cached_features(cache, [0], encoder).folder for encoder in (Means(), other, Means())}
    assert {folder.parent for folder in folders} == {tmp_path / "cache.features"}
    assert len(folders) == 2


def test_a_damaged_shard_is_found(cache: SparseCache, tmp_path: Path) -> None:
    features = make(cache, tmp_path / "features")
    shard = tmp_path / "features" / features.array.shard_key(1)
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CacheError, match=r"clip clip-\d+ does not match its checksum; delete that folder"):
        make(cache, tmp_path / "features").verify()
    shard.write_bytes(data[:200])
    with pytest.raises(CacheError, match=r"is damaged: .*; delete that folder"):
        make(cache, tmp_path / "features").read([70])


def test_tokens_that_float16_cannot_hold_are_refused(cache: SparseCache, tmp_path: Path) -> None:
    class Large(Means):
        def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
            return super().__call__(patches, positions) * 1e6

    with pytest.raises(CacheError, match=r"clip clip-\d+: tokens must be finite and within float16"):
        make(cache, tmp_path / "features", Large())


def test_a_cache_without_pixels_is_refused(tmp_path: Path) -> None:
    layout = Layout(LAYOUT.num_frames, LAYOUT.k_keep, LAYOUT.patch, "indices")
    fill(tmp_path / "cache", names(3), layout=layout)
    with pytest.raises(ConfigError, match="holds no pixels"):
        make(open_cache(tmp_path / "cache"), tmp_path / "features")


def test_a_sparse_encoder_s_features_are_its_hidden_state(cache: SparseCache, tmp_path: Path) -> None:
    model = OneVisionEncoder(EncoderConfig(64, 96, 1, 2, image_size=8, patch_size=LAYOUT.patch))
    features = cached_features(cache, [5, 6], FrozenEncoder(model, "small"), tmp_path / "features")
    batch = cache.read([5, 6])
    with torch.no_grad():
        out = model(
            patches=torch.from_numpy(batch.patches), positions=torch.from_numpy(batch.positions.astype(np.int64))
        )
    np.testing.assert_allclose(features.read([5, 6]), out.last_hidden_state.numpy(), atol=2e-3)


def test_a_fingerprint_changes_with_weights_type_and_architecture() -> None:
    torch.manual_seed(0)
    config = EncoderConfig(64, 96, 1, 2, image_size=8, patch_size=2)
    model = OneVisionEncoder(config)
    prints = [fingerprint(model), fingerprint(model)]
    with torch.no_grad():
        model.layernorm_post.bias[3] = 1e-7
    prints.append(fingerprint(model))
    prints.append(fingerprint(model.bfloat16()))
    other = OneVisionEncoder(EncoderConfig(64, 96, 1, 2, image_size=8, patch_size=2, rope_theta=100.0)).bfloat16()
    other.load_state_dict(model.state_dict())
    prints.append(fingerprint(other))
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
