"""Folders with a clip's positions, and pictures of its patches: LLaVA-style `assets`, ours or others', and canvases.

    positions_thw.npy, or visible_indices.npy    which patches, in the order in which they lie on the pictures
    frame_ids.npy                                the frame of each slot
    meta.json                                    see `meta`
    *_000.png, ... or .jpg                       eight pictures of 36 x 36 patches, row by row, where pixels are wanted

Of ours what was repeated to fill the pictures is left out; others do not say how much that is, and it stays. Folders of
canvases have other positions, see `canvas_folders`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codecsieve.cache import ClipArrays, IndexRecord
from codecsieve.cache.layout import config_difference
from codecsieve.errors import CacheError, ConfigError
from codecsieve.kernels.blocks import token_order_of
from codecsieve.pipelines.config import GIVEN
from codecsieve.pipelines.exchange.canvases import unpack
from codecsieve.pipelines.exchange.mosaics import FRAMES, INDICES, POSITIONS
from codecsieve.pipelines.exchange.to_assets import ASSETS
from codecsieve.pipelines.exchange.to_ov2 import CLIPS
from codecsieve.pipelines.exchange.to_ov2 import POSITIONS as CANVAS_POSITIONS
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.text import shortened

from .arrays import parse_npy, read_bytes
from .canvas_folders import read_canvases
from .config import ImportOptions
from .given import Job, Outcome, Shape, checked
from .meta import About, read_about

_PICTURES = {".png": "PNG", ".jpg": "JPEG"}
_LARGEST = 4096  # pixels of a picture's side
_LAST_FRAME = 2**31 - 1


def clip_folders(source: Path) -> list[Path]:
    """The folders of clips in an export, or in its `assets` or `clips`, by name; none where there are none."""
    root = next((source / name for name in (ASSETS, CLIPS) if (source / name).is_dir()), source)
    names = (POSITIONS, INDICES, CANVAS_POSITIONS)
    if (source / CANVAS_POSITIONS).is_file():  # what codec-video-prep made of one video
        return [source.absolute()]
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
        first = self.shape
        if (about.num_frames, about.grid, about.patch) != (first.num_frames, first.grid, first.patch):
            raise CacheError(
                f"{shortened(name)} has {about.num_frames} slots of {about.grid}x{about.grid} patches of {about.patch} "
                f"px, the first {first.num_frames} of {first.grid}x{first.grid} of {first.patch} px"
            )
        if about.laid != first.laid:
            raise CacheError(f"{shortened(name)} {config_difference(about.laid, first.laid, 'the first')}")
        indices, places, frame_ids = read_clip(self.root, name, about, first.k_keep)
        patches = self._patches(name, about) if self.pixels else None
        if patches is not None and len(patches) <= places.max():
            raise CacheError(f"{shortened(name)} has pictures of {len(patches)} patches, and {len(indices)} positions")
        patches = None if patches is None else patches[places]
        record = IndexRecord(status="ok", fps=about.fps, distinct_frames=len(np.unique(frame_ids)), signals=GIVEN,
                             grid_rows=about.seen[0], grid_columns=about.seen[1], **job.known)  # fmt: skip
        scores = np.zeros(len(indices), np.int32)
        return record, ClipArrays(patches, self.shape.positions(indices), scores, frame_ids)

    def _patches(self, name: str, about: About) -> np.ndarray:
        """uint8 [n, 3, P, P]: all patches on a clip's pictures, in their order."""
        files = about.files or _mosaics(self.root / name, about.pictures)
        if not files or len({Path(file).suffix for file in files} - set(_PICTURES)):
            raise CacheError(f"{shortened(name)} has no PNG or JPEG pictures; import it with --store indices")
        pictures = (self._picture(f"{name}/{file}", about) for file in files)
        return np.concatenate([unpack(picture[None], self.shape.patch) for picture in pictures])

    def _picture(self, name: str, about: About) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        data, (rows, columns) = read_bytes(self.root, name), about.canvas
        try:
            with Image.open(io.BytesIO(data), formats=[_PICTURES[Path(name).suffix]]) as picture:
                if picture.size != (columns * self.shape.patch, rows * self.shape.patch):
                    raise CacheError(f"{shortened(name)} is {picture.size}, not {rows}x{columns} patches of "
                                     f"{self.shape.patch} px")  # fmt: skip
                if max(picture.size) > _LARGEST:
                    raise CacheError(f"{shortened(name)} is {picture.size}, more than {_LARGEST} px a side")
                return np.asarray(picture.convert("RGB"))
        except UnidentifiedImageError:  # which would say where in memory its bytes are
            raise CacheError(f"{shortened(name)} is damaged, or no {_PICTURES[Path(name).suffix]}") from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise CacheError(f"{shortened(name)} is damaged: {error}") from error


