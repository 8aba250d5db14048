"""Clips of a cache in batches, epoch after epoch: shuffled, dealt to ranks, augmented, resumable at any batch.

    loader = make_loader(open_cache("cache"), batch_size=16, seed=1, device="cuda")
    for batch in loader:                  # one epoch: patches, positions, labels, real, ids
        ...
        torch.save(loader.state_dict())   # load_state_dict() of it gives exactly the batches that were left

Reading is done by the cache, in this process unless `workers` are asked for. `dali` has the same on DALI.
"""

from __future__ import annotations

import contextlib
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar, Unpack

import torch
from torch.utils.data import DataLoader, Dataset

from codecsieve.cache import Condition, SparseCache
from codecsieve.errors import CacheError, ConfigError
from codecsieve.options import check_names
from codecsieve.pipelines.loading.augment import Normalisation, Photometric, change_colours
from codecsieve.pipelines.loading.dataset import Batch, SparseDataset
from codecsieve.pipelines.loading.order import ClipOrder
from codecsieve.text import quoted

Item = TypeVar("Item")


@dataclass(frozen=True)
class LoaderConfig:
    """How clips are ordered, read and coloured. Raises ConfigError for values that cannot work."""

    batch_size: int
    """Clips of one rank in one step."""
    shuffle: bool = True
    """A new order each epoch; else that of the dataset, as for validation."""
    seed: int = 0
    """Of order and augmentation."""
    rank: int = 0
    """Which of the ranks this is."""
    world_size: int = 1
    """Ranks that share the clips."""
    workers: int = 0
    """Processes that read ahead; 0: read in this one, which is fastest while the cache is in memory."""
    device: str = "cpu"
    """Where batches are put, and their colours changed: cpu, cuda, cuda:N."""
    photometric: Photometric | None = None
    """Augmentation; None: none."""
    normalisation: Normalisation | None = None
    """None: patches stay uint8, which the encoder normalises itself."""

    def __post_init__(self) -> None:
        """Check what `ClipOrder` does not."""
        if self.workers < 0:
            raise ConfigError(f"workers ({self.workers}) must be >= 0")
        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            kind = "?"
        if kind not in ("cpu", "cuda"):
            raise ConfigError(f"device ({quoted(self.device)}) must be one of cpu, cuda, cuda:N")


class LoaderKeywords(TypedDict, total=False):
    """The fields of `LoaderConfig` but for `batch_size`, as functions take them; a test holds one against the other."""

    shuffle: bool
    seed: int
    rank: int
    world_size: int
    workers: int
    device: str
    photometric: Photometric | None
    normalisation: Normalisation | None


class SparseLoader(ABC):
    """Batches of a dataset: `iter` gives those from the current position to the end of the epoch.

    The position moves with every batch that is handed out, so that a loop that was left goes on where it was, and the
    next loop after a whole epoch is the next epoch.

    dataset: with its classes; order: with its position.
    """

    def __init__(self, dataset: SparseDataset, config: LoaderConfig) -> None:
        """Use `make_loader`."""
        self.dataset, self.config = dataset, config
        self.order = ClipOrder(
            len(dataset), config.batch_size, config.seed, config.shuffle, config.rank, config.world_size
        )

    def __repr__(self) -> str:
        config, order = self.config, self.order
        done = order.done // (config.batch_size * config.world_size)
        return (
            f"{type(self).__name__}: {len(self)} batches of {config.batch_size}; at {done} of epoch {self.epoch}\n"
            f"  {'shuffled' if config.shuffle else 'in order'}, seed {config.seed}; rank {config.rank} of "
            f"{config.world_size}; {config.workers} workers; on {config.device}\n"
            f"  {textwrap.indent(repr(self.dataset), '  ').lstrip()}"
        )

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, from 0."""
        return self.order.epoch

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on all ranks."""
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        for batch in errors_in_one_line(self._batches()):
            self.order.advance()
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.order.epoch, self.order.done = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch is, and of which clips: plain JSON, the same on all ranks."""
        return {**self.order.state_dict(), "clip_ids": self.dataset.digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where another loader was, of as many ranks, clips a batch or workers as may be.

        Raises ConfigError where its clips or seed were others.
        """
        if state["clip_ids"] != self.dataset.digest:
            raise ConfigError(
                f"clip_ids ({self.dataset.digest}) must be the saved state's ({state['clip_ids']}): these are other "
                "clips; resume on the same split, or start afresh"
            )
        self.order.load_state_dict(state)

    @abstractmethod
    def _batches(self) -> Iterator[Batch]:
        """From `order`'s position to the end of its epoch, on the device, coloured."""


