"""HEVC: motion, reference pictures and weights of the picture that FFmpeg's decoder has just decoded.

Offsets are `table`'s. Every pointer is checked before anything is read through it; what a damaged stream left out
counts as not predicted.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from codecsieve.codec.fields.coded import FRAME, CodedBlocks, CodedPicture, Prediction
from codecsieve.codec.fields.entries import EntryTable, Reference
from codecsieve.codec.fields.hevc_state import Decoded, Decoder, Sizes
from codecsieve.codec.fields.memory import FieldsError
from codecsieve.kernels.reference.compensate import EIGHT_TAP, UNIT
from codecsieve.kernels.reference.units import HevcMotion

__all__ = ["Decoder", "read_blocks", "read_picture"]

LIST_ENTRIES = 16
MOST_SLICES = 4096
BYTES_OF_MOTION = 12
P_SLICE, B_SLICE = 1, 0
"""slice_type (H.265 table 7-7)."""
NO_ENTRY = 255
"""-1 as a byte."""
Lists = list[tuple[list[int], list[int]]]
"""For each slice both its lists: numbers of pictures in the decoder."""


def read_picture(decoder: Decoder, index: int) -> CodedPicture | None:
    """The picture of a packet that was sent with `index` for its timestamp; None where it is not predicted.

    Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
    """
    decoded = decoder.open(index)
    sizes, memory = decoded.sizes, decoded.memory
    lists, weights = _read_lists(decoded), _read_weights(decoded)
    table, entry_of = _make_entries(lists, weights, sizes.bit_depth)
    if not table.references:
        return None
    entries = table.entries(weights.denominator if weights else 0)
    kind = np.uint8 if sizes.bit_depth == 8 else np.uint16
    planes = [decoder.picture_frame(decoded.raw, number) for number in entries.pictures]
    prediction = Prediction(
        rows=FRAME,
        picture=decoded.frame.luma(memory, kind),
        references=tuple(plane.luma(memory, kind) for plane in planes),
        plane_of=entries.plane_of,
        motion=_read_motion(decoded, len(lists), entry_of),
        weights=entries.weights,
    )
    return CodedPicture(
        predictions=(prediction,),
        width=sizes.width,
        height=sizes.height,
        crop=decoded.frame.crop,
        bit_depth=sizes.bit_depth,
        filter=EIGHT_TAP,
    )


def _read_motion(decoded: Decoded, slices: int, entry_of: np.ndarray) -> HevcMotion:
    sizes, address = decoded.sizes, decoded.own.motion
    high, wide = sizes.grid(sizes.log2_motion)
    return HevcMotion(
        vectors=decoded.memory.view(address, (high, wide, BYTES_OF_MOTION // 2), np.int16),
        flags=decoded.memory.view(address, (high, wide, BYTES_OF_MOTION), np.int8),
        slices=_read_slices(decoded, slices),
        block=1 << (sizes.log2_block - sizes.log2_motion),
        entry_of=entry_of,
        side=(1 << sizes.log2_motion) // UNIT,
        rows=-(-sizes.height // UNIT),
        columns=-(-sizes.width // UNIT),
    )


def _read_lists(decoded: Decoded) -> Lists:
    decoder, at, count = decoded.decoder, decoded.decoder.at, decoded.own.slices
    if not 0 < count <= MOST_SLICES:
        raise FieldsError(f"no picture has {count} slices")
    raw = decoded.memory.read(decoded.own.lists, count * 2 * at.list_size)

    def read(begin: int) -> list[int]:
        (length,) = struct.unpack_from("<i", raw, begin + at.list_count)
        if not 0 <= length <= LIST_ENTRIES:
            raise FieldsError(f"no list refers to {length} pictures")
        return [decoder.number(address) for address in struct.unpack_from(f"<{length}Q", raw, begin)]

    return [(read(start), read(start + at.list_size)) for start in range(0, len(raw), 2 * at.list_size)]


def _read_slices(decoded: Decoded, slices: int) -> np.ndarray:
    """int16 [rows, columns] of coding tree blocks: which slice each belongs to; -1 where none was decoded."""
    grid, own, at = decoded.sizes.grid(decoded.sizes.log2_block), decoded.own, decoded.decoder.at
    if own.blocks != grid[0] * grid[1]:
        raise FieldsError("the picture has not as many blocks as its size says")
    addresses = decoded.memory.view(own.lists_by_block, grid, np.int64)
    if slices == 1:  # as of most pictures: nothing is to be told apart
        return (addresses == own.lists).astype(np.int16) - np.int16(1)
    found, rest = np.divmod(addresses - own.lists, 2 * at.list_size)
    known = (rest == 0) & (found >= 0) & (found < slices)
    return np.where(known, found, -1).astype(np.int16)


class _SliceWeights(NamedTuple):
    """Explicit weights of the slice that was decoded last: the decoder keeps no others."""

    denominator: int
    weight: np.ndarray
    """int16 [2, 16]."""
    offset: np.ndarray
    """int16 [2, 16], at 8 bits a sample."""


def _read_weights(decoded: Decoded) -> _SliceWeights | None:
    memory, at = decoded.memory, decoded.decoder.at
    header = decoded.decoder.context + at.slice_header
    weighted = memory.read(decoded.own.pps + at.pps_weighted, 2)
    (kind,) = struct.unpack("<i", memory.read(header + at.slice_type, 4))
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


def _make_entries(lists: Lists, weights: _SliceWeights | None, bit_depth: int) -> tuple[EntryTable, np.ndarray]:
    """Entries, and int8 [slices, 2, 16]: that of each index of each list; -1 where there is none.

    A slice that refers as the last one does is taken to weight as it, any other not at all.
    """
    table, entry_of = EntryTable(), bytearray([NO_ENTRY]) * (len(lists) * 2 * LIST_ENTRIES)
    plain = 1 << (weights.denominator if weights else 0)
    for slice, both in enumerate(lists):
        used = weights if both == lists[-1] else None
        for which, pictures in enumerate(both):
            at = (2 * slice + which) * LIST_ENTRIES
            for index, picture in enumerate(pictures):
                weight = int(used.weight[which, index]) if used else plain
                offset = int(used.offset[which, index]) << (bit_depth - 8) if used else 0
                entry_of[at + index] = table.number(Reference(picture, weight, offset))
    return table, np.frombuffer(entry_of, np.int8).reshape(len(lists), 2, LIST_ENTRIES)


def read_blocks(decoder: Decoder, index: int) -> CodedBlocks:  # as H.264's
    """What was coded of the picture that `read_picture` reads."""
    decoded = decoder.open(index)
    sizes, layer, view = decoded.sizes, decoded.layer, decoded.memory.view
    coded = view(layer.cbf_luma, sizes.grid(sizes.log2_transform), np.uint8)
    quantiser = view(layer.qp_y, sizes.grid(sizes.log2_coding), np.int8)
    return CodedBlocks(_units(coded, sizes, sizes.log2_transform), _units(quantiser, sizes, sizes.log2_coding))


def _units(blocks: np.ndarray, sizes: Sizes, log2_side: int) -> np.ndarray:
    """Values of blocks of a size given to their units."""
    rows, columns = np.arange(-(-sizes.height // UNIT)), np.arange(-(-sizes.width // UNIT))
    down = log2_side - 2
    return blocks[(rows >> down)[:, None], columns >> down]
