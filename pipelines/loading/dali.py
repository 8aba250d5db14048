"""The loader on NVIDIA DALI: what `loader` gives, with reading, colours and normalisation in DALI's pipeline.

Patches come out of the cache (DALI does not decode H.264 on a CPU), which each worker process opens itself; on a GPU
their colours are changed there, without one on the CPU. Order, position and labels are `loader`'s.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Unpack

import numpy as np
import torch

from codecsieve.cache import Condition, SparseCache
from codecsieve.errors import ConfigError
from codecsieve.machine import available_cores
from codecsieve.options import check_names
from codecsieve.pipelines.loading.augment import GREY, Normalisation
from codecsieve.pipelines.loading.dataset import Batch, SparseDataset
from codecsieve.pipelines.loading.loader import LoaderConfig, LoaderKeywords, SparseLoader, as_workers_tell, chosen
from codecsieve.pipelines.loading.order import PADDING, ClipOrder

_RAW = Normalisation(mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255))


@dataclass(frozen=True)
class ClipSource:
    """What DALI's worker processes call for each clip. order: at the pipeline's first batch."""

    dataset: SparseDataset
    config: LoaderConfig
    order: ClipOrder

    def __call__(self, sample: Any) -> tuple[np.ndarray, ...]:
        """One clip, as DALI's `SampleInfo` counts epochs and batches: patches uint8 [K, 3, P, P], positions int32
        [K, 3] and, where there is augmentation, the matrix [3, 3] and shift [] of `ColourChange`.
        """
        order = self.order
        epoch = order.epoch + sample.epoch_idx
        first = order.done if sample.epoch_idx == 0 else 0
        numbers = order.batch(epoch, first + sample.iteration * order.batch_size * order.world_size)
        if not numbers:
            raise StopIteration
        # DALI drops a batch that is not full: the last one is filled up here and cut by the loader.
        number = numbers[sample.idx_in_batch] if sample.idx_in_batch < len(numbers) else PADDING
        patches, positions = self._read(number)
        if self.config.photometric is None:
            return patches, positions
        clip_id = "" if number == PADDING else self.dataset.ids[number]
        change = self.config.photometric.draw(self.config.seed, epoch, [clip_id])
        return patches, positions, change.matrix[0], change.shift.reshape(())

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number == PADDING:
            layout = self.dataset.cache.layout
            k, p = layout.k_keep, layout.patch
            return np.zeros((k, 3, p, p), np.uint8), np.zeros((k, 3), np.int32)
        with as_workers_tell():
            clip = self.dataset.clip(number)
        return clip.patches, clip.positions.astype(np.int32)


class DaliLoader(SparseLoader):
    """Reads through a DALI pipeline, which reads ahead over the end of an epoch."""

    def __init__(self, dataset: SparseDataset, config: LoaderConfig) -> None:
        """Use `make_dali_loader`."""
        super().__init__(dataset, config)
        _import_dali()
        self._pipeline: Any = None
        self._position: tuple[int, int] | None = None  # what the pipeline gives next

    def _batches(self) -> Iterator[Batch]:
        if self._position != (self.order.epoch, self.order.done):
            self._pipeline = None  # ends its workers before others are started
            self._pipeline = _make_pipeline(ClipSource(self.dataset, self.config, copy.copy(self.order)))
        for numbers in self.order:
            self._position = None
            patches, positions = (torch.from_dlpack(output.as_tensor()) for output in self._pipeline.run())
            following = self.order.following()
            if following[0] > self.order.epoch:
                self._begin_epoch()
            self._position = following
            rows = slice(len(numbers))
            yield self.dataset.batch(numbers, patches[rows], positions[rows]).to(self.config.device)

    def _begin_epoch(self) -> None:
        try:
            self._pipeline.run()
        except StopIteration:
            self._pipeline.reset()
        else:
            raise AssertionError("the pipeline must end where the order does")


def make_dali_loader(
    cache: SparseCache,
    batch_size: int,
    clips: Sequence[int | str] | None = None,
    classes: Sequence[str] | None = None,
    where: Condition | None = None,
    **options: Unpack[LoaderKeywords],
) -> DaliLoader:
    """`make_loader` on DALI: same arguments, same batches (float32 patches to rounding).

    Raises ConfigError, and TypeError, as `make_loader` does, and where DALI is not installed.
    """
    check_names(make_dali_loader, options, LoaderConfig)
    return DaliLoader(SparseDataset(cache, chosen(cache, clips, where), classes), LoaderConfig(batch_size, **options))


def _make_pipeline(source: ClipSource) -> Any:
    """A pipeline of patches [B, K, 3, P, P], coloured as the config says, and positions int32 [B, K, 3]."""
    dali, fn = _import_dali()
    config, device = source.config, torch.device(source.config.device)
    pipeline = dali.Pipeline(
        batch_size=config.batch_size,
        num_threads=available_cores(),
        device_id=(device.index or 0) if device.type == "cuda" else None,
        py_num_workers=max(1, config.workers),
        py_start_method="spawn",
        exec_dynamic=True,  # batches stay valid for as long as torch holds them
    )
    with pipeline:
        patches, positions, *change = fn.external_source(
            source=source,
            num_outputs=2 if config.photometric is None else 4,
            layout=["FCHW", "", "", ""][: 2 if config.photometric is None else 4],
            batch=False,
            parallel=config.workers > 0,
        )
        grey = _mean_grey(patches) if change else None
        if device.type == "cuda":
            patches = patches.gpu()
        if change:
            matrix, shift = change
            # Colours as the last axis are points, which an affine map of their space changes.
            patches = fn.transpose(patches, perm=[0, 2, 3, 1])
            patches = fn.coord_transform(patches, M=matrix, T=shift * grey)
            patches = dali.math.clamp(patches, 0.0, 255.0)
        if change or config.normalisation:
            patches = _normalise(patches, config.normalisation)
        pipeline.set_outputs(patches, positions)
    pipeline.build()
    return pipeline


def _mean_grey(patches: Any) -> Any:
    dali, fn = _import_dali()
    means = fn.reductions.mean(patches, axis_names="FHW")
    return fn.reductions.sum(means * dali.types.Constant(list(GREY)), axes=[0])


def _normalise(patches: Any, normalisation: Normalisation | None) -> Any:
    """Channels before rows again, normalised float32, or rounded uint8 where there is no normalisation."""
    dali, fn = _import_dali()
    scale = normalisation or _RAW
    return fn.crop_mirror_normalize(
        patches,
        mean=[255 * value for value in scale.mean],
        std=[255 * value for value in scale.std],
        dtype=dali.types.FLOAT if normalisation else dali.types.UINT8,
        output_layout="FCHW",
    )


def _import_dali() -> tuple[Any, Any]:
    try:
        return import_module("nvidia.dali"), import_module("nvidia.dali.fn")
    except ImportError as error:
        raise ConfigError(
            "the DALI loader needs DALI, which is not installed; pip install 'codecsieve[dali]'"
        ) from error
