"""A decoded picture's AVFrame: where its luma lies, and which packet it came of."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codecsieve.codec.fields.coded import FRAME
from codecsieve.codec.fields.memory import FieldsError, Memory
from codecsieve.codec.fields.table import Frame


@dataclass(frozen=True)
class DecodedFrame:
    """What counts of an AVFrame."""

    address: int
    """Of its first luma sample."""
    stride: int
    """Bytes a row."""
    width: int
    """Luma samples a row as coded; likewise height."""
    height: int
    pts: int
    """The timestamp of its packet."""
    crop: tuple[int, int, int, int]
    """Rows above and below what is shown, columns left and right of it."""

    def luma(self, memory: Memory, dtype: npt.DTypeLike, rows: int = FRAME) -> np.ndarray:
        """Luma in place: [height, stride in samples], of a field [height / 2, twice the stride].

        Behind the width lies what is no picture: of a top field the other one, of a bottom field's last row even what
        is behind the picture. Raises FieldsError where it cannot be.
        """
        size = np.dtype(dtype).itemsize
        if self.stride < self.width * size or self.stride % size:
            raise FieldsError(f"a stride of {self.stride} bytes is none of {self.width} samples")
        if rows == FRAME:
            return memory.view(self.address, (self.height, self.stride // size), dtype)
        return memory.view(self.address + rows * self.stride, (self.height // 2, 2 * self.stride // size), dtype)


def read_frame(memory: Memory, at: Frame, address: int) -> DecodedFrame:
    """The AVFrame at an address. Raises FieldsError where it can be none."""
    raw = memory.read(address, at.crop + 32)
    (data,) = struct.unpack_from("<Q", raw, at.data)
    (stride,) = struct.unpack_from("<i", raw, at.linesize)
    (width,) = struct.unpack_from("<i", raw, at.width)
    (height,) = struct.unpack_from("<i", raw, at.height)
    (pts,) = struct.unpack_from("<q", raw, at.pts)
    top, bottom, left, right = struct.unpack_from("<4Q", raw, at.crop)
    if not (data and 0 < width < 1 << 16 and 0 < height < 1 << 16 and top + bottom < height and left + right < width):
        raise FieldsError(f"no picture of {width}x{height} can lie at {data:#x}")
    return DecodedFrame(data, stride, width, height, pts, (top, bottom, left, right))
