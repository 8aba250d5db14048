"""codecsieve: 64 slots, the best 2,048 patches of 14 px by `contrast`, written as a cache keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from loop import Shown, main

import codecsieve as cs

SIDE, PATCH = 224, 14


@dataclass(frozen=True)
class Sieved:
    """A clip; all that is given of it is written."""

    clip: cs.SievedClip
    given: int = 0


def run(video: str, folder: Path) -> Sieved:
    """Sieve a video, and write the arrays that a cache has of a clip."""
    clip = cs.sieve(video)
    for name in ("patches", "positions", "scores", "frame_ids"):
        np.save(folder / f"{name}.npy", getattr(clip, name))
    return Sieved(clip)


def shown(sieved: Sieved) -> Shown:
    """The kept patches, in the picture that the centre square was cut from."""
    clip = sieved.clip
    slots, rows, columns = clip.positions.astype(np.int64).T
    scale = SIDE / min(clip.width, clip.height)
    width, height = clip.width * scale, clip.height * scale
    left, top = columns * PATCH + (width - SIDE) / 2, rows * PATCH + (height - SIDE) / 2
    boxes = np.stack([left / width, top / height, (left + PATCH) / width, (top + PATCH) / height], axis=1)
    return Shown(clip.frame_ids[slots].astype(np.int64), boxes, clip.patches.mean(axis=(1, 2, 3)))


if __name__ == "__main__":
    main(run, shown)
