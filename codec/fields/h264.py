"""H.264: motion, reference pictures and weights of the picture that FFmpeg's decoder has just decoded.

Offsets are `table`'s; what the slices' reference lists say is read in `h264_lists`. Every pointer is checked before
anything is read through it; what a damaged stream left out counts as not predicted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codecsieve.codec.fields.coded import BOTTOM, FRAME, TOP, CodedBlocks, CodedPicture, Prediction
from codecsieve.codec.fields.entries import Entries, EntryTable, Reference
from codecsieve.codec.fields.h264_lists import LIST_ENTRIES, SliceLists, read_lists
from codecsieve.codec.fields.h264_state import FRAME_STRUCTURE, Decoded, current_index, open_picture
from codecsieve.codec.fields.memory import FieldsError, Memory
from codecsieve.codec.fields.table import Table
from codecsieve.kernels.reference.compensate import Weights
from codecsieve.kernels.reference.predict import SIX_TAP
from codecsieve.kernels.reference.units import INTERLACED, H264Motion

__all__ = ["current_index", "read_blocks", "read_picture"]

IMPLICIT = 2
"""weighted_bipred_idc: weights follow from distances in time."""
IMPLICIT_DENOMINATOR = 5
TRANSFORM_8X8 = 1 << 24
"""Bit of a macroblock's type, as FFmpeg has it."""
COUNTS = 48
"""4x4 blocks of a macroblock, of luma and chroma, of which the decoder counts the coefficients."""


def read_picture(memory: Memory, table: Table, context: int, index: int) -> CodedPicture | None:
    """The picture of a packet that was sent with `index` for its timestamp; None where it is not predicted.

    A field without inter slices has no Prediction, where the other one has one. Fields that come in packets of their
    own are one picture, of the first one's index; behind the first packet, only that field can be read.

    Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
    """
    decoded = open_picture(memory, table, context, index)
    parts = [FRAME] if decoded.structure_is_frame else [TOP, BOTTOM]
    if decoded.mixed:
        parts = [FRAME, TOP, BOTTOM]
    whole = read_lists(decoded, FRAME) if decoded.structure_is_frame else None
    predictions = [_read_prediction(decoded, rows, whole or read_lists(decoded, rows)) for rows in parts]
    found = tuple(prediction for prediction in predictions if prediction is not None)
    if not found:
        return None
    return CodedPicture(
        predictions=found,
        width=decoded.frame.width,
        height=decoded.frame.height,
        crop=decoded.frame.crop,
        bit_depth=decoded.bit_depth,
        filter=SIX_TAP,
    )


