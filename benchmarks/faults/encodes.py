"""Videos made on the spot by whatever encoders PyAV carries, in the containers that they are found in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


@dataclass(frozen=True)
class Encode:
    """A video to be made: a file of this name, by FFmpeg's encoder, of this pixel format."""

    name: str
    encoder: str
    pixel_format: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    """Width and height, where the encoder knows few."""


_X264 = {"x264-params": "bframes=2:keyint=12:scenecut=0"}
_X265 = {"x265-params": "bframes=2:keyint=12:log-level=error"}
_GOP = {"g": "12"}

CLIP_ENCODES = (
    Encode("h264.mp4", "libx264", options=_X264),
    Encode("mpeg4.avi", "mpeg4", options=_GOP),
    Encode("vp9.webm", "libvpx-vp9", options={**_GOP, "cpu-used": "8"}),
    Encode("mpeg2.ts", "mpeg2video", options={**_GOP, "bf": "2"}),
)
"""Those that caches are made of."""

ENCODES = (
    *CLIP_ENCODES,
    Encode("h264.mkv", "libx264", options=_X264),
    Encode("h264.ts", "libx264", options=_X264),
    Encode("h264.flv", "libx264", options=_X264),
    Encode("h264.264", "libx264", options=_X264),
    Encode("h264_fragments.mp4", "libx264", options={**_X264, "movflags": "frag_keyframe+empty_moov"}),
    Encode("h264_10bit.mp4", "libx264", "yuv420p10le", _X264),
    Encode("h264_444.mp4", "libx264", "yuv444p", _X264),
    Encode("h264_interlaced.mp4", "libx264", options={"x264-params": "tff=1:bframes=2:keyint=12"}),
    Encode("hevc.mp4", "libx265", options=_X265),
    Encode("hevc.mkv", "libx265", options=_X265),
    Encode("hevc.265", "libx265", options=_X265),
    Encode("hevc_10bit.ts", "libx265", "yuv420p10le", _X265),
    Encode("vp8.webm", "libvpx", options=_GOP),
    Encode("vp9.ivf", "libvpx-vp9", options={**_GOP, "cpu-used": "8"}),
    Encode("vp9_444.mkv", "libvpx-vp9", "yuv444p", {**_GOP, "cpu-used": "8"}),
    Encode("av1.mp4", "libsvtav1", options={**_GOP, "preset": "12"}),
    Encode("av1.ivf", "libsvtav1", options={**_GOP, "preset": "12"}),
    Encode("av1.obu", "libsvtav1", options={**_GOP, "preset": "12"}),
    Encode("mpeg1.mpg", "mpeg1video", options={**_GOP, "bf": "2"}),
    Encode("mpeg2.mpg", "mpeg2video", options={**_GOP, "bf": "2"}),
    Encode("mpeg4.mp4", "mpeg4", options={**_GOP, "bf": "2"}),
    Encode("mpeg4.m4v", "mpeg4", options=_GOP),
    Encode("msmpeg4.avi", "msmpeg4", options=_GOP),
    Encode("wmv1.asf", "wmv1", options=_GOP),
    Encode("wmv2.wmv", "wmv2", options=_GOP),
    Encode("flv1.flv", "flv", options=_GOP),
    Encode("h263.3gp", "h263", options=_GOP, size=(176, 144)),
    Encode("rv20.rm", "rv20", options=_GOP),
    Encode("svq1.mov", "svq1", "yuv410p"),
    Encode("mjpeg.avi", "mjpeg", "yuvj420p"),
    Encode("mjpeg.mov", "mjpeg", "yuvj422p"),
    Encode("prores.mov", "prores_ks", "yuv422p10le"),
    Encode("dnxhr.mov", "dnxhd", "yuv422p", {"profile": "dnxhr_lb"}, (256, 128)),
    Encode("dv.avi", "dvvideo", "yuv411p", size=(720, 480)),
    Encode("cfhd.mov", "cfhd", "yuv422p10le"),
    Encode("jpeg2000.mov", "jpeg2000"),
    Encode("ffv1.mkv", "ffv1", options={"slicecrc": "1"}),
    Encode("ffvhuff.avi", "ffvhuff"),
    Encode("huffyuv.avi", "huffyuv", "yuv422p"),
    Encode("utvideo.avi", "utvideo", "yuv422p"),
    Encode("magicyuv.avi", "magicyuv", "gbrp"),
    Encode("png.mov", "png", "rgb24"),
    Encode("qtrle.mov", "qtrle", "rgb24"),
    Encode("cinepak.avi", "cinepak", "rgb24"),
    Encode("msvideo1.avi", "msvideo1", "rgb555le"),
    Encode("zmbv.avi", "zmbv", "bgr0"),
    Encode("snow.avi", "snow"),
    Encode("v210.mov", "v210", "yuv422p10le"),
    Encode("raw.avi", "rawvideo", "yuv420p"),
    Encode("gif.gif", "gif", "rgb8"),
    Encode("apng.apng", "apng", "rgb24"),
)


def make_encode(encode: Encode, folder: Path, frames: int = 40, size: tuple[int, int] = (160, 96)) -> Path:
    """Encode a pan over noise with a square that crosses it. Raises av.FFmpegError, ValueError where PyAV cannot."""
    path = folder / encode.name
    width, height = encode.size or size
    options = dict(encode.options)
    muxed = {"movflags": options.pop("movflags")} if "movflags" in options else {}
    with av.open(str(path), "w", options=muxed) as container:
        stream: Any = container.add_stream(encode.encoder, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, encode.pixel_format
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(_pictures(frames, width, height)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=encode.pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_encodes(folder: Path) -> tuple[list[Path], list[str]]:
    """Every video of `ENCODES` that PyAV can make, and the names of the others."""
    os.environ.setdefault("SVT_LOG", "1")  # its encoder prints a page about itself otherwise
    made, lacking = [], []
    for encode in ENCODES:
        try:
            made.append(make_encode(encode, folder))
        except (av.FFmpegError, ValueError):
            (folder / encode.name).unlink(missing_ok=True)
            lacking.append(encode.name)
    return made, lacking


def _pictures(frames: int, width: int, height: int) -> Iterator[np.ndarray]:
    """RGB uint8 [height, width, 3]."""
    random = np.random.default_rng(0)
    coarse = random.integers(30, 220, (height // 8 + 2, (width + 2 * frames) // 8 + 2, 3))
    ground = coarse.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
    for number in range(frames):
        picture = ground[:height, 2 * number : 2 * number + width].copy()
        left = 3 * number % max(1, width - 16)
        picture[height // 3 : height // 3 + 16, left : left + 16] = 255 - number
        yield picture
