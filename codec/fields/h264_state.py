"""H.264: FFmpeg's decoder as it stands behind a picture, its sizes and pointers checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from codecsieve.codec.fields.frames import DecodedFrame, read_frame
from codecsieve.codec.fields.memory import FieldsError, Memory
from codecsieve.codec.fields.table import H264, Table

FRAME_STRUCTURE = 3
"""Of a frame, beside 1 and 2 of its fields."""


@dataclass(frozen=True)
class Decoded:
    """The picture just decoded, and those that it may refer to.

    A picture or field is written `4 * number + structure`: its number in the decoder, and 1, 2 or 3.
    """

    memory: Memory
    table: Table
    context: int
    """Address of the decoder's own context; likewise of the slice's that was decoded last."""
    slice_context: int
    pictures: np.ndarray
    """Records of all pictures in the decoder, with the fields of `_picture_type`."""
    number: int
    """Of this picture among them."""
    frame: DecodedFrame
    bit_depth: int
    structure: int
    """Of what was decoded last."""
    last_slice: int
    """Number of the slice that was decoded last, counted from 1."""
    weighted_bipred: int
    """weighted_bipred_idc."""

    @property
    def size(self) -> tuple[int, int]:
        """Luma samples a row and a column."""
        return self.frame.width, self.frame.height

    @property
    def mixed(self) -> bool:
        """Whether it is a frame with macroblocks of fields."""
        return bool(self.pictures["mixed"][self.number])

    @property
    def structure_is_frame(self) -> bool:
        """Whether it was coded as a frame, and not as two fields."""
        return not self.pictures["fields"][self.number]

    def by_macroblock(self, address: int, dtype: npt.DTypeLike, each: tuple[int, ...] = ()) -> np.ndarray:
        """An array in place: [Hm, Wm + 1, *each]; the last macroblock of a row is none."""
        return self.memory.view(address, (self.frame.height // 16, self.frame.width // 16 + 1, *each), dtype)

    def types(self) -> np.ndarray:
        """uint32 [Hm, Wm + 1]: what macroblocks are."""
        return self.by_macroblock(int(self.pictures["types"][self.number]), np.uint32)

    def is_overwritten(self, rows: int) -> bool:
        """Whether a field was decoded first, and the other one behind it took the place of its slices."""
        return not self.structure_is_frame and self.structure != 1 + rows

    def slices(self, rows: int) -> np.ndarray:
        """uint16 [Hm, Wm + 1]: which slices the macroblocks of a frame or a field belong to.

        Of a field that was decoded first this is not known any more: all are of slice 1.
        """
        found = self.by_macroblock(self.memory.pointer(self.context + self.table.h264.slice_numbers), np.uint16)
        if self.is_overwritten(rows):
            found = np.ones_like(found)
            found.flags.writeable = False
        return found

    def motion(self) -> tuple[np.ndarray, np.ndarray]:
        """By list int16 [4 * Hm, 4 * Wm, 2]."""
        first, second = (int(address) for address in self.pictures["motion"][self.number])
        shape = (self.frame.height // 4, self.frame.width // 4, 2)
        return self.memory.view(first, shape, np.int16), self.memory.view(second, shape, np.int16)

    def references(self) -> tuple[np.ndarray, np.ndarray]:
        """By list int8 [Hm, Wm + 1, 4]."""
        first, second = (int(address) for address in self.pictures["references"][self.number])
        return self.by_macroblock(first, np.int8, (4,)), self.by_macroblock(second, np.int8, (4,))

    def picture_frame(self, number: int) -> DecodedFrame:
        """Where a picture's samples lie. Raises FieldsError where it has none."""
        address = int(self.pictures["frame"][number])
        if not address:
            raise FieldsError("a picture is not there")
        return read_frame(self.memory, self.table.frame, address)

    def order(self, picture: int) -> int:
        """Picture order count of a picture or field."""
        number, structure = divmod(picture, 4)
        if structure == FRAME_STRUCTURE:
            return int(self.pictures["poc"][number])
        return int(self.pictures["field_poc"][number, structure - 1])

    def is_long(self, picture: int) -> bool:
        """Whether a picture is a long-term reference."""
        return bool(self.pictures["long"][picture // 4])


def picture_number(at: H264, context: int, address: int) -> int:
    """A picture's number in the decoder; -1 of an address where there is none."""
    number, rest = divmod(address - context - at.dpb, at.picture_size)
    return number if rest == 0 and 0 <= number < at.dpb_pictures else -1


def short_references(decoded: Decoded) -> list[int]:
    """Short-term references behind this picture in the decoder's order, up to the first that is none."""
    at = decoded.table.h264
    addresses = decoded.memory.integers(decoded.context + at.short_references, at.most_short_references, np.int64)
    numbers = [picture_number(at, decoded.context, int(address)) for address in addresses]
    return numbers[: numbers.index(-1)] if -1 in numbers else numbers


def current_index(memory: Memory, table: Table, context: int) -> int:
    """The timestamp of the packet of the decoder's current picture, or of its first field."""
    current = memory.pointer(context + table.h264.current)
    return read_frame(memory, table.frame, memory.pointer(current + table.h264.picture_frame)).pts


def open_picture(memory: Memory, table: Table, context: int, index: int) -> Decoded:
    """The picture of a packet that was sent with `index` for its timestamp.

    Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
    """
    at = table.h264
    number = picture_number(at, context, memory.pointer(context + at.current))
    if number < 0:
        raise FieldsError("the current picture is not among the decoded ones")
    raw = memory.read(context + at.dpb, at.dpb_pictures * at.picture_size)
    pictures = np.frombuffer(raw, _picture_type(at))
    frame = read_frame(memory, table.frame, int(pictures["frame"][number]))
    if frame.pts != index:
        raise FieldsError("the decoder's current picture is another one")
    _check_sizes(memory, at, context, pictures[number], frame)
    slice_context = memory.pointer(context + at.slice_context)
    if memory.pointer(slice_context) != context:
        raise FieldsError("the slice's context does not point back")
    decoded = Decoded(
        memory=memory,
        table=table,
        context=context,
        slice_context=slice_context,
        pictures=pictures,
        number=number,
        frame=frame,
        bit_depth=int(memory.integers(context + at.bit_depth, 1)[0]),
        structure=int(memory.integers(context + at.structure, 1)[0]),
        last_slice=int(memory.integers(slice_context + at.slice_number, 1)[0]),
        weighted_bipred=int(memory.integers(int(pictures["pps"][number]) + at.pps_weighted_bipred, 1)[0]),
    )
    _check_values(decoded)
    return decoded


@cache
def _picture_type(at: H264) -> np.dtype:
    """H264Picture, as far as it is read."""
    fields = {
        "frame": ("<u8", at.picture_frame),
        "quantiser": ("<u8", at.picture_quantiser),
        "motion": ("(2,)<u8", at.picture_motion),
        "types": ("<u8", at.picture_types),
        "references": ("(2,)<u8", at.picture_references),
        "field_poc": ("(2,)<i4", at.picture_field_poc),
        "poc": ("<i4", at.picture_poc),
        "frame_num": ("<i4", at.picture_frame_num),
        "long": ("<i4", at.picture_long),
        "lists": ("(2,2,32)<i4", at.picture_lists),
        "list_counts": ("(2,2)<i4", at.picture_list_counts),
        "mixed": ("<i4", at.picture_mixed),
        "fields": ("<i4", at.picture_fields),
        "reference": ("<i4", at.picture_reference),
        "pps": ("<u8", at.picture_pps),
        "sizes": ("(3,)<i4", at.picture_mb_width),
    }
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype(
        {"names": list(fields), "formats": list(formats), "offsets": list(offsets), "itemsize": at.picture_size}
    )


def _check_sizes(memory: Memory, at: H264, context: int, picture: np.ndarray, frame: DecodedFrame) -> None:
    """Raise FieldsError where what the decoder, the picture and its samples say of its size does not agree."""
    wide, high, stride = (int(number) for number in picture["sizes"])
    said = tuple(int(number) for number in memory.integers(context + at.mb_height, 3))
    blocks = int(memory.integers(context + at.blocks_stride, 1)[0])
    if said != (high, wide, stride) or stride != wide + 1 or blocks != 4 * wide:
        raise FieldsError("the decoder's sizes do not multiply out")
    if (16 * wide, 16 * high) != (frame.width, frame.height):
        raise FieldsError("the picture is not of its decoder's size")


def _check_values(decoded: Decoded) -> None:
    """Raise FieldsError where a number can be none of a picture's."""
    own = decoded.pictures[decoded.number]
    if not 8 <= decoded.bit_depth <= 14 or not 0 <= decoded.weighted_bipred <= 2:
        raise FieldsError("no sequence has such samples or weights")
    if not 1 <= decoded.structure <= FRAME_STRUCTURE or not {int(own["mixed"]), int(own["fields"])} <= {0, 1}:
        raise FieldsError("the picture is neither a frame nor fields")
    if (decoded.mixed or own["fields"]) and decoded.frame.height % 32:
        raise FieldsError("the fields of a frame are not alike")
    if not 0 < decoded.last_slice <= decoded.frame.width * decoded.frame.height // 256:
        raise FieldsError(f"no picture has {decoded.last_slice} slices")
