"""A frozen encoder: a model with a name and a fingerprint, run over a cache's clips once.

Where its tokens are kept is left to `cache.features`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from codecsieve.cache import SparseCache
from codecsieve.cache.features import FeatureCache, feature_key, make_features, read_layout, refuse_foreign
from codecsieve.cache.layout import GROUP, LOCK
from codecsieve.encoder import OneVisionEncoder
from codecsieve.errors import ConfigError
from codecsieve.files import lock, make_folder
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.loading.loader import ReadInWorkers, as_it_is, errors_in_one_line

_log = logging.getLogger(__name__)


class TokenEncoder(Protocol):
    """Anything that makes tokens of patches and their positions."""

    name: str
    """For people."""
    fingerprint: str
    """Hex digits that change whenever its tokens could."""

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Patches uint8 [B, K, 3, P, P] and positions int64 [B, K, 3], on any device -> tokens float [B, N, D]."""


class FrozenEncoder:
    """A `OneVisionEncoder` as a `TokenEncoder`."""

    def __init__(self, model: OneVisionEncoder, name: str) -> None:
        """Take a model as it is, with its type and its device."""
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.dim = model.config.hidden_size
        self.fingerprint = fingerprint(model)

    @classmethod
    def load(cls, weights: str, name: str | None, ranks: Ranks) -> FrozenEncoder:
        """Load a folder or a hub id, in bfloat16 where the device has it. Raises EncoderError."""
        dtype = torch.bfloat16 if ranks.has_bf16 else torch.float32
        model = OneVisionEncoder.from_pretrained(weights, dtype=dtype, device=ranks.device)
        return cls(model, name or Path(weights).name)

    @torch.no_grad()
    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """See `TokenEncoder`. Raises EncoderError where the patches are not of the model's size."""
        device = next(self.model.parameters()).device
        out = self.model(patches=patches.to(device), positions=positions.to(device))
        return out.last_hidden_state


def fingerprint(model: OneVisionEncoder) -> str:
    """Hex SHA-256 of a model's architecture, type and weights."""
    return digest_of({name: value for name, value in vars(model.config).items() if name != "other"}, model)


def digest_of(described: Mapping[str, Any], network: nn.Module) -> str:
    """Hex SHA-256 of what a network's numbers depend on, which is told as plain JSON, and of its weights."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class Patches(Dataset[tuple[Tensor, Tensor]]):
    """A cache's clips without their labels, which an encoder does not ask for, read a batch at a time."""

    def __init__(self, cache: SparseCache) -> None:
        """Take a cache. Raises ConfigError where it stores no pixels."""
        cache.check_pixels()
        self.cache = cache

    def __getitems__(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Patches uint8 [B, K, 3, P, P] and positions int64 [B, K, 3].

        Raises CacheError where bytes are missing, or, of a cache opened with `verify`, damaged.
        """
        batch = self.cache.read(numbers)
        return torch.from_numpy(batch.patches), torch.from_numpy(batch.positions.astype(np.int64))


def encode_clips(
    encoder: TokenEncoder, cache: SparseCache, batches: Sequence[Sequence[int]], workers: int = 0
) -> Iterator[np.ndarray]:
    """Tokens of each batch of clip numbers, float32 [B, N, D], in order; workers: processes that read ahead.

    Raises ConfigError where the cache stores no pixels, CacheError where it cannot be read.
    """
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        ReadInWorkers(Patches(cache)),
        batch_sampler=[list(batch) for batch in batches],
        collate_fn=as_it_is,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    for patches, positions in errors_in_one_line(loader):
        yield encoder(patches, positions).float().cpu().numpy()


def cached_features(
    cache: SparseCache,
    numbers: Sequence[int],
    encoder: TokenEncoder,
    folder: Path | None = None,
    batch_size: int = 8,
    workers: int = 0,
    ranks: Ranks | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureCache:
    """The tokens of clips, those that are not cached yet made first, by all ranks together.

    Args:
        cache: the sparse cache; it must store pixels.
        numbers: which of its clips.
        encoder: whose tokens; not run where all of them are there.
        folder: of the feature cache; None: one beside the sparse cache, named by cache config and model.
        batch_size: clips that are encoded at once.
        workers: processes that read the sparse cache; 0: this one reads.
        ranks: the processes that share the work.
        progress: called with the clips done and to be done by this process.

    Raises:
        ConfigError: the cache stores no pixels, or there are no clips.
        CacheError: `folder` holds features of something else, is damaged, or is being written by another run.
    """
    ranks = ranks or Ranks()
    cache.check_pixels()  # before anything is made
    if not numbers:
        raise ConfigError(f"clips (0) must be > 0: there are none to encode in cache {cache.location}; run precompute")
    key = feature_key(cache, encoder.name, encoder.fingerprint)
    folder = folder or Path(f"{cache.location}.features") / key.digest()
    with contextlib.ExitStack() as stack:
        if ranks.first:
            refuse_foreign(folder)
            make_folder(folder)
            stack.enter_context(lock(folder / LOCK, folder))
            if (folder / GROUP).exists():
                tokens, dim = read_layout(folder, key).shape
            else:
                (one,) = encode_clips(encoder, cache, [[numbers[0]]])
                _, tokens, dim = one.shape
            make_features(folder, cache, key, (tokens, dim))
        ranks.wait()
        features = FeatureCache(folder, cache, key)
        ranks.wait()  # all must have seen the same clips missing before the first of them is written
        report = progress or (lambda done, total: None)

        def encode(batches: Sequence[Sequence[int]]) -> Iterator[np.ndarray]:
            done, total = 0, sum(map(len, batches))
            report(0, total)
            for tokens in encode_clips(encoder, cache, batches, workers):
                done += len(tokens)
                report(done, total)
                yield tokens

        if ranks.first:
            _warn_of_space(features, numbers)
        features.write(numbers, encode, batch_size, ranks.rank, ranks.size)
        ranks.wait()
    return FeatureCache(folder, cache, key)


def _warn_of_space(features: FeatureCache, numbers: Sequence[int]) -> None:
    needed = len(features.missing(numbers)) * features.array.nbytes
    free = shutil.disk_usage(features.folder).free
    if needed > free:
        _log.warning(
            "%s: tokens take up to %.1f GB, %.1f GB are free; use another --features-dir, or fewer patches",
            features.folder, needed / 1e9, free / 1e9,
        )  # fmt: skip
