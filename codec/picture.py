"""Decoded pictures as arrays: planes without copies, and what is needed to read their samples rightly.

A `Picture` views FFmpeg's own buffers and keeps them alive. Formats that the kernels do not read (RGB, packed,
big-endian) are converted by FFmpeg on the way in, see `readable`. Which pictures there are is left to `decode`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

import av
import numpy as np
from av.video.plane import VideoPlane

from codecsieve.codec.nal import SequenceParameters
from codecsieve.codec.readable import convert, is_rgb, readable_format
from codecsieve.codec.side_data import side_data

MOTION_FIELDS = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
INTRA_TYPES = frozenset({1, 5, 7})
"""AVPictureType of pictures without prediction: I, SI, BI."""
LIMITED_RANGE, FULL_RANGE = 1, 2
"""AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG."""
MATRICES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020", 4: "fcc", 7: "smpte240m"}
"""AVColorSpace -> name of the matrix in `kernels.resample`."""
COLOUR_SPACES = {"bt709": 1, "fcc": 4, "bt601": 5, "smpte240m": 7, "bt2020": 9}
"""Name of the matrix -> AVColorSpace."""


@dataclass(frozen=True)
class Orientation:
    """How a player turns a picture to stand upright: rows and columns change places, then axes are reversed."""

    transposed: bool = False
    flip_y: bool = False
    """The rows are reversed, after that; likewise the columns."""
    flip_x: bool = False

    @classmethod
    def of_matrix(cls, matrix: tuple[int, ...]) -> Orientation:
        """The nearest to a display matrix (ISO/IEC 14496-12 8.2.2.3): x' = a x + c y, y' = b x + d y, y downwards.

        matrix: a, b, u, c, d, v, x, y, w.
        """
        a, b, _, c, d = matrix[:5]
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, flip_y=d < 0, flip_x=a < 0)
        return cls(True, flip_y=b < 0, flip_x=c < 0)

    def __bool__(self) -> bool:
        return self.transposed or self.flip_y or self.flip_x

    @property
    def mirrored(self) -> bool:
        """Whether it is more than a turn: right and left change places after it."""
        return self.transposed ^ self.flip_y ^ self.flip_x

    @property
    def rotation(self) -> int:
        """The turn alone: degrees clockwise, 0, 90, 180 or 270."""
        flip_x = self.flip_x ^ self.mirrored
        return {(False, False): 0, (True, True): 90, (False, True): 180, (True, False): 270}[self.transposed, flip_x]


@dataclass(frozen=True)
class PictureFormat:
    """How a picture's samples are laid out and what they mean: the same all through most streams."""

    pixel_format: str
    """FFmpeg's name of the layout that the planes have: planar YUV or grey."""
    height: int
    """Luma rows shown, before the picture is turned upright."""
    width: int
    crop_top: int
    """Rows of the planes above the shown picture (in luma samples); likewise from the left."""
    crop_left: int
    bit_depth: int
    chroma_shift_x: int
    """log2 of the luma samples that share a chroma sample in a row; -1 for grey."""
    chroma_shift_y: int
    matrix: str
    """Colour matrix, by the stream's metadata; FFmpeg's default, bt601, where it says nothing."""
    full_range: bool
    orientation: Orientation
    """How a player turns the picture to stand upright."""


