"""What the GPU benchmark measures on: moving pictures made on the spot, as arrays and as videos, and how many.

The pictures are a smooth texture that pans, crossed by squares that move otherwise: block search has something to
find, and the codecs have pictures to predict both ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from codecsieve.codec.picture import Orientation, PictureFormat
from codecsieve.pipelines.config import SieveConfig

PAN = 1, 2
"""Rows and columns by which the texture moves from picture to picture."""
SQUARES = 5
RATE = 30
GOP = {"libx264": "bframes=3:keyint=30:min-keyint=30:scenecut=0"}
GOP["libx265"] = f"{GOP['libx264']}:log-level=error"
PARAMETERS = {"libx264": "x264-params", "libx265": "x265-params"}
VIDEO_SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".ts", ".webm"})


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    clips, large_clips: of a batch of kernels, from small and from large pictures. repeats: of a kernel. sessions:
    decoders side by side; the last two are also those of whole clips. window_s: for which a rate is counted; rounds:
    of windows, in turns. frames: of a made video. cached_clips: of a `precompute` run.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cuda", 0))
    config: SieveConfig = field(default_factory=lambda: SieveConfig(signals="search"))
    clips: int = 64
    large_clips: int = 8
    repeats: int = 20
    sessions: tuple[int, ...] = (1, 2, 4, 7, 14)
    window_s: float = 1.5
    rounds: int = 3
    frames: int = 300
    cached_clips: int = 256
    small_size: tuple[int, int] = (360, 640)
    """Rows and columns of the small pictures; likewise of the large ones."""
    large_size: tuple[int, int] = (1080, 1920)
    videos: tuple[Encoding, ...] = field(default_factory=lambda: VIDEOS)


@dataclass(frozen=True)
class Encoding:
    """A video to be made: size is (rows, columns), codec the encoder's name in FFmpeg."""

    name: str
    codec: str
    size: tuple[int, int]
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    suffix: str = "mp4"


def _usual(name: str, codec: str, size: tuple[int, int]) -> Encoding:
    return Encoding(name, codec, size, {"preset": "veryfast", PARAMETERS[codec]: GOP[codec]})


VIDEOS = (
    _usual("h264 320p", "libx264", (320, 568)),
    _usual("h264 720p", "libx264", (720, 1280)),
    _usual("h264 1080p", "libx264", (1080, 1920)),
    _usual("hevc 1080p", "libx265", (1080, 1920)),
)


def moving_pictures(frames: int, size: tuple[int, int], seed: int = 0) -> Iterator[np.ndarray]:
    """Pictures uint8 [rows, columns] one after another."""
    rows, columns = size
    random = np.random.default_rng(seed)
    ground = _texture(rows + PAN[0] * frames, columns + PAN[1] * frames, random)
    side = max(min(rows, columns) // 6, 1)
    squares = [_texture(side, side, random) for _ in range(SQUARES)]
    starts = random.integers(0, (rows - side + 1, columns - side + 1), (SQUARES, 2))
    speeds = random.integers(-3, 4, (SQUARES, 2))
    for frame in range(frames):
        picture = ground[PAN[0] * frame :, PAN[1] * frame :][:rows, :columns].copy()
        for square, corner in zip(squares, starts + frame * speeds, strict=True):
            top, left = corner % (rows - side + 1, columns - side + 1)
            picture[top : top + side, left : left + side] = square
        yield picture


def _texture(rows: int, columns: int, random: np.random.Generator) -> np.ndarray:
    """uint8 [rows, columns], noise of 8x8 pixels smoothed over 5x5."""
    coarse = random.integers(0, 256, (rows // 8 + 2, columns // 8 + 2), np.uint16)
    fine = np.kron(coarse, np.ones((8, 8), np.uint16))[: rows + 4, : columns + 4]
    fine = sum(fine[y : y + rows] for y in range(5))
    return (sum(fine[:, x : x + columns] for x in range(5)) // 25).astype(np.uint8)


@dataclass(frozen=True)
class Surfaces:
    """Decoded pictures as NVDEC lays them out, on a device."""

    layout: PictureFormat
    luma: torch.Tensor
    """uint8 or uint16 [n, rows, columns]; 10 bits lie in the upper ones of 16."""
    chroma: torch.Tensor
    """The same kind, [n, rows / 2, columns / 2, 2]."""


def clip_surfaces(frames: int, size: tuple[int, int], bit_depth: int, device: torch.device) -> Surfaces:
    """A clip's pictures of 8 or 10 bits."""
    half = size[0] // 2, size[1] // 2
    luma = np.stack(list(moving_pictures(frames, size)))
    chroma = np.stack([np.stack(list(moving_pictures(frames, half, seed))) for seed in (1, 2)], axis=-1)
    return Surfaces(
        surface_layout(size, bit_depth),
        torch.from_numpy(_deepened(luma, bit_depth)).to(device),
        torch.from_numpy(_deepened(chroma, bit_depth)).to(device),
    )


def surface_layout(size: tuple[int, int], bit_depth: int) -> PictureFormat:
    """The layout of 4:2:0 pictures that are shown whole."""
    return PictureFormat(
        pixel_format="yuv420p" if bit_depth == 8 else "yuv420p10le",
        height=size[0],
        width=size[1],
        crop_top=0,
        crop_left=0,
        bit_depth=bit_depth,
        chroma_shift_x=1,
        chroma_shift_y=1,
        matrix="bt709",
        full_range=False,
        orientation=Orientation(),
    )


def _deepened(samples: np.ndarray, bit_depth: int) -> np.ndarray:
    """8 bits as they are; or as many more, whose lower bits are of the sample's own, in the upper ones of 16."""
    if bit_depth == 8:
        return samples
    wide = samples.astype(np.uint16)
    return ((wide << (bit_depth - 8)) | (wide & ((1 << (bit_depth - 8)) - 1))) << (16 - bit_depth)


def encode(encoding: Encoding, folder: Path, frames: int) -> Path:
    """Encode moving pictures with moving colours; the file's path."""
    path = folder / f"{encoding.name.replace(' ', '_')}.{encoding.suffix}"
    rows, columns = encoding.size
    half = rows // 2, columns // 2
    planes = (moving_pictures(frames, size, seed) for seed, size in enumerate((encoding.size, half, half)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoding.codec, rate=RATE, options=encoding.options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = columns, rows, encoding.pixel_format
        for number, (y, u, v) in enumerate(zip(*planes, strict=True)):
            samples = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(rows * 3 // 2, columns)
            frame = av.VideoFrame.from_ndarray(samples, format="yuv420p").reformat(format=encoding.pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def videos_in(folder: Path) -> dict[str, Path]:
    """The videos of a folder, by name."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES}
