"""HEVC: motion, reference pictures and weights of the picture that FFmpeg's decoder has just decoded.

Offsets are `table`'s. Every pointer is checked before anything is read through it; what a damaged stream left out
counts as not predicted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from codecsieve.codec.fields.coded import FRAME, CodedBlocks, CodedPicture, Prediction
from codecsieve.codec.fields.entries import EntryTable, Reference
from codecsieve.codec.fields.frames import DecodedFrame, Frames
from codecsieve.codec.fields.memory import FieldsError, Memory
from codecsieve.codec.fields.table import Hevc, Table
from codecsieve.kernels.reference.compensate import EIGHT_TAP, UNIT
from codecsieve.kernels.reference.units import HevcMotion

LIST_ENTRIES = 16
MOST_SLICES = 4096
BYTES_OF_MOTION = 12
P_SLICE, B_SLICE = 1, 0
"""slice_type (H.265 table 7-7)."""


@dataclass(frozen=True)
class _Sizes:
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
    """FFmpeg's decoder of HEVC."""

    def __init__(self, memory: Memory, table: Table, context: int) -> None:
        """context: address of the decoder's own context."""
        self.memory, self.at, self.context = memory, table.hevc, context
        self.layer = context + table.hevc.layers
        self.frames = Frames(memory, table.frame)

    def current_index(self) -> int:
        """The timestamp of the packet of the decoder's current picture."""
        return self.frames.read(self.memory.pointer(self.memory.pointer(self.layer + self.at.current))).pts