@dataclass(frozen=True)
class Picture:
    """One decoded picture."""

    frame: av.VideoFrame
    layout: PictureFormat
    decode_index: int
    """Its packet's number in the file."""
    display_index: int
    """Its number in order of presentation; -1 for a reference picture whose number is not known."""
    reference: bool
    """False where no other picture refers to it."""

    @property
    def intra(self) -> bool:
        """True where the picture is coded without prediction."""
        return int(self.frame.pict_type) in INTRA_TYPES

    @property
    def bidirectional(self) -> bool:
        """True for a B-picture."""
        return int(self.frame.pict_type) == 3

    @cached_property
    def luma(self) -> np.ndarray:
        """Luma as coded: uint8 or uint16 [rows, stride]; all that is needed of a reference picture."""
        return self._plane(0)

    @cached_property
    def planes(self) -> tuple[np.ndarray, ...]:
        """Planes as coded: uint8 or uint16 [rows, stride]; the shown samples begin at the crop offsets."""
        return (self.luma,) if self.layout.chroma_shift_x < 0 else (self.luma, self._plane(1), self._plane(2))

    def _plane(self, number: int) -> np.ndarray:
        plane = VideoPlane(self.frame, number)
        dtype = np.dtype(np.uint8 if self.layout.bit_depth == 8 else np.uint16)
        return np.ndarray((plane.height, plane.line_size // dtype.itemsize), dtype, memoryview(plane))

    def motion_records(self) -> tuple[np.ndarray, ...] | None:
        """FFmpeg's motion vectors, one array a field of MOTION_FIELDS; None where all blocks are intra."""
        data = side_data(self.frame, "MOTION_VECTORS")
        if data is None:
            return None
        records = data.to_ndarray()
        return tuple(records[name] for name in MOTION_FIELDS)


def read_format(frame: av.VideoFrame, width: int, height: int, sequence: SequenceParameters | None) -> PictureFormat:
    """The layout of a picture.

    Args:
        frame: as decoded, uncropped where `sequence` is given.
        width: luma samples a row as shown, by the header.
        height: luma rows as shown.
        sequence: H.264 sequence parameters, for the cropping rectangle.
    """
    name = readable_format(frame.format)
    layout = av.VideoFormat(name)
    grey = len(layout.components) < 3
    top, left, height, width = shown_window((frame.width, frame.height), (width, height), sequence)
    rgb = is_rgb(frame.format)
    return PictureFormat(
        pixel_format=name,
        height=height,
        width=width,
        crop_top=top,
        crop_left=left,
        bit_depth=layout.components[0].bits,
        chroma_shift_x=-1 if grey else (8 // layout.chroma_width(8)).bit_length() - 1,
        chroma_shift_y=-1 if grey else (8 // layout.chroma_height(8)).bit_length() - 1,
        matrix="bt601" if rgb else MATRICES.get(int(frame.colorspace), "bt601"),
        full_range=not rgb and _is_full_range(frame, grey),
        orientation=_orientation(frame),
    )


def shown_window(
    coded: tuple[int, int], shown: tuple[int, int], sequence: SequenceParameters | None
) -> tuple[int, int, int, int]:
    """Where the shown picture lies in planes of a size: top, left, height, width. Both sizes are width and height."""
    top = left = 0
    if coded != shown and sequence and (sequence.coded_width, sequence.coded_height) == coded:
        top, left = sequence.crop_top, sequence.crop_left
    return top, left, min(shown[1], coded[1] - top), min(shown[0], coded[0] - left)


def _orientation(frame: av.VideoFrame) -> Orientation:
    matrix = side_data(frame, "DISPLAYMATRIX")
    return Orientation() if matrix is None else Orientation.of_matrix(struct.unpack("=9i", bytes(matrix)[:36]))


def _is_full_range(frame: av.VideoFrame, grey: bool) -> bool:
    """By the stream's metadata; where it says nothing, as FFmpeg takes it: grey is full, YUV is not."""
    stated = int(frame.color_range)
    return stated == FULL_RANGE or "yuvj" in frame.format.name or (stated != LIMITED_RANGE and grey)


def fit_format(frame: av.VideoFrame, layout: PictureFormat) -> av.VideoFrame:
    """Convert a frame whose format the kernels do not read; others pass untouched."""
    if frame.format.name == layout.pixel_format:
        return frame
    color_range = FULL_RANGE if layout.full_range else LIMITED_RANGE
    return convert(frame, layout.pixel_format, COLOUR_SPACES[layout.matrix], color_range)
