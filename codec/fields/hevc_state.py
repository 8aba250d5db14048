"""HEVC: FFmpeg's decoder as it stands behind a picture, its sizes and pointers checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from codecsieve.codec.fields.frames import DecodedFrame, Frames
from codecsieve.codec.fields.memory import FieldsError, Memory, Record
from codecsieve.codec.fields.table import Hevc, Table


class Sizes(NamedTuple):
    """What the sequence parameter set says of sizes, checked against each other."""

    bit_depth: int
    width: int
    height: int
    log2_block: int
    """log2 of the luma samples on a side of a coding tree block; likewise the next."""
    log2_coding: int
    log2_transform: int

    @property
    def log2_motion(self) -> int:
        """Of a minimum prediction block: half a minimum coding block."""
        return self.log2_coding - 1

    def grid(self, log2_side: int) -> tuple[int, int]:
        """Rows and columns of blocks of a size."""
        return -(-self.height >> log2_side), -(-self.width >> log2_side)


class Decoder:
    """FFmpeg's decoder of HEVC, and the records of its structures."""

    def __init__(self, memory: Memory, table: Table, context: int) -> None:
        """context: address of the decoder's own context. Raises FieldsError where the table cannot be right."""
        self.memory, self.at, self.context = memory, table.hevc, context
        self._layer = context + table.hevc.layers
        self.frames = Frames(memory, table.frame)
        self._layer_record = _layer_record(table.hevc)
        self._frame_record = _frame_record(table.hevc)
        self._depth = Record({"bits": (table.hevc.sps_bit_depth, "i")}, table.hevc.sps_bit_depth)
        self._sequence = _sequence_record(table.hevc)
        self._known: tuple[Any, Any, Sizes] | None = None
        """Numbers of a sequence, and what followed from them."""
        if table.hevc.dpb + table.hevc.dpb_frames * table.hevc.frame_size > table.hevc.current:
            raise FieldsError("the decoder's pictures do not lie before the current one's pointer")

    def current_index(self) -> int:
        """The timestamp of the packet of the decoder's current picture."""
        return self.frames.read(self.memory.pointer(self.memory.pointer(self._layer + self.at.current))).pts

    def number(self, address: int) -> int:
        """A picture's number in the decoder. Raises FieldsError where there is none at an address."""
        number, rest = divmod(address - self._layer - self.at.dpb, self.at.frame_size)
        if rest or not 0 <= number < self.at.dpb_frames:
            raise FieldsError("what ought to be a picture is not among the decoded ones")
        return number

    def open(self, index: int) -> Decoded:
        """The picture of a packet that was sent with `index` for its timestamp.

        Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
        """
        record = self._layer_record
        raw = self.memory.read(self._layer + record.start, record.end - record.start)
        layer = record.take(raw)
        own = self._frame_record.take(raw, self.number(layer.current) * self.at.frame_size)
        frame = self.frames.read(own.frame)
        if frame.pts != index:
            raise FieldsError("the decoder's current picture is another one")
        sizes = self._read_sizes(layer.sps)
        if (sizes.height, sizes.width) != (frame.height, frame.width):
            raise FieldsError("the picture is not of its sequence's size")
        return Decoded(self, raw, layer, own, frame, sizes)

    def picture_frame(self, raw: bytes, number: int) -> DecodedFrame:
        """Where a picture's samples lie. Raises FieldsError where it has none."""
        return self.frames.read(self._frame_record.take(raw, number * self.at.frame_size).frame)

    def _read_sizes(self, sps: int) -> Sizes:
        depth, numbers = self._depth.read(self.memory, sps), self._sequence.read(self.memory, sps)
        if self._known is None or self._known[:2] != (depth, numbers):
            self._known = depth, numbers, _check_sizes(depth.bits, numbers)
        return self._known[2]


@dataclass
class Decoded:
    """The picture just decoded, and those that it may refer to."""

    decoder: Decoder
    raw: bytes
    """Records of all pictures in the decoder, one behind the other, and more."""
    layer: Any
    """Numbers of the decoder's layer, see `_layer_record`."""
    own: Any
    """This picture's record, see `_frame_record`."""
    frame: DecodedFrame
    sizes: Sizes

    @property
    def memory(self) -> Memory:
        """Where all this was read."""
        return self.decoder.memory


def _layer_record(at: Hevc) -> Record:
    """HEVCLayerContext from the pictures on, which are read with it in one piece."""
    return Record(
        {
            "current": (at.current, "Q"),
            "sps": (at.sps, "Q"),
            "cbf_luma": (at.cbf_luma, "Q"),
            "qp_y": (at.qp_y, "Q"),
        },
        at.dpb,
    )


def _frame_record(at: Hevc) -> Record:
    """HEVCFrame; it begins with a pointer to its AVFrame."""
    return Record(
        {
            "frame": (0, "Q"),
            "motion": (at.frame_motion, "Q"),
            "lists_by_block": (at.frame_lists_by_block, "Q"),
            "blocks": (at.frame_blocks, "i"),
            "pps": (at.frame_pps, "Q"),
            "lists": (at.frame_lists, "Q"),
            "slices": (at.frame_slices, "i"),
        }
    )


def _sequence_record(at: Hevc) -> Record:
    """HEVCSPS where it has sizes, which lie within two kilobytes."""
    names = (
        "log2_min_cb", "log2_min_tb", "log2_ctb", "width", "height", "ctb_width", "min_cb_width", "min_cb_height",
        "min_tb_width", "min_tb_height", "min_pu_width", "min_pu_height",
    )  # fmt: skip
    return Record({name: (getattr(at, f"sps_{name}"), "i") for name in names}, at.sps_log2_min_cb)


def _check_sizes(bit_depth: int, own: Any) -> Sizes:
    """Raise FieldsError where what a sequence says of its sizes does not multiply out."""
    coding, transform, block = own.log2_min_cb, own.log2_min_tb, own.log2_ctb
    if not (8 <= bit_depth <= 12 and 3 <= coding <= block <= 6 and 2 <= transform < coding):
        raise FieldsError("no sequence has such blocks or samples")
    sizes = Sizes(bit_depth, own.width, own.height, block, coding, transform)
    grids = (
        (own.min_cb_height, own.min_cb_width, coding),
        (own.min_tb_height, own.min_tb_width, transform),
        (own.min_pu_height, own.min_pu_width, sizes.log2_motion),
    )
    if own.ctb_width != sizes.grid(block)[1] or any((high, wide) != sizes.grid(log2) for high, wide, log2 in grids):
        raise FieldsError("the sequence's sizes do not multiply out")
    return sizes
