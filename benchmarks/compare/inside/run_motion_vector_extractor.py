"""motion-vector-extractor: the motion vectors of every frame, and the frames, no selection. It returns arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from loop import NothingCameError, Shown, main
from mvextractor.videocap import VideoCap

LOOKED_AT = 64
"""Frames that are held against a full decode."""


@dataclass(frozen=True)
class Extracted:
    """How many frames a video has, and the bytes of all their vectors."""

    video: str
    frames: int
    given: int


def read(video: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Picture uint8 [H, W, 3], BGR, and vectors int32 [n, 10] of every frame."""
    capture = VideoCap()
    if not capture.open(video):
        raise ValueError("VideoCap.open says False")
    while True:
        there, frame, vectors, *_ = capture.read()
        if not there:
            return
        yield frame, vectors


def run(video: str, folder: Path) -> Extracted:
    """Read a video to its end; NothingCameError where no frame had a vector."""
    sizes = [vectors.nbytes for _, vectors in read(video)]
    if not sizes:
        raise ValueError("no frame could be read")
    if not any(sizes):
        raise NothingCameError("no motion vectors")
    return Extracted(video, len(sizes), sum(sizes))


def shown(extracted: Extracted) -> Shown:
    """Some of the frames, read again."""
    ids = np.unique(np.linspace(0, extracted.frames - 1, LOOKED_AT).astype(np.int64))
    wanted = set(ids.tolist())
    frames = [frame for number, (frame, _) in enumerate(read(extracted.video)) if number in wanted]
    return Shown.of_pictures(ids, np.stack(frames)[..., ::-1])


if __name__ == "__main__":
    main(run, shown)
