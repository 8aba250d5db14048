"""A decoded picture's AVFrame: where its luma lies, and which packet it came of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codecsieve.codec.fields.coded import FRAME
from codecsieve.codec.fields.memory import FieldsError, Memory, Record
from codecsieve.codec.fields.table import Frame


class DecodedFrame(NamedTuple):
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


class Frames:
    """Reads AVFrames."""

    def __init__(self, memory: Memory, at: Frame) -> None:
        self._memory = memory
        self._record = Record(
            {
                "data": (at.data, "Q"),
                "stride": (at.linesize, "i"),
                "width": (at.width, "i"),
                "height": (at.height, "i"),
                "pts": (at.pts, "q"),
                "top": (at.crop, "Q"),
                "bottom": (at.crop + 8, "Q"),
                "left": (at.crop + 16, "Q"),
                "right": (at.crop + 24, "Q"),
            }
        )

    def read(self, address: int) -> DecodedFrame:
        """The AVFrame at an address. Raises FieldsError where it can be none."""
        if not address:
            raise FieldsError("a picture is not there")
        own = self._record.read(self._memory, address)
        data, width, height = own.data, own.width, own.height
        crop = own.top, own.bottom, own.left, own.right
        if not (
            data
            and 0 < width < 1 << 16
            and 0 < height < 1 << 16
            and own.top + own.bottom < height
            and own.left + own.right < width
        ):
            raise FieldsError(f"no picture of {width}x{height} can lie at {data:#x}")
        return DecodedFrame(data, own.stride, width, height, own.pts, crop)
