"""Labelled clips encoded again, frame by frame, by other codecs and qualities: the same pictures in other streams.

Which signals then choose as before, `reencoded` asks.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av

from codecsieve.machine import available_cores


@dataclass(frozen=True)
class Encoding:
    """How clips are encoded: FFmpeg's encoder, and its quality."""

    encoder: str
    crf: int

    @property
    def name(self) -> str:
        """A name for files and tables."""
        return f"{self.encoder.removeprefix('lib')}-{self.crf}"


ENCODINGS = tuple(Encoding(encoder, crf) for encoder in ("libx264", "libx265") for crf in (18, 28, 35))


def encode_all(paths: list[Path], encoding: Encoding, folder: Path) -> list[Path]:
    """Every clip in an encoding, made where `folder` has none yet, on all cores."""
    targets = [folder / encoding.name / f"{number:04d}.mp4" for number in range(len(paths))]
    (folder / encoding.name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(encode, encoding=encoding), paths, targets))
    return targets


def encode(source: Path, target: Path, encoding: Encoding) -> None:
    """Encode a clip, each frame that a decoder shows of it as one; nothing where it is there already."""
    if target.exists():
        return
    draft = target.with_suffix(".draft.mp4")
    quiet = {"x265-params": "log-level=error"} if encoding.encoder == "libx265" else {}
    with av.open(str(source)) as shown, av.open(str(draft), "w") as made:
        first = shown.streams.video[0]
        stream = made.add_stream(encoding.encoder, rate=first.average_rate, options={"crf": str(encoding.crf), **quiet})
        assert isinstance(stream, av.VideoStream)
        # Chroma is shared by two samples of a row and a column.
        stream.width, stream.height, stream.pix_fmt = first.width // 2 * 2, first.height // 2 * 2, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(shown.decode(first)):
            resized = frame.reformat(stream.width, stream.height, "yuv420p")
            resized.pts, resized.time_base = number, 1 / first.average_rate
            made.mux(stream.encode(resized))
        made.mux(stream.encode(None))
    draft.rename(target)
