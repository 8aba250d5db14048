"""A twin of labelled clips in which the camera moves: windows that pan, zoom, turn and shake over the same pictures.

    python -m benchmarks.evidence.moving --videos FOLDER --out TWIN [--codec libx265]
    python -m benchmarks.evidence.run --videos TWIN --work WORK

FOLDER/labels.csv lists the clips (path, label, group, ...); TWIN gets one of the same form, in the same order, and the
clips encoded anew at CRF 23. How a camera moves depends on the clip's path in the list alone. Clips that are in TWIN
already stay; half-written ones have another name.
"""

from __future__ import annotations

import csv
import multiprocessing
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from PIL import Image

from benchmarks.common import show
from codecsieve.machine import available_cores

Floats = npt.NDArray[np.float64]

WINDOW = 0.7
"""Sides of the window, in parts of the picture's."""
ZOOM, TURN, SHAKE = 0.1, np.radians(6), 1.5
"""How far each motion goes, either way: part of the window's size, radians, pixels of the picture."""
DRIFT, TREMBLE = (1.5, 6.0), (0.15, 0.4)
"""Seconds of the periods of what a camera does on purpose, and of a hand that shakes."""
CODECS = {"libx264": "h264", "libx265": "hevc"}
CRF = 23
SETTINGS = {
    "libx264": {"x264-params": "cpu-independent=1"},
    "libx265": {"x265-params": "log-level=error:pools=none:frame-threads=1"},
}
"""So that a clip has the same bytes each time: x264's fastest routines depend on the processor, and even on the run."""


# --- how a camera moves


@dataclass(frozen=True)
class Wave:
    """A sum of sines within -1..1, smooth at any time. periods: seconds [n]. phases: radians [n]."""

    periods: Floats
    phases: Floats

    @classmethod
    def drawn(cls, random: np.random.Generator, periods: tuple[float, float]) -> Wave:
        """Three sines at random, so that it hardly repeats itself within a clip."""
        return cls(random.uniform(*periods, 3), random.uniform(0, 2 * np.pi, 3))

    def __call__(self, seconds: Floats) -> Floats:
        return np.sin(2 * np.pi * seconds[:, None] / self.periods + self.phases).mean(axis=1)