def _mosaics(folder: Path, count: int) -> tuple[str, ...]:
    """What the pictures of a clip's folder are called, all of them, wherever they may be; none where the first is not.

    Which patches lie on one is told by its number, so none may be missing.
    """
    first = next((path for suffix in _PICTURES for path in sorted(folder.glob(f"*_000{suffix}"))), None)
    return () if first is None else tuple(f"{first.stem[:-3]}{number:03d}{first.suffix}" for number in range(count))


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
                count = len(read_clip(self._root, name, about)[0])
                return Shape(about.num_frames, count, about.patch, about.grid, about.laid, about.places), about
            except CacheError as error:
                reason = reason or str(error)
        raise ConfigError(f"no folder in {shortened(str(self._root))} is read: {reason}")


def read_clip(
    root: Path, name: str, about: About, k_keep: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The indices of the patches that a folder keeps, their places on its pictures, both int64 [K], and frames [T].

    Raises CacheError where they are not read.
    """
    if about.error:
        raise CacheError(about.error)
    if about.files:
        frame_ids = _read_frames(root, name, about.num_frames)
        indices, places = read_canvases(root, name, about, frame_ids)
        indices = checked(indices, about.num_frames * about.grid**2, shortened(name), k_keep)
    else:
        indices, frame_ids = read_indices(root, name, about, k_keep), _read_frames(root, name, about.num_frames)
        places = np.arange(len(indices))
    if about.is_ours:  # pictures have an order of their own
        positions = np.stack(np.unravel_index(indices, (about.places, about.grid, about.grid)), axis=1)
        stood = token_order_of(positions, about.laid.get("merge", 1), about.laid.get("token_order", "raster"))
        indices, places = indices[stood], places[stood]
    return indices, places, frame_ids


def read_indices(root: Path, name: str, about: About, k_keep: int | None = None) -> np.ndarray:
    """The indices of the patches on mosaics: int64 [K]. Raises CacheError where they are not read."""
    patches, what = about.places * about.grid**2, shortened(name)
    if not (root / name / POSITIONS).exists():
        indices = parse_npy(read_bytes(root, f"{name}/{INDICES}"), f"{what}/{INDICES}")
        return checked(indices[: about.kept], patches, what, k_keep)
    positions = parse_npy(read_bytes(root, f"{name}/{POSITIONS}"), f"{what}/{POSITIONS}")
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise CacheError(f"{what}/{POSITIONS} is {list(positions.shape)}, not slot, row and column of each patch")
    positions = positions[: about.kept].astype(np.int64)
    limits = np.array([about.places, about.grid, about.grid])
    if (positions < 0).any() or (positions >= limits).any():
        raise CacheError(f"{what}/{POSITIONS} has places outside of {about.places} slots of {about.grid}x{about.grid}")
    return checked(positions @ np.array([about.grid**2, about.grid, 1]), patches, what, k_keep)


def _read_frames(root: Path, name: str, num_frames: int) -> np.ndarray:
    """The frame of each slot: int32 [T]."""
    frame_ids = parse_npy(read_bytes(root, f"{name}/{FRAMES}"), f"{shortened(name)}/{FRAMES}")
    if frame_ids.shape != (num_frames,) or frame_ids.min() < 0 or frame_ids.max() > _LAST_FRAME:
        raise CacheError(f"{shortened(name)}/{FRAMES} must be the frame of each of {num_frames} slots")
    return frame_ids.astype(np.int32)
