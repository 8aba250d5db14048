"""Single pictures as what a head is trained on: cropped at random or in the middle, cut into patches.

A picture comes from a tar, or from a clip of one slot in a cache, whose patches are put together again. What is done to
it is a function of seed, step and row, so that a training that goes on sees what it would have seen.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codecsieve.cache import open_cache
from codecsieve.encoder.draws import draw
from codecsieve.errors import ConfigError
from codecsieve.machine import available_cores
from codecsieve.pipelines.loading.dataset import SparseDataset
from codecsieve.text import one_line, shortened

from .bank import BankLabels, concept_labels, file_labels
from .config import HeadConfig
from .inputs import PICTURE, Group
from .tars import Sample, samples_of, tar_paths

AREA, ASPECT = (0.7, 1.0), (0.8, 1.25)
"""Of a crop: its part of the picture, and width by height (arXiv 2602.08683)."""
_CROP_DRAWS = 6  # a stream of draws, apart from those of others
_MOST_PIXELS = 100_000_000


Reader = Callable[[Sequence[int], ThreadPoolExecutor], Iterable[np.ndarray]]


@dataclass(frozen=True)
class PictureSource:
    """The pictures of a head. ids: of N of them; concepts: int64 [N, L]; read: some, by number, uint8 [H, W, 3] each,
    in the threads of a pool.
    """

    config: HeadConfig
    patch_size: int
    seed: int
    ids: Sequence[str]
    concepts: Tensor
    read: Reader

    def groups(self, numbers: Sequence[int], rows: Sequence[int], step: int) -> list[Group]:
        """Some of them, as rows of a step get them: one group."""
        drawn = draw(self.seed, _CROP_DRAWS, step, torch.tensor(rows)[:, None], torch.arange(5)).double() / 2**63
        act = functools.partial(augmented, size=self.config.size, augment=self.config.augment)
        with ThreadPoolExecutor(available_cores(), "pictures") as pool:
            squares = list(
                pool.map(lambda picture, one: act(picture, drawn=one), self.read(numbers, pool), drawn.tolist())
            )
        patches, positions = cut(np.stack(squares), self.patch_size)
        return [Group(PICTURE, patches, positions, torch.arange(len(numbers)))]


def picture_source(config: HeadConfig, patch_size: int, seed: int) -> tuple[PictureSource, int]:
    """A head's pictures that have labels, and the classes of its bank.

    Raises ConfigError or CacheError where there are none, a clip is not one whole frame, or files cannot be read.
    """
    if config.size % patch_size:
        raise ConfigError(f"head {config.name}: size ({config.size}) must be a multiple of patches of {patch_size}")
    bank = labels_of(config)
    places = {one: place for place, one in enumerate(bank.ids)}
    ids, read = _of_cache(config, places) if config.cache else _of_tars(config, places)
    if not ids:
        raise ConfigError(
            f"head {config.name}: {config.cache or config.tars} has no picture that {config.concepts} knows"
        )
    return PictureSource(config, patch_size, seed, ids, _rows(bank, places, ids), read), bank.classes


def labels_of(config: HeadConfig) -> BankLabels:
    """The labels of a head's pictures. Raises ConfigError or CacheError."""
    if config.is_file:
        return file_labels(Path(config.concepts), config.classes, config.labels)
    return concept_labels(config.concepts)


def augmented(picture: np.ndarray, size: int, augment: str, drawn: Sequence[float]) -> np.ndarray:
    """A square of a picture: uint8 [size, size, 3].

    augment: `crop`: of AREA and ASPECT, at random, mirrored every other time; `none`: the middle, as much as is square.
    drawn: five numbers 0..1, which make it: area, aspect, place across, place down, mirrored.
    """
    height, width = picture.shape[:2]
    if augment == "crop":
        area = (AREA[0] + (AREA[1] - AREA[0]) * drawn[0]) * width * height
        low, high = (math.log(bound) for bound in ASPECT)
        aspect = math.exp(low + (high - low) * drawn[1])
        wide, tall = min(width, math.sqrt(area * aspect)), min(height, math.sqrt(area / aspect))
        left, top = (width - wide) * drawn[2], (height - tall) * drawn[3]
    else:
        wide = tall = min(width, height)
        left, top = (width - wide) / 2, (height - tall) / 2
    box = (left, top, left + wide, top + tall)
    made = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box))
    return np.ascontiguousarray(made[:, ::-1]) if augment == "crop" and drawn[4] < 0.5 else made


