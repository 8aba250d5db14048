"""Which layout of samples the kernels read a frame in, and how a frame is brought to it.

The kernels read planes of little-endian YUV, subsampled in any way, and of grey. Other layouts of either (packed,
semi-planar, big-endian, bits at the high end) only put the same samples elsewhere: they are read as the planar one of
the same subsampling and depth, and no sample changes. RGB is read as 4:4:4, 8 bits, within 2 of its 255 levels.

One thread does it: FFmpeg's converter with more of them gave wrong samples in 2 of 100 packed pictures (Y210, Y216).
"""

from __future__ import annotations

import av
import numpy as np

SUBSAMPLINGS = {(8, 8): "444", (4, 8): "422", (4, 4): "420", (8, 4): "440", (2, 8): "411", (2, 2): "410"}
"""Columns and rows of chroma samples to 8 of luma -> the name's part."""
RGB_AS = "yuv444p"
"""What RGB of any depth is read in. FFmpeg is 5 to 70 times as slow in rounding it better, or to more bits."""
FULL_RANGE = 2
"""AVCOL_RANGE_JPEG."""
DEEPEST = 16
"""Bits of a sample that the kernels read; floats and longer integers lose the rest."""


def is_rgb(layout: av.VideoFormat) -> bool:
    """Whether samples are red, green and blue, by number or by palette, or the XYZ of digital cinema."""
    return layout.is_rgb or layout.has_palette or layout.name.startswith("xyz")


def readable_format(layout: av.VideoFormat) -> str:
    """FFmpeg's name of the layout that the kernels read this one in: itself, where they read it as it is."""
    if is_rgb(layout):
        return RGB_AS
    colours = [component for component in layout.components if not component.is_alpha]
    bits = min(max(colours[0].bits, 8), DEEPEST)
    depth = "" if bits == 8 else f"{bits}le"
    if len(colours) == 1:
        return f"gray{depth}"
    near = SUBSAMPLINGS[layout.chroma_width(8), layout.chroma_height(8)] + "p" + depth
    # An alpha plane comes last, where nobody looks; the j says that the range is full.
    own = layout.name.removeprefix("yuva").removeprefix("yuvj").removeprefix("yuv")
    return layout.name if own == near else f"yuv{near}"


def convert(frame: av.VideoFrame, name: str, colorspace: int, color_range: int) -> av.VideoFrame:
    """A frame in another layout (FFmpeg's name), AVColorSpace and AVColorRange."""
    return _plain(frame).reformat(format=name, dst_colorspace=colorspace, dst_color_range=color_range, threads=1)


def _plain(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame that FFmpeg converts rightly: what it does not, brought to a layout that it does; others as they are."""
    layout = frame.format
    bits = [component.bits for component in layout.components[:3]]
    if layout.name.startswith("bayer") or layout.has_palette:
        return frame.reformat(format="gbrp", threads=1)
    if is_rgb(layout) and min(bits) < 8:
        return _widened(frame, bits)
    if layout.name.startswith(("grayf", "yaf")):
        return _from_floats(frame)
    return frame


def _widened(frame: av.VideoFrame, bits: list[int]) -> av.VideoFrame:
    """R, G, B of so many bits, fewer than 8, as 8: FFmpeg puts zeros under them, which makes white of 5 bits 248."""
    wide = frame.reformat(format="gbrp", threads=1)
    red, green, blue = bits
    for plane, short in zip(wide.planes, (green, blue, red), strict=True):
        levels = np.rint((np.arange(256) >> (8 - short)) * 255 / ((1 << short) - 1)).astype(np.uint8)
        plane.update(levels[np.frombuffer(memoryview(plane), np.uint8)].tobytes())
    return wide


def _from_floats(frame: av.VideoFrame) -> av.VideoFrame:
    """Grey of 0..1, with alpha or without, as 16 bits: FFmpeg takes it for limited range, or ends the process."""
    layout, plane = frame.format, frame.planes[0]
    dtype = np.dtype(f"{'>' if layout.is_big_endian else '<'}f{layout.components[0].bits // 8}")
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
    samples = rows[:, : frame.width * len(layout.components) * dtype.itemsize].copy().view(dtype)
    grey = samples[:, :: len(layout.components)].astype(np.float32)
    levels = np.rint(np.clip(np.nan_to_num(grey), 0, 1) * np.float32(65535)).astype(np.uint16)
    result = av.VideoFrame.from_ndarray(levels, format="gray16le")
    result.pict_type, result.color_range = frame.pict_type, FULL_RANGE
    return result
