"""H.264: FFmpeg's decoder as it stands behind a picture, its sizes and pointers checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codecsieve.codec.fields.frames import DecodedFrame, Frames
from codecsieve.codec.fields.memory import FieldsError, Memory, Record
from codecsieve.codec.fields.table import H264, Table

FRAME_STRUCTURE = 3
"""Of a frame, beside 1 and 2 of its fields."""


class Decoder:
    """FFmpeg's decoder of H.264, and the records of its structures."""

    def __init__(self, memory: Memory, table: Table, context: int) -> None:
        """context: address of the decoder's own context. Raises FieldsError where the table cannot be right."""
        self.memory, self.at, self.context = memory, table.h264, context
        self.frames = Frames(memory, table.frame)
        self.pictures = _picture_record(table.h264)
        self.list_counts, self.entry = _counts_record(table.h264), _entry_record(table.h264)
        self._context = _context_record(table.h264)
        if self.at.dpb + self.at.dpb_pictures * self.at.picture_size > self.at.current:
            raise FieldsError("the decoder's pictures do not lie before the current one's pointer")
        self._slice = _slice_record(table.h264)
        self._weighted_bipred = Record({"idc": (table.h264.pps_weighted_bipred, "i")}, table.h264.pps_weighted_bipred)

    def current_index(self) -> int:
        """The timestamp of the packet of the decoder's current picture, or of its first field."""
        current = self.memory.pointer(self.context + self.at.current)
        return self.frames.read(self.memory.pointer(current + self.at.picture_frame)).pts

    def number(self, address: int) -> int:
        """A picture's number in the decoder; -1 of an address where there is none."""
        number, rest = divmod(address - self.context - self.at.dpb, self.at.picture_size)
        return number if rest == 0 and 0 <= number < self.at.dpb_pictures else -1

    def open(self, index: int) -> Decoded:
        """The picture of a packet that was sent with `index` for its timestamp.

        Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
        """
        raw = self.memory.read(self.context + self._context.start, self._context.end - self._context.start)
        state = self._context.take(raw)
        number = self.number(state.current)
        if number < 0:
            raise FieldsError("the current picture is not among the decoded ones")
        own = self.pictures.take(raw, number * self.at.picture_size)
        frame = self.frames.read(own.frame)
        if frame.pts != index:
            raise FieldsError("the decoder's current picture is another one")
        _check_sizes(state, own, frame)
        slice = self._slice.read(self.memory, state.slice_context)
        if slice.context != self.context:
            raise FieldsError("the slice's context does not point back")
        weighted_bipred = self._weighted_bipred.read(self.memory, own.pps).idc
        decoded = Decoded(self, raw, state, slice, own, number, frame, weighted_bipred, {number: own})
        _check_values(decoded)
        return decoded