def read_blocks(memory: Memory, table: Table, context: int, index: int) -> CodedBlocks:
    """What was coded of that picture. Where macroblocks are of fields, rows of units have the more of both fields'."""
    decoded, at = open_picture(memory, table, context, index), table.h264
    counts = decoded.by_macroblock(memory.pointer(context + at.coefficients), np.uint8, (COUNTS,))[:, :-1, :16]
    high, wide = counts.shape[:2]
    quarters = counts.reshape(high, wide, 2, 2, 2, 2)  # of a macroblock, by row and column of quarters and in them
    # Of an 8x8 block at least one of its four has the count of all.
    whole = quarters.max(axis=(3, 5), keepdims=True)
    types = decoded.types()[:, :-1]
    transformed = (types & TRANSFORM_8X8 > 0)[..., None, None, None, None]
    quarters = np.where(transformed, (whole + 3) // 4, quarters)
    own = quarters.reshape(high, wide, 4, 4).swapaxes(1, 2).reshape(4 * high, 4 * wide)
    found = decoded.by_macroblock(int(decoded.pictures["quantiser"][decoded.number]), np.int8)[:, :-1]
    quantiser = found.repeat(4, axis=0).repeat(4, axis=1)
    if not decoded.structure_is_frame or decoded.mixed:
        of_field = (types & INTERLACED > 0).repeat(4, axis=0).repeat(4, axis=1)
        own = np.where(of_field, _interleaved(own, np.maximum), own)
        quantiser = np.where(of_field, _interleaved(quantiser, np.minimum), quantiser)
    return CodedBlocks(own, quantiser)


def _interleaved(units: np.ndarray, both: np.ufunc) -> np.ndarray:
    """Units of pairs of macroblocks of fields, one above the other, where their lines are in the frame."""
    pairs = units.reshape(-1, 2, 4, units.shape[1])
    return both(pairs[:, 0], pairs[:, 1]).repeat(2, axis=1).reshape(units.shape)


def _read_prediction(decoded: Decoded, rows: int, lists: SliceLists) -> Prediction | None:
    """How a frame's or a field's own macroblocks are predicted; None where there are none, or no inter slices."""
    table, entry_of = _make_entries(decoded, rows, lists)
    if not table.references:
        return None
    types = decoded.types()
    if (
        decoded.mixed
        and not ((types[max(rows, 0) :: 1 if rows == FRAME else 2, :-1] & INTERLACED > 0) == (rows != FRAME)).any()
    ):
        return None
    entries = _weigh(decoded, rows, table, entry_of, lists)
    frames = {picture: decoded.picture_frame(picture // 4) for picture in entries.pictures}
    if any((frame.width, frame.height) != decoded.size for frame in frames.values()):
        raise FieldsError("a picture refers to one of another size")
    kind = np.uint8 if decoded.bit_depth == 8 else np.uint16
    fields = {1: TOP, 2: BOTTOM, FRAME_STRUCTURE: FRAME}
    return Prediction(
        rows=rows,
        picture=decoded.frame.luma(decoded.memory, kind, rows),
        references=tuple(frame.luma(decoded.memory, kind, fields[key % 4]) for key, frame in frames.items()),
        plane_of=entries.plane_of,
        motion=H264Motion(decoded.motion(), decoded.references(), types, decoded.slices(rows), entry_of, rows),
        weights=entries.weights,
    )


def _make_entries(decoded: Decoded, rows: int, lists: SliceLists) -> tuple[EntryTable, np.ndarray]:
    """Entries, and int8 [slices, 2, 32]: that of each index of each list by slice; -1 where there is none.

    In a frame's macroblocks of fields an index is of a field: twice that of its frame, one more for the field of the
    other parity (H.264 8.4.2.1).
    """
    table = EntryTable()
    entry_of = np.full((max(lists.by_slice, default=0) + 1, 2, LIST_ENTRIES), -1, np.int8)
    fields = 2 if decoded.mixed and rows != FRAME else 1
    for number, both in lists.by_slice.items():
        weights = lists.weights if number in lists.weighted else None
        for which, pictures in enumerate(both):
            for index, picture in enumerate(pictures):
                if picture < 0:
                    continue
                weight, offset = weights[index, which] if weights is not None else (1 << lists.denominator, 0)
                for other in range(fields):
                    own = picture if fields == 1 else picture - FRAME_STRUCTURE + 1 + (rows ^ other)
                    reference = Reference(own, int(weight), int(offset) << (decoded.bit_depth - 8))
                    entry_of[number, which, fields * index + other] = table.number(reference)
    return table, entry_of


def _weigh(decoded: Decoded, rows: int, table: EntryTable, entry_of: np.ndarray, lists: SliceLists) -> Entries:
    """The entries with their weights: explicit ones, else those that follow from distances."""
    entries = table.entries(lists.denominator)
    if lists.weights is not None or decoded.weighted_bipred != IMPLICIT:
        return entries
    second = _implicit_weights(decoded, rows, [reference.picture for reference in table.references])
    used = [set(entry_of[:, which].ravel().tolist()) - {-1} for which in range(2)]
    if all(second[one][other] == 32 for one in used[0] for other in used[1]):
        return entries
    single = np.array([(1 << IMPLICIT_DENOMINATOR, 0)] * len(second), np.int32)
    weights = np.array(second, np.int32)
    return replace(entries, weights=Weights(IMPLICIT_DENOMINATOR, single, np.stack((64 - weights, weights), axis=-1)))


def _implicit_weights(decoded: Decoded, rows: int, pictures: list[int]) -> list[list[int]]:
    """Weight of list 1 in 64ths by picture of list 0, picture of list 1."""
    now = decoded.order(4 * decoded.number + (FRAME_STRUCTURE if rows == FRAME else 1 + rows))
    orders = [decoded.order(picture) for picture in pictures]
    long_term = [decoded.is_long(picture) for picture in pictures]
    return [
        [
            32 if far or farther else _implicit_weight(now, first, second)
            for second, farther in zip(orders, long_term, strict=True)
        ]
        for first, far in zip(orders, long_term, strict=True)
    ]


def _implicit_weight(now: int, first: int, second: int) -> int:
    """Weight of list 1 by picture order counts (H.264 8.4.2.3.1, 8.4.1.2.3)."""
    passed, whole = (max(-128, min(127, later - first)) for later in (now, second))
    if whole == 0:
        return 32
    scale = (16384 + abs(whole) // 2) // abs(whole) * (1 if whole > 0 else -1)
    weight = max(-1024, min(1023, passed * scale + 32 >> 6)) >> 2
    return weight if -64 <= weight <= 128 else 32