def cut(pictures: np.ndarray, side: int) -> tuple[Tensor, Tensor]:
    """Pictures uint8 [B, S, S, 3] as patches uint8 [B, K, 3, P, P], row by row, and positions int64 [B, K, 3]."""
    count, cells = len(pictures), pictures.shape[1] // side
    grid = torch.from_numpy(pictures).view(count, cells, side, cells, side, 3)
    patches = grid.permute(0, 1, 3, 5, 2, 4).reshape(count, cells * cells, 3, side, side)
    rows, columns = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    positions = torch.stack([torch.zeros_like(rows), rows, columns], -1).view(1, -1, 3)
    return patches.contiguous(), positions.expand(count, -1, -1)


def joined(patches: Tensor, positions: Tensor) -> np.ndarray | None:
    """The other way round, of one clip [K, 3, P, P] and [K, 3]: uint8 [H, W, 3]; None where it is no whole frame."""
    rows, columns = (int(positions[:, axis].max()) + 1 for axis in (1, 2))
    places = positions[:, 1] * columns + positions[:, 2]
    if len(patches) != rows * columns or positions[:, 0].any() or len(torch.unique(places)) < len(places):
        return None
    side = patches.shape[-1]
    grid = patches[places.argsort()].view(rows, columns, 3, side, side).permute(0, 3, 1, 4, 2)
    return np.ascontiguousarray(grid.reshape(rows * side, columns * side, 3).numpy())


def _of_cache(config: HeadConfig, known: dict[str, int]) -> tuple[list[str], Reader]:
    cache = open_cache(config.cache)
    ids = [clip_id for clip_id in cache.clip_ids if clip_id in known]
    dataset = SparseDataset(cache, ids) if ids else None

    def read(numbers: Sequence[int], _: ThreadPoolExecutor) -> Iterator[np.ndarray]:
        assert dataset is not None
        clips = dataset.__getitems__(numbers)  # in one read
        for clip_id, patches, positions in zip(clips.ids, clips.patches, clips.positions, strict=True):
            picture = joined(patches, positions)
            if picture is None:
                raise ConfigError(
                    f"head {config.name}: clip {shortened(clip_id)} of cache {config.cache} must be one whole frame; "
                    "make it with --num-frames 1 --policy sampling and a --k-keep of all patches"
                )
            yield picture

    return ids, read


def _of_tars(config: HeadConfig, known: dict[str, int]) -> tuple[list[str], Reader]:
    samples = [sample for sample in samples_of(tar_paths(config.tars)) if sample.key in known]
    return [sample.key for sample in samples], lambda numbers, pool: pool.map(decoded, (samples[n] for n in numbers))


def decoded(sample: Sample) -> np.ndarray:
    """A picture's pixels: uint8 [H, W, 3]. Raises ConfigError where it is none, or larger than any need be."""
    try:
        with Image.open(io.BytesIO(sample.read()), formats=("JPEG", "PNG", "WEBP")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = shortened(one_line(str(error)))
        raise ConfigError(f"{sample.tar}: {shortened(sample.key)} cannot be shown ({reason}); leave it out of the "
                          "concepts") from error  # fmt: skip


def _rows(bank: BankLabels, places: dict[str, int], ids: Sequence[str]) -> Tensor:
    return torch.from_numpy(bank.labels[[places[one] for one in ids]])