@dataclass(frozen=True)
class Camera:
    """A window over a picture of `width x height` px. pan and shake have a wave for x and one for y."""

    width: int
    height: int
    pan: tuple[Wave, Wave]
    zoom: Wave
    turn: Wave
    shake: tuple[Wave, Wave]

    @classmethod
    def named(cls, name: str, width: int, height: int) -> Camera:
        """The camera of the clip of this name: the same on every machine."""
        random = np.random.default_rng(zlib.crc32(name.encode()))
        drift = [Wave.drawn(random, DRIFT) for _ in range(4)]
        shake = Wave.drawn(random, TREMBLE), Wave.drawn(random, TREMBLE)
        return cls(width, height, (drift[0], drift[1]), drift[2], drift[3], shake)

    @property
    def window(self) -> tuple[int, int]:
        """Width and height of the pictures it takes: even, as 4:2:0 wants them."""
        return 2 * round(WINDOW * self.width / 2), 2 * round(WINDOW * self.height / 2)

    def path(self, seconds: Floats) -> Floats:
        """Where the window is at some times, [T] -> [T, 4]: x and y of its middle in the picture, px from the top
        left corner; pixels of the picture in one of the window's; radians that it is turned by.

        The window never leaves the picture: it shows less where it would. Rounded, so that the last bits of a machine's
        sine do not matter.
        """
        turn = TURN * self.turn(seconds)
        cosine, sine = np.cos(turn), np.abs(np.sin(turn))
        wide, high = self.window
        across, down = wide * cosine + high * sine, wide * sine + high * cosine
        zoom = np.minimum(1 + ZOOM * self.zoom(seconds), np.minimum(self.width / across, self.height / down))
        places = []
        for side, taken, pan, shake in zip(
            (self.width, self.height), (across, down), self.pan, self.shake, strict=True
        ):
            room = (side - zoom * taken) / 2
            away = np.maximum(room - SHAKE, 0) * pan(seconds) + SHAKE * shake(seconds)
            places.append(side / 2 + np.clip(away, -room, room))
        return np.stack([*places, zoom, turn], axis=1).round(6)

    def seen(self, picture: Image.Image, place: Floats) -> Image.Image:
        """What the window shows of a picture at one place of the path, by bicubic interpolation."""
        x, y, zoom, turn = place.tolist()
        a, b = zoom * np.cos(turn), zoom * np.sin(turn)
        wide, high = self.window
        matrix = (a, -b, x - (a * wide - b * high) / 2, b, a, y - (b * wide + a * high) / 2)
        return picture.transform((wide, high), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


# --- clips and their list


def film(row: dict[str, str], videos: Path, out: Path, codec: str) -> dict[str, Any]:
    """Make the twin of one clip, unless it is there, and return its row of the list."""
    source, target = videos / row["path"], twin_of(row["path"], out)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part.mp4")
        encode(source, row["path"], part, codec)
        part.rename(target)
    facts = file_facts(target)
    if facts["codec"] != CODECS[codec]:
        raise click.ClickException(f"{target} is {facts['codec']}, not {CODECS[codec]}: choose another folder")
    facts["path"] = target.relative_to(out).as_posix()
    return row | {name: value for name, value in facts.items() if name in row}


def twin_of(path: str, out: Path) -> Path:
    """The file of a twin, by the clip's path in the list."""
    return out / Path(path).with_suffix(".mp4")


def encode(source: Path, name: str, target: Path, codec: str) -> None:
    """Film a clip, on one thread: the cores are busy with other clips."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        rate = read.streams.video[0].average_rate or Fraction(25)
        stream: Any = None
        for number, picture in enumerate(_filmed(read, name, rate)):
            if stream is None:
                stream = written.add_stream(codec, rate=rate, options={"crf": str(CRF), **SETTINGS[codec]})
                stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
                stream.codec_context.thread_count = 1
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, 1 / rate
            written.mux(stream.encode(frame))
        if stream is None:
            raise click.ClickException(f"{source}: no picture")
        written.mux(stream.encode())


def _filmed(read: av.container.InputContainer, name: str, rate: Fraction) -> Iterator[Image.Image]:
    """What the clip's camera takes of every picture of an open file."""
    camera: Camera | None = None
    for number, frame in enumerate(read.decode(video=0)):
        picture = frame.to_image()
        camera = camera or Camera.named(name, *picture.size)
        yield camera.seen(picture, camera.path(np.array([float(number / rate)]))[0])


def file_facts(path: Path) -> dict[str, Any]:
    """What a list may say of a file besides its labels."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        kinds = [frame.pict_type for frame in container.decode(stream)]
        return {
            "bytes": path.stat().st_size,
            "codec": stream.codec_context.name,
            "w": stream.width,
            "h": stream.height,
            "fps": float(stream.average_rate or 0),
            "frames": len(kinds),
            "b_frames": kinds.count(PictureType.B),
        }


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the twin.")
@click.option("--codec", type=click.Choice(list(CODECS)), default="libx264", show_default=True)
def main(videos: Path, out: Path, codec: str) -> None:
    """Film all clips on all cores; write the list; print what came of it."""
    with (videos / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    there = sum(twin_of(row["path"], out).exists() for row in rows)
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        made = list(pool.map(partial(film, videos=videos, out=out, codec=codec), rows))
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, made[0].keys())
        writer.writeheader()
        writer.writerows(made)
    show(f"{out}", ("clips", "made now", "codec"), [(len(made), len(made) - there, CODECS[codec])])


if __name__ == "__main__":
    main()
