"""One clip, or several, as a cache keeps them: plain arrays, what is said of each, and how they are shown.

Where they come from is left to `reader`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from codecsieve.errors import ConfigError
from codecsieve.mosaic import Pictured, draw_kept, html_of
from codecsieve.text import first_few, quoted, shortened

if TYPE_CHECKING:
    from PIL import Image

NO_PIXELS = "{} holds no pixels (store 'indices'); make one with precompute --store patches"
_DRAWN = 4  # clips of a batch that a notebook shows


@dataclass(frozen=True, eq=False, repr=False)
class SparseClip(Pictured):
    """One clip as it is kept.

    positions: uint16 [K, 3], (t, h, w); scores: int32 [K]; frame_ids: int32 [T], the clip's frame number in each slot;
    uri: its video's path; metadata: by name, what further columns of a manifest say of it; pixels: `patches`, or None
    in a cache of indices; grid: patches on each side of the model's square, 0 where that is not known.
    """

    pixels: np.ndarray | None
    positions: np.ndarray
    scores: np.ndarray
    frame_ids: np.ndarray
    label: str | None
    clip_id: str
    uri: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    grid: int = 0

    @property
    def patches(self) -> np.ndarray:
        """uint8 [K, 3, P, P], RGB. Raises ConfigError where the cache stores none."""
        if self.pixels is None:
            raise ConfigError(NO_PIXELS.format(f"the cache of clip {shortened(self.clip_id)}"))
        return self.pixels

    def __repr__(self) -> str:
        said = ", ".join(f"{shortened(name, 40)} {quoted(value, 40)}" for name, value in self.metadata.items())
        return "\n".join(
            [
                f"SparseClip {shortened(self.clip_id)}, {_labelled(self.label)}, of {shortened(self.uri) or 'no file'}",
                *_arrays_of(self.pixels, self.positions),
                f"  scores     int32 {list(self.scores.shape)}; frame_ids int32 {list(self.frame_ids.shape)}",
                f"  metadata   {shortened(said) or 'none'}",
            ]
        )

    def show(self, slots: int = 8) -> Image.Image:
        """The picture of the patches kept, see `Pictured.show`; without pixels they are plain squares."""
        return draw_kept(self.pixels, self.positions, self.grid, slots)


@dataclass(frozen=True, eq=False, repr=False)
class SparseBatch:
    """B clips: the arrays of `SparseClip` with a first axis of B, and a label, an id, ... for each."""

    pixels: np.ndarray | None
    positions: np.ndarray
    scores: np.ndarray
    frame_ids: np.ndarray
    labels: tuple[str | None, ...]
    clip_ids: tuple[str, ...]
    uris: tuple[str, ...] = ()
    metadata: tuple[dict[str, Any], ...] = ()
    grid: int = 0

    @property
    def patches(self) -> np.ndarray:
        """uint8 [B, K, 3, P, P], RGB. Raises ConfigError where the cache stores none."""
        if self.pixels is None:
            raise ConfigError(NO_PIXELS.format("the cache of these clips"))
        return self.pixels

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"SparseBatch of {len(self)} clips",
                *_arrays_of(self.pixels, self.positions),
                f"  labels     {first_few(self.labels)}",
                f"  clip_ids   {first_few(self.clip_ids)}",
            ]
        )

    def _repr_html_(self) -> str:
        return html_of(repr(self), self.pictures(_DRAWN))

    def pictures(self, most: int | None = None) -> Iterator[tuple[str, Image.Image]]:
        """Of each clip, or the first so many: its file, label and id, and its picture."""
        for number, clip_id in enumerate(self.clip_ids[:most]):
            file = os.path.basename(self.uris[number]) if self.uris else ""
            pixels = None if self.pixels is None else self.pixels[number]
            picture = draw_kept(pixels, self.positions[number], self.grid)
            yield f"{shortened(file, 60)}, {_labelled(self.labels[number])}, {shortened(clip_id, 60)}", picture


def _labelled(label: str | None) -> str:
    return "without a label" if label is None else f"label {quoted(label, 40)}"


def _arrays_of(pixels: np.ndarray | None, positions: np.ndarray) -> tuple[str, str]:
    shape = "none, positions only" if pixels is None else f"uint8 {list(pixels.shape)}"
    return f"  patches    {shape}", f"  positions  uint16 {list(positions.shape)}: slot, row, column"
