"""The clips as files: H.264 videos, and manifests that say which of them are for what.

`videos/SPLIT-SPRITE-NUMBER.mp4` are all of them. `clips.csv` lists the training clips without labels, which is all that
concepts and training see. The folder `sprites` is the probe's data set: a few of the training clips, and those of the
other splits, with their labels and how they were filmed.
"""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import av

from benchmarks.training.sprites import SIDE, SPRITES, Shot, draw_shot, pictures
from codecsieve.machine import available_cores

UNLABELLED, SET = "clips.csv", "sprites"
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sizes:
    """How many clips of each sprite. unlabelled: to train on; labelled: of these, to train probes on; val, test: to
    choose by, and to judge by; frames: of a clip.
    """

    unlabelled: int = 64
    labelled: int = 3
    val: int = 15
    test: int = 20
    frames: int = 16


def make_clips(folder: Path, sizes: Sizes, seed: int) -> None:
    """Draw and encode all clips, on all cores, and write the manifests."""
    (folder / "videos").mkdir(parents=True)
    (folder / SET).mkdir()
    shots = {split: list(_shots(split, sizes, seed)) for split in _SPLITS}
    everything = [shot for of_split in shots.values() for shot in of_split]
    workers, spawn = available_cores(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn) as pool:
        list(pool.map(partial(encode, folder=folder), everything, chunksize=8))
    _write(folder / UNLABELLED, [{"path": video(folder, shot)} for shot in shots["train"]])
    shots["train"] = [shot for shot in shots["train"] if shot.number < sizes.labelled]
    for split, of_split in shots.items():
        _write(folder / SET / f"{split}.csv", [_row(folder, shot) for shot in of_split])


def encode(shot: Shot, folder: Path) -> None:
    """Write a clip as the encoder x264 does by itself."""
    with av.open(str(video(folder, shot)), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(pictures(shot)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def video(folder: Path, shot: Shot) -> Path:
    """Where a clip is."""
    return folder / "videos" / f"{shot.split}-{SPRITES[shot.sprite].photo}-{shot.number:03d}.mp4"


def _shots(split: str, sizes: Sizes, seed: int) -> Iterator[Shot]:
    count = {"train": sizes.unlabelled, "val": sizes.val, "test": sizes.test}[split]
    for number in range(count):
        for sprite in range(len(SPRITES)):
            yield draw_shot(split, sprite, number, sizes.frames, seed)


def _row(folder: Path, shot: Shot) -> dict[str, object]:
    """A line of a manifest: what the clip shows, and how."""
    return {"path": video(folder, shot), "label": SPRITES[shot.sprite].photo, "filmed": shot.path} | {
        name: value for name, value in asdict(shot).items() if name in ("background", "turn", "zoom")
    }


def _write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
