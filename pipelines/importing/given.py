"""What an import has to do: sources of clips whose patches were chosen by others, and what becomes of each.

How a source is read is left to `folders` and `indexed`, who does the jobs to `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from codecsieve.cache import ClipArrays, IndexRecord
from codecsieve.errors import CacheError
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.text import one_line

Outcome = tuple[IndexRecord, ClipArrays | None]
"""What became of a clip; without arrays where it failed."""


@dataclass(frozen=True)
class Shape:
    """What all clips of an import have alike.

    num_frames: slots; k_keep: patches a clip; patch: side in pixels; grid: patches on each side of the square; laid:
    options, not at their defaults, that tell how pictures are brought into that, and how patches stand, see
    `meta.LAID`; places: what the first of a position's three numbers counts, where that is not slots.
    """

    num_frames: int
    k_keep: int
    patch: int
    grid: int
    laid: Mapping[str, Any] = field(default_factory=dict)
    places: int | None = None

    def positions(self, indices: np.ndarray) -> np.ndarray:
        """Slot, row, column of indices: uint16 [K, 3]."""
        axes = np.unravel_index(indices, (self.places or self.num_frames, self.grid, self.grid))
        return np.stack(axes, axis=1).astype(np.uint16)


@dataclass(frozen=True)
class Job:
    """One clip to take over. known: fields of its row that are known beforehand; error: why it cannot be, if so.

    given: what whoever takes it needs besides: a video's indices, or a folder.
    """

    known: Mapping[str, Any]
    given: Any = None
    error: str = ""

    def failed(self, error: str) -> Outcome:
        """What becomes of it where it cannot be taken over."""
        return IndexRecord(status="failed", error=one_line(error), **self.known), None


class Source(Protocol):
    """What is to be imported.

    ids: of its clips, in order; shape: theirs; about: what the cache's config is to say of where they are from; take:
    does a job, in a worker process, and raises CodecsieveError where that cannot be done; requests: by id, videos that
    were asked for, with labels and further columns.
    """

    ids: Sequence[str]
    shape: Shape
    about: Mapping[str, Any]
    take: Callable[[Job], Outcome]
    requests: Mapping[str, ClipRequest]

    def job(self, clip_id: str) -> Job:
        """What to do for a clip; where nothing can be done, why."""


def checked(values: object, patches: int, what: str, k_keep: int | None = None) -> np.ndarray:
    """A clip's indices as int64 [K].

    patches: of a clip, kept or not; what: whose they are, for messages; k_keep: how many it must be. Raises CacheError
    where they are no such indices, or not as many.
    """
    if isinstance(values, list) and all(type(value) is int and -1 < value < patches for value in values):
        values = np.array(values, np.int64)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iu":
        raise CacheError(f"{what} is no array of indices")
    indices = values.reshape(-1) if values.ndim == 2 and 1 in values.shape else values
    if indices.ndim != 1 or not len(indices):
        raise CacheError(f"{what} is {list(values.shape)}, not one index a patch")
    least, most = int(indices.min()), int(indices.max())
    if least < 0 or most >= patches:
        raise CacheError(
            f"{what} has indices from {least} to {most}, of {patches} patches a clip; say --num-frames, --input-size "
            "and --patch-size as they were"
        )
    if len(indices) > 1 and not indices.any():
        raise CacheError(f"{what} is all zeros, which is what others write of a video that they could not read")
    if k_keep is not None and len(indices) != k_keep:
        raise CacheError(f"{what} keeps {len(indices)} patches, the first clip {k_keep}; a cache has as many of each")
    return indices.astype(np.int64)
