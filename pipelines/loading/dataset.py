"""A cache as a torch dataset: clips by number, a batch at a time, labels as class indices.

Whole batches are asked for (`__getitems__`), because one read of 16 clips is quicker than 16 reads that are stacked
afterwards. Which clips make a batch is left to `order`, in which processes they are read to `loader`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from codecsieve.cache import SparseCache, SparseClip
from codecsieve.errors import CacheError, ConfigError
from codecsieve.mosaic import draw_kept, html_of
from codecsieve.pipelines.loading.order import PADDING
from codecsieve.text import first_few, quoted, shortened

_log = logging.getLogger(__name__)

NO_LABEL = -100
"""The label of padding and of clips without one: what torch's losses leave out."""
_DRAWN = 4  # clips of a batch that a notebook shows


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Batch(Mapping[str, Any]):
    """B clips: a mapping of the names below, which are attributes, too.

    patches: uint8 [B, K, 3, P, P], RGB, or float32 where a loader normalises; positions: int32 [B, K, 3], (t, h, w);
    labels: int64 [B], class indices; real: bool [B], False for padding, which is black, at position 0, with label
    `NO_LABEL` and id "": to be left out of losses and metrics; ids: of the clips; metadata: of each what further
    columns say of it, see `SparseCache.metadata_of`.

    Being a mapping it goes through torch's pinning, transformers' Trainer, accelerate and Lightning as a dict does, and
    stays a `Batch`: these make another of its kind, of one mapping. So `len` counts names; clips are `len(batch.ids)`.

    A rank's last batch may be all padding, of which a mean is nan: sum the loss over a rank's clips, and divide by the
    real clips of all ranks.
    """

    patches: Tensor
    positions: Tensor
    labels: Tensor
    real: Tensor
    ids: tuple[str, ...]
    metadata: tuple[dict[str, Any], ...] = ()

    def __init__(self, fields: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Take all fields, in one mapping or by name. Raises TypeError where one is missing, or there is another."""
        values = {"metadata": (), **(fields or {}), **named}
        wrong = values.keys() ^ self.__dataclass_fields__.keys()
        if wrong:
            names = ", ".join(self.__dataclass_fields__)
            raise TypeError(f"a batch has {names}; missing, or not one of these: {', '.join(sorted(wrong))}")
        for name in self.__dataclass_fields__:
            value = values[name]
            object.__setattr__(self, name, value if isinstance(value, Tensor) else tuple(value))  # pinning makes lists

    def __getitem__(self, name: str) -> Any:
        if name not in vars(self):  # a number: of torch's own collating, which takes a batch for a list of clips
            names = ", ".join(vars(self))
            raise KeyError(f"a batch has no {name!r}, it has {names}; give a DataLoader collate_fn=codecsieve.collate")
        return vars(self)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))

    # A mapping's comparison would compare tensors, which is no bool.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        padding = len(self.ids) - int(self.real.sum())
        said = [f"Batch of {len(self.ids)} clips" + (f", {padding} of them padding" if padding else "")]
        for name in ("patches", "positions"):
            tensor = self[name]
            said.append(f"  {name:9}  {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}, {tensor.device}")
        said.append(f"  labels     {first_few(self.labels.tolist())}")
        said.append(f"  ids        {first_few(self.ids)}")
        return "\n".join(said)

    def _repr_html_(self) -> str:
        patches, positions = self.patches[:_DRAWN].cpu().numpy(), self.positions[:_DRAWN].cpu().numpy()
        grid = int(positions[..., 1:].max(initial=0)) + 1
        captions = [f"{name or 'padding'}, label {label}" for name, label in zip(self.ids, self.labels, strict=True)]
        drawn = [draw_kept(*clip, grid) for clip in zip(patches, positions, strict=True)]
        return html_of(repr(self), zip(captions, drawn, strict=False))

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the encoder takes: `model(**batch.inputs)`."""
        return {"patches": self.patches, "positions": self.positions}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in memory that a GPU can fetch by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return Batch({name: function(value) if isinstance(value, Tensor) else value for name, value in self.items()})


def collate(batches: Batch | Sequence[Batch]) -> Batch:
    """What a torch DataLoader of a `SparseDataset` is given as `collate_fn`: one batch.

    DataLoader has a `SparseDataset`, and torch's Subset of one, read a whole batch at once, which comes as it is; of
    other data sets made of it, such as ConcatDataset, it gets clips one by one, and these are joined here.

    Raises ConfigError where clips have different shapes: of caches made with other K or patch size.
    """
    if isinstance(batches, Batch):
        return batches
    shapes = {tuple(batch.patches.shape[1:]) for batch in batches}
    if len(shapes) > 1:
        said = " and ".join(str(list(shape)) for shape in sorted(shapes))
        raise ConfigError(
            f"patches of one batch must have one shape, these have {said}; join caches made with one k_keep and "
            "patch_size, or pad clips with codecsieve.encoder.pad_clips"
        )
    fields = {name: [batch[name] for batch in batches] for name in batches[0]}
    return Batch(
        {
            name: torch.cat(values) if isinstance(values[0], Tensor) else tuple(itertools.chain(*values))
            for name, values in fields.items()
        }
    )


class SparseDataset(Dataset[Batch]):
    """The clips of a cache that are in, or some of them, by number 0..len-1.

    Pickled for a worker process it carries the cache's place and index; the worker opens its files itself, and has
    the same clips in the same order even while precompute goes on.

    classes: the labels' names in class order; labels: int64 [N], of all clips; ids: of all clips; digest: of these.
    """

    def __init__(
        self, cache: SparseCache, clips: Sequence[int | str] | None = None, classes: Sequence[str] | None = None
    ) -> None:
        """Take clips of a cache.

        Args:
            cache: as `codecsieve.open_cache` gives it.
            clips: a split: which clips, by number in the cache or as they are named there, in this order; None: all.
            classes: label names in class order; None: those of the whole cache, see `class_names`, so that all splits
                of it number them alike. Where no clip has a label and no classes are given, all are `NO_LABEL`.

        Raises:
            ConfigError: the cache stores no pixels, there are no clips, or a label is not one of the classes.
        """
        if not isinstance(cache, SparseCache):
            raise ConfigError(f"cache ({quoted(cache)}) must be what codecsieve.open_cache gives")
        cache.check_pixels()
        if clips is None:
            _warn_of_missing(cache)
        self.cache = cache
        self._numbers = list(range(len(cache))) if clips is None else _numbers(cache, clips)
        if not self._numbers:
            empty = "it has no clip that is ok" if clips is None else "the split names no clip"
            raise ConfigError(f"cache {cache.location} gives 0 clips, must give > 0: {empty}; check the input videos")
        self.ids = tuple(cache.clip_ids[number] for number in self._numbers)
        labels = [cache.labels[number] for number in self._numbers]
        if classes is not None and not classes:
            raise ConfigError("classes (0) must be > 0; leave them out to take the labels that occur")
        self.classes = class_names(cache.labels) if classes is None else tuple(classes)
        self.labels = torch.tensor(self._class_indices(labels))
        self.digest = hashlib.blake2b("\n".join(self.ids).encode(errors="surrogatepass"), digest_size=8).hexdigest()

    def __repr__(self) -> str:
        classes = f"{len(self.classes)} classes: {first_few(self.classes)}"
        return (
            f"SparseDataset of {len(self)} clips of {self.cache.location}\n  {classes if self.classes else 'no labels'}"
        )

    def __len__(self) -> int:
        return len(self._numbers)

    def clip(self, number: int) -> SparseClip:
        """One clip as the cache has it."""
        return self.cache[self._numbers[number]]

    def __getitem__(self, number: int) -> Batch:
        """One clip as a batch; IndexError outside 0..len-1."""
        if not 0 <= number < len(self):
            raise IndexError(f"clip {number} must be in 0..{len(self) - 1}")
        return self.__getitems__([number])

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        """Clips as one batch, in this order; `PADDING` only after them.

        Raises CacheError where bytes are missing, or, of a cache opened with `verify`, damaged.
        """
        clips = [number for number in numbers if number != PADDING]
        read = self.cache.read([self._numbers[number] for number in clips])
        missing = len(numbers) - len(clips)
        # numpy's astype: torch's would start threads for it, which cost more than reading where cores are busy.
        patches, positions = _padded(read.patches, missing), _padded(read.positions.astype(np.int32), missing)
        return self.batch(numbers, torch.from_numpy(patches), torch.from_numpy(positions))

    def batch(self, numbers: Sequence[int], patches: Tensor, positions: Tensor) -> Batch:
        """The batch of these clips, from what has been read of them."""
        real = torch.tensor([number != PADDING for number in numbers])
        return Batch(
            patches=patches,
            positions=positions,
            labels=self.labels[list(numbers)].masked_fill(~real, NO_LABEL),
            real=real,
            ids=tuple("" if number == PADDING else self.ids[number] for number in numbers),
            metadata=tuple(
                {} if number == PADDING else self.cache.metadata_of(self._numbers[number]) for number in numbers
            ),
        )

    def _class_indices(self, labels: Sequence[str | None]) -> list[int]:
        if not self.classes:
            return [NO_LABEL] * len(labels)
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes ({len(self.classes)}) must be distinct: one of them comes twice")
        indices = {name: index for index, name in enumerate(self.classes)}
        for clip_id, label in zip(self.ids, labels, strict=True):
            if label not in indices:
                said = "has no label" if label is None else f"has label {quoted(label)}"
                raise ConfigError(
                    f"clip {shortened(clip_id)} of cache {self.cache.location} {said}, must have one of the "
                    f"{len(indices)} classes {quoted(self.classes[0], 80)}..{quoted(self.classes[-1], 80)}; "
                    "name the class, or leave the clip out"
                )
        return [indices[label] for label in labels if label is not None]


def _warn_of_missing(cache: SparseCache) -> None:
    """Tell of clips that were planned and that the index does not list, so that nobody trains without them unawares."""
    try:
        missing = cache.planned - len(cache.index)
    except CacheError as error:
        _log.warning("%s", error)  # what is there can be read all the same
        return
    if missing > 0:
        _log.warning("cache %s lacks %d of the clips planned; run precompute again", cache.location, missing)


def class_names(labels: Iterable[str | None]) -> tuple[str, ...]:
    """The classes of labels, in order: whole numbers by their value, then names."""
    return tuple(sorted({label for label in labels if label is not None}, key=_natural))


def _natural(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if label.isascii() and label.isdigit() else (1, 0, label)


def _numbers(cache: SparseCache, clips: Sequence[int | str]) -> list[int]:
    by_id = {clip_id: number for number, clip_id in enumerate(cache.clip_ids)}
    numbers = []
    for clip in [clips] if isinstance(clips, str) else clips:
        if isinstance(clip, str) and clip not in by_id:
            with contextlib.suppress(KeyError):
                clip = cache.find(clip)
        number = by_id.get(clip, -1) if isinstance(clip, str) else int(clip)
        if not 0 <= number < len(cache):
            raise ConfigError(
                f"clip ({quoted(clip)}) must be an id or a number (0..{len(cache) - 1}) in cache {cache.location}; "
                "leave it out, or run precompute for it"
            )
        numbers.append(number)
    return numbers


def _padded(array: np.ndarray, rows: int) -> np.ndarray:
    """An array with rows of zeros after it."""
    return np.concatenate([array, np.zeros((rows, *array.shape[1:]), array.dtype)]) if rows else array
