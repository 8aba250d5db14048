"""Published indices of patches, by videos: which file, or which entry of one, is a video's.

A folder of files has a video's indices in the first of these that is there:

    what the manifest's column `indices` says        a path in the folder
    visible_indices_MD5.pkl                          MD5 of the video's path, or of PATH|KEY: as OneVision-Encoder's
                                                     evaluation names them
    ID.npy, STEM.npy (.npz, .pkl)                    after the clip's id, or the video's file name

One file may hold those of all: an array [N, K], row by row in the order of the videos, or names with an array each: the
clip's id, the video's path, its file name with or without suffix. Which frames they are of is asked of the videos.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codecsieve.cache import ClipArrays, IndexRecord
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.config import GIVEN, SieveConfig
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.sieve.given import take_given
from codecsieve.text import quoted, shortened

from .arrays import SUFFIXES, read_values
from .config import ImportOptions
from .given import Job, Outcome, Shape, checked

COLUMN, PUBLISHED = "indices", "visible_indices"


@dataclass(frozen=True)
class TakeVideo:
    """Looks up a video's frames and, where pixels are wanted, cuts out the patches whose indices a job gives."""

    config: SieveConfig
    pixels: bool

    def __call__(self, job: Job) -> Outcome:
        """See `Source.take`. Raises VideoError where the video cannot be used."""
        known = job.known
        clip = take_given(known["uri"], job.given, self.config, known["start"], known["end"], self.pixels)
        width, height = clip.size or (None, None)
        record = IndexRecord(
            status="ok",
            codec=clip.codec,
            width=width,
            height=height,
            fps=clip.fps,
            frames=clip.frames,
            distinct_frames=len(np.unique(clip.frame_ids)),
            order=clip.order,
            signals=GIVEN,
            decoder="ffmpeg" if self.pixels else None,
            **known,
        )
        return record, ClipArrays(clip.patches, clip.positions, np.zeros(len(job.given), np.int32), clip.frame_ids)


class IndexedVideos:
    """Videos, and indices of the patches that are kept of each; see `given.Source`."""

    def __init__(self, source: Path, requests: Sequence[ClipRequest], root: Path, options: ImportOptions) -> None:
        """Take the videos `requests`, which lie in `root`, and their indices: a folder of files, or a file of all.

        Raises ConfigError where no video has any, CacheError where a file of all is not read.
        """
        self.requests: Mapping[str, ClipRequest] = {request.id: request for request in requests}
        self.ids: Sequence[str] = list(self.requests)
        self._source, self._root, self._options = source, root, options
        self._of_all = None if source.is_dir() else self._read_all()
        self.shape = self._first_shape()
        self.about: Mapping[str, Any] = {"source": PUBLISHED, "cache_key": options.cache_key}
        config = SieveConfig(
            num_frames=options.num_frames,
            input_size=options.input_size,
            patch_size=options.patch_size,
            k_keep=self.shape.k_keep,
            fit=options.fit,
            signals="search",
            decoder_fields="off",
        )
        self.take: Callable[[Job], Outcome] = TakeVideo(config, options.store == "patches")

    def job(self, clip_id: str) -> Job:
        """See `Source`."""
        request = self.requests[clip_id]
        try:
            return Job(request.known, self._indices(request, self.shape.k_keep))
        except CacheError as error:
            return Job(request.known, error=str(error))

    def _first_shape(self) -> Shape:
        """What the first clip has whose indices can be read; ConfigError where there is none."""
        options, reason = self._options, ""
        for request in self.requests.values():
            try:
                laid = {} if options.fit == ImportOptions.fit else {"fit": options.fit}
                return Shape(options.num_frames, len(self._indices(request)), options.patch_size, options.grid, laid)
            except CacheError as error:
                reason = reason or str(error)
        raise ConfigError(f"{shortened(str(self._source))} has no indices of these videos: {reason}")

    def _indices(self, request: ClipRequest, k_keep: int | None = None) -> np.ndarray:
        values, what = self._in_folder(request) if self._of_all is None else self._in_all(self._of_all, request)
        return checked(values, self._options.num_frames * self._options.grid**2, what, k_keep)

    def _path_then(self, request: ClipRequest) -> str:
        """The video's path when the indices were made."""
        were = self._options.videos_were
        if not were or not Path(request.path).is_relative_to(self._root):
            return request.path
        return os.path.join(were, Path(request.path).relative_to(self._root))

    def _in_folder(self, request: ClipRequest) -> tuple[Any, str]:
        """What a file of the folder has for a video, and what it is called."""
        path, key = self._path_then(request), self._options.cache_key
        if COLUMN in request.metadata:
            names = [str(request.metadata[COLUMN])]
        else:
            hashed = f"{path}|{key}" if key else path
            digest = hashlib.md5(hashed.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
            stems = f"{PUBLISHED}_{digest}", request.id, Path(path).stem
            names = [f"{stem}{suffix}" for stem in stems if os.sep not in stem for suffix in SUFFIXES]
        for name in names:
            if COLUMN in request.metadata or (self._source / name).exists():
                values = read_values(self._source, name)
                one = values.get(PUBLISHED) if isinstance(values, dict) else values
                return one, f"{shortened(request.path)}: {shortened(name)}"
        raise CacheError(
            f"{shortened(request.path)}: no {names[0]} (of the path {quoted(path)}, with key {quoted(key)}), nor a "
            "file called after it; say --videos-were and --cache-key, or name it in a column `indices`"
        )

    def _in_all(self, of_all: dict[str, Any], request: ClipRequest) -> tuple[Any, str]:
        """What the file of all has for a video, and what that is called."""
        path = self._path_then(request)
        for name in (request.id, path, os.path.basename(path), Path(path).stem):
            if name in of_all:
                return of_all[name], f"{shortened(request.path)}: the entry {quoted(name)}"
        raise CacheError(f"{shortened(request.path)}: no entry of its id, path {quoted(path)} or file name")

    def _read_all(self) -> dict[str, Any]:
        values = read_values(self._source.parent, self._source.name)
        if isinstance(values, dict):
            return {str(name): value for name, value in values.items()}
        if isinstance(values, np.ndarray) and values.ndim == 2 and len(values) == len(self.ids):
            return dict(zip(self.ids, values, strict=True))
        size = list(values.shape) if isinstance(values, np.ndarray) else type(values).__name__
        raise CacheError(
            f"{shortened(str(self._source))} ({size}) must be a row of indices for each of the {len(self.ids)} videos, "
            "in their order, or names with an array each"
        )
