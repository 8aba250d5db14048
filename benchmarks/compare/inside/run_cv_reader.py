"""cv_reader: motion vectors and residual of every frame; no selection, no pictures. It returns arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv_reader
import numpy as np
from loop import NothingCameError, main


@dataclass(frozen=True)
class Read:
    """Bytes of all arrays."""

    given: int


def run(video: str, folder: Path) -> Read:
    """Read a video; NothingCameError where no frame had any motion."""
    frames = cv_reader.read_video(video, with_residual=True)
    if not frames:
        raise ValueError("no frame could be read")
    if not any(np.any(frame["motion_vector"]) for frame in frames if "motion_vector" in frame):
        raise NothingCameError("no motion vectors")
    arrays = [value for frame in frames for value in frame.values() if isinstance(value, np.ndarray)]
    return Read(sum(array.nbytes for array in arrays))


if __name__ == "__main__":
    main(run, lambda read: None)