class TorchLoader(SparseLoader):
    """Reads in this process, or in worker processes through torch's DataLoader."""

    def __init__(self, dataset: SparseDataset, config: LoaderConfig) -> None:
        """Use `make_loader`."""
        super().__init__(dataset, config)
        self._cuda = torch.device(config.device).type == "cuda"
        self._ahead: DataLoader[Batch] | None = None
        if config.workers:
            self._ahead = DataLoader(
                ReadInWorkers(dataset),
                batch_sampler=self.order,
                collate_fn=as_it_is,
                num_workers=config.workers,
                # Forking a process that has threads (those of Arrow, zarr, torch) may deadlock the child.
                multiprocessing_context="spawn",
                persistent_workers=True,
                pin_memory=self._cuda,
            )

    def _batches(self) -> Iterator[Batch]:
        epoch, config = self.order.epoch, self.config
        for read in self._ahead or map(self.dataset.__getitems__, self.order):
            # Out of pinned memory a batch is copied while the device still works at the one before.
            batch = read.pin_memory().to(config.device, non_blocking=True) if self._cuda else read
            change = config.photometric.draw(config.seed, epoch, batch.ids) if config.photometric else None
            yield replace(batch, patches=change_colours(batch.patches, change, config.normalisation))


def make_loader(
    cache: SparseCache,
    batch_size: int,
    clips: Sequence[int | str] | None = None,
    classes: Sequence[str] | None = None,
    where: Condition | None = None,
    **options: Unpack[LoaderKeywords],
) -> TorchLoader:
    """A loader of a cache's clips.

    Args:
        cache: as `codecsieve.open_cache` gives it.
        batch_size: clips of one rank in one step.
        clips: a split, by number or name, see `SparseCache.find`; None: all.
        classes: label names in class order; None: those of the whole cache. See `SparseDataset`.
        where: in place of `clips`, a condition that they meet: SQL such as `split = 'train' and fps > 25`, or a pyarrow
            expression, see `SparseCache.where`.
        options: other fields of `LoaderConfig`.

    Raises:
        ConfigError: the cache stores no pixels, a split is empty, a label has no class, an option is out of range, a
            condition cannot be answered.
        TypeError: an option that `LoaderConfig` does not have, with the one that was probably meant.
    """
    check_names(make_loader, options, LoaderConfig)
    return TorchLoader(SparseDataset(cache, chosen(cache, clips, where), classes), LoaderConfig(batch_size, **options))


def chosen(
    cache: SparseCache, clips: Sequence[int | str] | None, where: Condition | None
) -> Sequence[int | str] | None:
    """The clips of a split, named or told by a condition; None: all. Raises ConfigError where both are given."""
    if where is None:
        return clips
    if clips is not None:
        raise ConfigError("where must be None where clips are given; name the clips, or say which")
    return cache.where(where)


class ReadInWorkers(Dataset[Any]):
    """A data set as torch's DataLoader is to have it, whose worker processes can tell an error of the cache."""

    def __init__(self, dataset: Any) -> None:
        """Take a data set that reads whole batches."""
        self.dataset = dataset

    def __getitems__(self, numbers: Sequence[int]) -> Any:
        """What the data set has there."""
        with as_workers_tell():
            return self.dataset.__getitems__(numbers)


@contextlib.contextmanager
def as_workers_tell() -> Iterator[None]:
    """Raise an error of the cache as one that comes whole out of a worker process; see `errors_in_one_line`.

    torch would make another of its kind, with a traceback for its message, of which a CacheError holds only so much;
    of DALI's, the kind would be lost.
    """
    try:
        yield
    except CacheError as error:
        raise RuntimeError(f"{CacheError.__name__}: {error}") from error


def errors_in_one_line(batches: Iterable[Item]) -> Iterator[Item]:
    """The same batches; an error of the cache in the line that it was, whichever worker process met it."""
    try:
        yield from batches
    except Exception as error:
        # torch and DALI put a worker's traceback into the message; its last line is that of `as_workers_tell`.
        _, found, line = str(error).rstrip().rpartition(f"{CacheError.__name__}: ")
        if not found:
            raise
        raise CacheError(line) from error


def as_it_is(batch: Any) -> Any:
    """What a DataLoader collates whose data set makes whole batches."""
    return batch