def read_picture(decoder: Decoder, index: int) -> CodedPicture | None:
    """The picture of a packet that was sent with `index` for its timestamp; None where it is not predicted.

    Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
    """
    memory, at, layer = decoder.memory, decoder.at, decoder.layer
    current = memory.pointer(layer + at.current)
    number = _frame_number(at, layer, current)
    frames = memory.read(layer + at.dpb, at.dpb_frames * at.frame_size)
    mine = _frame(decoder, frames, number)
    if mine.pts != index:
        raise FieldsError("the decoder's current picture is another one")
    sizes = _read_sizes(memory, at, layer)
    if (sizes.height, sizes.width) != (mine.height, mine.width):
        raise FieldsError("the picture is not of its sequence's size")
    lists = _read_lists(memory, at, layer, frames, number)
    weights = _read_weights(memory, at, decoder.context, frames, number)
    table_of_entries, entry_of = _make_entries(lists, weights, sizes.bit_depth)
    if not table_of_entries.references:
        return None
    entries = table_of_entries.entries(weights.denominator if weights else 0)
    high, wide = sizes.grid(sizes.log2_motion)
    raw = memory.view(_word(frames, number, at.frame_size, at.frame_motion), (high, wide, BYTES_OF_MOTION), np.int8)
    motion = HevcMotion(
        vectors=raw.view(np.int16),
        flags=raw,
        slices=_read_slices(memory, at, frames, number, sizes, len(lists)),
        block=1 << (sizes.log2_block - sizes.log2_motion),
        entry_of=entry_of,
        side=(1 << sizes.log2_motion) // UNIT,
        rows=-(-sizes.height // UNIT),
        columns=-(-sizes.width // UNIT),
    )
    luma = [_frame(decoder, frames, picture) for picture in entries.pictures]
    kind = np.uint8 if sizes.bit_depth == 8 else np.uint16
    return CodedPicture(
        predictions=(
            Prediction(
                rows=FRAME,
                picture=mine.luma(memory, kind),
                references=tuple(plane.luma(memory, kind) for plane in luma),
                plane_of=entries.plane_of,
                motion=motion,
                weights=entries.weights,
            ),
        ),
        width=sizes.width,
        height=sizes.height,
        crop=mine.crop,
        bit_depth=sizes.bit_depth,
        filter=EIGHT_TAP,
    )


def _frame_number(at: Hevc, layer: int, address: int) -> int:
    number, rest = divmod(address - layer - at.dpb, at.frame_size)
    if rest or not 0 <= number < at.dpb_frames:
        raise FieldsError("the current picture is not among the decoded ones")
    return number


def _word(frames: bytes, number: int, size: int, offset: int, kind: str = "<Q") -> int:
    value: int = struct.unpack_from(kind, frames, number * size + offset)[0]
    return value


def _frame(decoder: Decoder, frames: bytes, number: int) -> DecodedFrame:
    return decoder.frames.read(_word(frames, number, decoder.at.frame_size, 0))


def _read_sizes(memory: Memory, at: Hevc, layer: int) -> _Sizes:
    sps = memory.pointer(layer + at.sps)
    # One read for all: they lie within two kilobytes.
    first, last = at.sps_log2_min_cb, at.sps_min_pu_height
    raw = memory.read(sps + first, last + 4 - first)

    def number(offset: int) -> int:
        return int(struct.unpack_from("<i", raw, offset - first)[0])

    bit_depth = int(memory.integers(sps + at.sps_bit_depth, 1)[0])
    coding, transform, block = map(number, (at.sps_log2_min_cb, at.sps_log2_min_tb, at.sps_log2_ctb))
    if not (8 <= bit_depth <= 12 and 3 <= coding <= block <= 6 and 2 <= transform < coding):
        raise FieldsError("no sequence has such blocks or samples")
    sizes = _Sizes(bit_depth, number(at.sps_width), number(at.sps_height), block, coding, transform)
    grids = (
        (at.sps_ctb_width, sizes.grid(block)[1]),
        (at.sps_min_cb_height, sizes.grid(coding)[0]),
        (at.sps_min_cb_width, sizes.grid(coding)[1]),
        (at.sps_min_tb_height, sizes.grid(transform)[0]),
        (at.sps_min_tb_width, sizes.grid(transform)[1]),
        (at.sps_min_pu_height, sizes.grid(sizes.log2_motion)[0]),
        (at.sps_min_pu_width, sizes.grid(sizes.log2_motion)[1]),
    )
    if any(number(offset) != blocks for offset, blocks in grids):
        raise FieldsError("the sequence's sizes do not multiply out")
    return sizes


def _read_lists(memory: Memory, at: Hevc, layer: int, frames: bytes, number: int) -> list[tuple[list[int], list[int]]]:
    """For each slice both its lists: numbers of pictures in the decoder."""
    count = _word(frames, number, at.frame_size, at.frame_slices, "<i")
    if not 0 < count <= MOST_SLICES:
        raise FieldsError(f"no picture has {count} slices")
    raw = memory.read(_word(frames, number, at.frame_size, at.frame_lists), count * 2 * at.list_size)
    lists = []
    for start in range(0, len(raw), 2 * at.list_size):
        both = []
        for begin in (start, start + at.list_size):
            (length,) = struct.unpack_from("<i", raw, begin + at.list_count)
            if not 0 <= length <= LIST_ENTRIES:
                raise FieldsError(f"no list refers to {length} pictures")
            addresses = struct.unpack_from(f"<{length}Q", raw, begin)
            both.append([_frame_number(at, layer, address) for address in addresses])
        lists.append((both[0], both[1]))
    return lists


def _read_slices(memory: Memory, at: Hevc, frames: bytes, number: int, sizes: _Sizes, slices: int) -> np.ndarray:
    """int16 [rows, columns] of coding tree blocks: which slice each belongs to; -1 where none was decoded."""
    grid = sizes.grid(sizes.log2_block)
    if _word(frames, number, at.frame_size, at.frame_blocks, "<i") != grid[0] * grid[1]:
        raise FieldsError("the picture has not as many blocks as its size says")
    addresses = memory.view(_word(frames, number, at.frame_size, at.frame_lists_by_block), grid, np.int64)
    found, rest = np.divmod(addresses - _word(frames, number, at.frame_size, at.frame_lists), 2 * at.list_size)
    known = (rest == 0) & (found >= 0) & (found < slices)
    return np.where(known, found, -1).astype(np.int16)


@dataclass(frozen=True)
class _SliceWeights:
    """Explicit weights of the slice that was decoded last: the decoder keeps no others."""

    denominator: int
    weight: np.ndarray
    """int16 [2, 16]."""
    offset: np.ndarray
    """int16 [2, 16], at 8 bits a sample."""


def _read_weights(memory: Memory, at: Hevc, context: int, frames: bytes, number: int) -> _SliceWeights | None:
    weighted = memory.read(_word(frames, number, at.frame_size, at.frame_pps) + at.pps_weighted, 2)
    header = context + at.slice_header
    kind = int(memory.integers(header + at.slice_type, 1)[0])
    if max(weighted) > 1 or kind not in (0, 1, 2):
        raise FieldsError("the last slice's header is none")
    if not ((kind == P_SLICE and weighted[0]) or (kind == B_SLICE and weighted[1])):
        return None
    (denominator,) = memory.read(header + at.slice_weight_denominator, 1)
    if denominator > 7:
        raise FieldsError(f"no weight has {denominator} bits")
    lists = 1 if kind == P_SLICE else 2
    weight = np.full((2, LIST_ENTRIES), 1 << denominator, np.int16)
    offset = np.zeros((2, LIST_ENTRIES), np.int16)
    for which in range(lists):
        weight[which] = memory.integers(header + at.slice_weight[which], LIST_ENTRIES, np.int16)
        offset[which] = memory.integers(header + at.slice_offset[which], LIST_ENTRIES, np.int16)
    return _SliceWeights(denominator, weight, offset)


def _make_entries(
    lists: list[tuple[list[int], list[int]]], weights: _SliceWeights | None, bit_depth: int
) -> tuple[EntryTable, np.ndarray]:
    """Entries, and int8 [slices, 2, 16]: that of each index of each list; -1 where there is none.

    A slice that refers as the last one does is taken to weight as it, any other not at all.
    """
    table, entry_of = EntryTable(), np.full((len(lists), 2, LIST_ENTRIES), -1, np.int8)
    plain = 1 << (weights.denominator if weights else 0)
    for at, both in enumerate(lists):
        used = weights if both == lists[-1] else None
        for which, pictures in enumerate(both):
            for index, picture in enumerate(pictures):
                weight = int(used.weight[which, index]) if used else plain
                offset = int(used.offset[which, index]) << (bit_depth - 8) if used else 0
                entry_of[at, which, index] = table.number(Reference(picture, weight, offset))
    return table, entry_of


def read_blocks(decoder: Decoder, index: int) -> CodedBlocks:  # as H.264's
    """What was coded of the picture that `read_picture` reads."""
    memory, at, layer = decoder.memory, decoder.at, decoder.layer
    sizes = _read_sizes(memory, at, layer)
    coded = memory.view(memory.pointer(layer + at.cbf_luma), sizes.grid(sizes.log2_transform), np.uint8)
    quantiser = memory.view(memory.pointer(layer + at.qp_y), sizes.grid(sizes.log2_coding), np.int8)
    return CodedBlocks(_units(coded, sizes, sizes.log2_transform), _units(quantiser, sizes, sizes.log2_coding))


def _units(blocks: np.ndarray, sizes: _Sizes, log2_side: int) -> np.ndarray:
    """Values of blocks of a size given to their units."""
    rows, columns = np.arange(-(-sizes.height // UNIT)), np.arange(-(-sizes.width // UNIT))
    down = log2_side - 2
    return blocks[(rows >> down)[:, None], columns >> down]