@dataclass
class Decoded:
    """The picture just decoded, and those that it may refer to.

    A picture or field is written `4 * number + structure`: its number in the decoder, and 1, 2 or 3.
    """

    decoder: Decoder
    raw: bytes
    """Records of all pictures in the decoder, one behind the other, and more."""
    state: Any
    """Numbers of the decoder's own context, see `_context_record`."""
    slice: Any
    """Numbers of the context of the slice that was decoded last, see `_slice_record`."""
    own: Any
    """This picture's record, see `_picture_record`."""
    number: int
    """Of this picture among them."""
    frame: DecodedFrame
    weighted_bipred: int
    """weighted_bipred_idc."""
    taken: dict[int, Any]
    """Records of pictures by number, as far as they were asked for."""

    @property
    def memory(self) -> Memory:
        """Where all this was read."""
        return self.decoder.memory

    @property
    def bit_depth(self) -> int:
        """Of luma."""
        return int(self.state.bit_depth)

    @property
    def last_slice(self) -> int:
        """Number of the slice that was decoded last, counted from 1."""
        return int(self.slice.number)

    @property
    def mixed(self) -> bool:
        """Whether it is a frame with macroblocks of fields."""
        return bool(self.own.mixed)

    @property
    def structure_is_frame(self) -> bool:
        """Whether it was coded as a frame, and not as two fields."""
        return not self.own.fields

    def picture(self, number: int) -> Any:
        """A picture's record."""
        record = self.taken.get(number)
        if record is None:
            record = self.decoder.pictures.take(self.raw, number * self.decoder.at.picture_size)
            self.taken[number] = record
        return record

    def by_macroblock(self, address: int, dtype: npt.DTypeLike, each: tuple[int, ...] = ()) -> np.ndarray:
        """An array in place: [Hm, Wm + 1, *each]; the last macroblock of a row is none."""
        return self.memory.view(address, (self.own.mb_height, self.own.mb_stride, *each), dtype)

    def types(self) -> np.ndarray:
        """uint32 [Hm, Wm + 1]: what macroblocks are."""
        return self.by_macroblock(self.own.types, np.uint32)

    def is_overwritten(self, rows: int) -> bool:
        """Whether a field was decoded first, and the other one behind it took the place of its slices."""
        return not self.structure_is_frame and self.state.structure != 1 + rows

    def slices(self, rows: int) -> np.ndarray:
        """uint16 [Hm, Wm + 1]: which slices the macroblocks of a frame or a field belong to.

        Of a field that was decoded first this is not known any more: all are of slice 1.
        """
        found = self.by_macroblock(self.state.slice_numbers, np.uint16)
        if self.is_overwritten(rows):
            found = np.ones_like(found)
            found.flags.writeable = False
        return found

    def motion(self) -> tuple[np.ndarray, np.ndarray]:
        """By list int16 [4 * Hm, 4 * Wm, 2]."""
        view, shape = self.memory.view, (self.frame.height // 4, self.frame.width // 4, 2)
        return view(self.own.motion_0, shape, np.int16), view(self.own.motion_1, shape, np.int16)

    def references(self) -> tuple[np.ndarray, np.ndarray]:
        """By list int8 [Hm, Wm + 1, 4]."""
        view, shape = self.memory.view, (self.own.mb_height, self.own.mb_stride, 4)
        return view(self.own.references_0, shape, np.int8), view(self.own.references_1, shape, np.int8)

    def order(self, picture: int) -> int:
        """Picture order count of a picture or field."""
        record, structure = self.picture(picture // 4), picture % 4
        return int((record.top_poc, record.bottom_poc, record.poc)[structure - 1])

    def is_long(self, picture: int) -> bool:
        """Whether a picture is a long-term reference."""
        return bool(self.picture(picture // 4).long)

    def short_references(self) -> list[int]:
        """Short-term references behind this picture in the decoder's order, up to the first that is none."""
        decoder, at = self.decoder, self.decoder.at
        start = decoder.context + at.short_references
        numbers = [decoder.number(int(a)) for a in self.memory.integers(start, at.most_short_references, np.int64)]
        return numbers[: numbers.index(-1)] if -1 in numbers else numbers


def _context_record(at: H264) -> Record:
    """H264Context from the pictures on, which are read with it in one piece."""
    return Record(
        {
            "current": (at.current, "Q"),
            "slice_context": (at.slice_context, "Q"),
            "coefficients": (at.coefficients, "Q"),
            "blocks_stride": (at.blocks_stride, "i"),
            "slice_numbers": (at.slice_numbers, "Q"),
            "structure": (at.structure, "i"),
            "mb_height": (at.mb_height, "i"),
            "mb_width": (at.mb_height + 4, "i"),
            "mb_stride": (at.mb_height + 8, "i"),
            "bit_depth": (at.bit_depth, "i"),
        },
        at.dpb,
    )


def _picture_record(at: H264) -> Record:
    """H264Picture, as far as it is read."""
    return Record(
        {
            "frame": (at.picture_frame, "Q"),
            "quantiser": (at.picture_quantiser, "Q"),
            "motion_0": (at.picture_motion, "Q"),
            "motion_1": (at.picture_motion + 8, "Q"),
            "types": (at.picture_types, "Q"),
            "references_0": (at.picture_references, "Q"),
            "references_1": (at.picture_references + 8, "Q"),
            "top_poc": (at.picture_field_poc, "i"),
            "bottom_poc": (at.picture_field_poc + 4, "i"),
            "poc": (at.picture_poc, "i"),
            "frame_num": (at.picture_frame_num, "i"),
            "long": (at.picture_long, "i"),
            "mixed": (at.picture_mixed, "i"),
            "fields": (at.picture_fields, "i"),
            "reference": (at.picture_reference, "i"),
            "pps": (at.picture_pps, "Q"),
            "mb_width": (at.picture_mb_width, "i"),
            "mb_height": (at.picture_mb_width + 4, "i"),
            "mb_stride": (at.picture_mb_width + 8, "i"),
        }
    )


def _slice_record(at: H264) -> Record:
    """H264SliceContext up to its weights; it begins with a pointer back."""
    return Record(
        {
            "context": (0, "Q"),
            "number": (at.slice_number, "i"),
            "use_weight": (at.slice_use_weight, "i"),
            "denominator": (at.slice_weight_denominator, "i"),
        }
    )


def _counts_record(at: H264) -> Record:
    """H264SliceContext where it says how long its lists are, and behind that how many there are."""
    start = at.slice_list_counts
    return Record({"first": (start, "i"), "second": (start + 4, "i"), "lists": (start + 8, "i")}, start)


def _entry_record(at: H264) -> Record:
    """H264Ref."""
    return Record({"structure": (at.list_entry_structure, "i"), "picture": (at.list_entry_picture, "Q")})


def _check_sizes(state: Any, own: Any, frame: DecodedFrame) -> None:
    """Raise FieldsError where what the decoder, the picture and its samples say of its size does not agree."""
    wide, high, stride = own.mb_width, own.mb_height, own.mb_stride
    said = state.mb_height, state.mb_width, state.mb_stride
    if said != (high, wide, stride) or stride != wide + 1 or state.blocks_stride != 4 * wide:
        raise FieldsError("the decoder's sizes do not multiply out")
    if (16 * wide, 16 * high) != (frame.width, frame.height):
        raise FieldsError("the picture is not of its decoder's size")


def _check_values(decoded: Decoded) -> None:
    """Raise FieldsError where a number can be none of a picture's."""
    own, state = decoded.own, decoded.state
    if not 8 <= state.bit_depth <= 14 or not 0 <= decoded.weighted_bipred <= 2:
        raise FieldsError("no sequence has such samples or weights")
    if not 1 <= state.structure <= FRAME_STRUCTURE or own.mixed not in (0, 1) or own.fields not in (0, 1):
        raise FieldsError("the picture is neither a frame nor fields")
    if (own.mixed or own.fields) and decoded.frame.height % 32:
        raise FieldsError("the fields of a frame are not alike")
    if not 0 < decoded.last_slice <= own.mb_width * own.mb_height:
        raise FieldsError(f"no picture has {decoded.last_slice} slices")
