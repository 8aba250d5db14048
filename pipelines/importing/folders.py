"""Folders with a clip's positions, and pictures of its patches: LLaVA-style `assets`, ours or others', and `sample_*`.

    positions_thw.npy, or visible_indices.npy    which patches, in the order in which they lie on the pictures
    frame_ids.npy                                the frame of each slot
    meta.json                                    see `meta`
    *_000.png, ... or .jpg                       pictures of 36 x 36 patches, row by row, where pixels are wanted

Of ours what was repeated to fill the pictures is left out; others do not say how much that is, and it stays.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codecsieve.cache import ClipArrays, IndexRecord
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.config import GIVEN
from codecsieve.pipelines.exchange.canvases import unpack
from codecsieve.pipelines.exchange.mosaics import FRAMES, IMAGES, INDICES, POSITIONS
from codecsieve.pipelines.exchange.to_assets import ASSETS
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.text import shortened

from .arrays import parse_npy, read_bytes
from .config import ImportOptions
from .given import Job, Outcome, Shape, checked
from .meta import About, read_about

_PICTURES = {".png": "PNG", ".jpg": "JPEG"}
_LARGEST = 4096  # pixels of a picture's side
_LAST_FRAME = 2**31 - 1


def clip_folders(source: Path) -> list[Path]:
    """The folders of clips in an export, or in its `assets`, by name; none where there are none."""
    root = source / ASSETS if (source / ASSETS).is_dir() else source
    names = (POSITIONS, INDICES)
    return sorted(path for path in root.iterdir() if path.is_dir() and any((path / name).exists() for name in names))


@dataclass(frozen=True)
class TakeFolder:
    """Reads a clip's folder in `root`, and, where pixels are wanted, its pictures. shape: what it must have."""

    root: Path
    shape: Shape
    pixels: bool

    def __call__(self, job: Job) -> Outcome:
        """See `Source.take`. Raises CacheError where the folder is not read."""
        name, about = job.given
        indices = read_indices(self.root, name, about, self.shape.k_keep)
        if (about.num_frames, about.grid, about.patch) != (self.shape.num_frames, self.shape.grid, self.shape.patch):
            raise CacheError(
                f"{shortened(name)} has {about.num_frames} slots of {about.grid}x{about.grid} patches of {about.patch} "
                f"px, the first {self.shape.num_frames} of {self.shape.grid}x{self.shape.grid} of {self.shape.patch} px"
            )
        frame_ids = _read_frames(self.root, name, about.num_frames)
        patches = self._patches(name)[: len(indices)] if self.pixels else None
        if patches is not None and len(patches) < len(indices):
            raise CacheError(f"{shortened(name)} has pictures of {len(patches)} patches, and {len(indices)} positions")
        record = IndexRecord(status="ok", distinct_frames=len(np.unique(frame_ids)), signals=GIVEN, **job.known)
        scores = np.zeros(len(indices), np.int32)
        return record, ClipArrays(patches, self.shape.positions(indices), scores, frame_ids)

    def _patches(self, name: str) -> np.ndarray:
        """uint8 [n, 3, P, P]: all patches on a clip's pictures, in their order."""
        for suffix, form in _PICTURES.items():
            paths = sorted((self.root / name).glob(f"*_???{suffix}"))[:IMAGES]
            if paths:
                pictures = [self._picture(f"{name}/{path.name}", form) for path in paths]
                return np.concatenate([unpack(picture[None], self.shape.patch) for picture in pictures])
        raise CacheError(f"{shortened(name)} has no pictures; import it with --store indices")

    def _picture(self, name: str, form: str) -> np.ndarray:
        from PIL import Image

        data = read_bytes(self.root, name)
        try:
            with Image.open(io.BytesIO(data), formats=[form]) as picture:
                if any(side % self.shape.patch or side > _LARGEST for side in picture.size):
                    raise CacheError(f"{shortened(name)} is {picture.size}, not patches of {self.shape.patch} px")
                return np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise CacheError(f"{shortened(name)} is damaged: {error}") from error


class ClipFolders:
    """Folders of clips, see `given.Source`."""

    requests: Mapping[str, ClipRequest] = {}

    def __init__(self, folders: Sequence[Path], options: ImportOptions) -> None:
        """Take the folders, which lie side by side. Raises ConfigError where none is read, or two are of one clip."""
        self._root = folders[0].parent
        self._about: dict[str, tuple[str, About]] = {}
        for path in folders:
            about = read_about(self._root, path)
            if about.id in self._about:
                other = self._about[about.id][0]
                raise ConfigError(
                    f"{shortened(path.name)} and {shortened(other)} are both of clip {shortened(about.id)}; import one"
                )
            self._about[about.id] = path.name, about
        self.ids: Sequence[str] = list(self._about)
        self.shape, first = self._first()
        self.about: Mapping[str, Any] = {"source": "folders", "of": first.config}
        self.take: Callable[[Job], Outcome] = TakeFolder(self._root, self.shape, options.store == "patches")

    def job(self, clip_id: str) -> Job:
        """See `Source`."""
        name, about = self._about[clip_id]
        return Job({"id": clip_id, "uri": about.video, "label": about.label}, (name, about), about.error)

    def _first(self) -> tuple[Shape, About]:
        reason = ""
        for name, about in self._about.values():
            try:
                count = len(read_indices(self._root, name, about))
                return Shape(about.num_frames, count, about.patch, about.grid), about
            except CacheError as error:
                reason = reason or str(error)
        raise ConfigError(f"no folder in {shortened(str(self._root))} is read: {reason}")


def read_indices(root: Path, name: str, about: About, k_keep: int | None = None) -> np.ndarray:
    """The indices of the patches that a folder keeps: int64 [K]. Raises CacheError where they are not read."""
    if about.error:
        raise CacheError(about.error)
    patches, what = about.num_frames * about.grid**2, shortened(name)
    if not (root / name / POSITIONS).exists():
        indices = parse_npy(read_bytes(root, f"{name}/{INDICES}"), f"{what}/{INDICES}")
        return checked(indices[: about.kept], patches, what, k_keep)
    positions = parse_npy(read_bytes(root, f"{name}/{POSITIONS}"), f"{what}/{POSITIONS}")
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise CacheError(f"{what}/{POSITIONS} is {list(positions.shape)}, not slot, row and column of each patch")
    positions = positions[: about.kept].astype(np.int64)
    limits = np.array([about.num_frames, about.grid, about.grid])
    if (positions < 0).any() or (positions >= limits).any():
        raise CacheError(
            f"{what}/{POSITIONS} has places outside of {about.num_frames} slots of {about.grid}x{about.grid}"
        )
    return checked(positions @ np.array([about.grid**2, about.grid, 1]), patches, what, k_keep)


def _read_frames(root: Path, name: str, num_frames: int) -> np.ndarray:
    """The frame of each slot: int32 [T]."""
    frame_ids = parse_npy(read_bytes(root, f"{name}/{FRAMES}"), f"{shortened(name)}/{FRAMES}")
    if frame_ids.shape != (num_frames,) or frame_ids.min() < 0 or frame_ids.max() > _LAST_FRAME:
        raise CacheError(f"{shortened(name)}/{FRAMES} must be the frame of each of {num_frames} slots")
    return frame_ids.astype(np.int32)
