"""H.264: motion, reference pictures and weights of the picture that FFmpeg's decoder has just decoded.

Offsets are `table`'s; what the slices' reference lists say is read in `h264_lists`. Every pointer is checked before
anything is read through it; what a damaged stream left out counts as not predicted.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from codecsieve.codec.fields.coded import BOTTOM, FRAME, TOP, CodedBlocks, CodedPicture, Prediction
from codecsieve.codec.fields.entries import EntryTable, Reference
from codecsieve.codec.fields.h264_lists import LIST_ENTRIES, SliceLists, read_lists
from codecsieve.codec.fields.h264_state import FRAME_STRUCTURE, Decoded, Decoder
from codecsieve.codec.fields.memory import FieldsError
from codecsieve.kernels.reference.compensate import NO_ENTRY, Weights
from codecsieve.kernels.reference.predict import SIX_TAP
from codecsieve.kernels.reference.units import INTERLACED, H264Motion

__all__ = ["Decoder", "read_blocks", "read_picture"]

IMPLICIT = 2
"""weighted_bipred_idc: weights follow from distances in time."""
IMPLICIT_DENOMINATOR = 5
TRANSFORM_8X8 = 1 << 24
"""Bit of a macroblock's type, as FFmpeg has it."""
COUNTS = 48
"""4x4 blocks of a macroblock, of luma and chroma, of which the decoder counts the coefficients."""
NO_BYTE = NO_ENTRY & 255
"""NO_ENTRY as a byte."""
ROWS_OF = {1: TOP, 2: BOTTOM, FRAME_STRUCTURE: FRAME}
"""By the structure of a picture or field."""


def read_picture(decoder: Decoder, index: int) -> CodedPicture | None:
    """The picture of a packet that was sent with `index` for its timestamp; None where it is not predicted.

    A field without inter slices has no Prediction, where the other one has one. Fields that come in packets of their
    own are one picture, of the first one's index; behind the first packet, only that field can be read.

    Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
    """
    decoded = decoder.open(index)
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


def read_blocks(decoder: Decoder, index: int) -> CodedBlocks:
    """What was coded of that picture. Where macroblocks are of fields, rows of units have the more of both fields'."""
    decoded = decoder.open(index)
    counts = decoded.by_macroblock(decoded.state.coefficients, np.uint8, (COUNTS,))[:, :-1, :16]
    high, wide = counts.shape[:2]
    quarters = counts.reshape(high, wide, 2, 2, 2, 2)  # of a macroblock, by row and column of quarters and in them
    # Of an 8x8 block at least one of its four has the count of all.
    whole = quarters.max(axis=(3, 5), keepdims=True)
    types = decoded.types()[:, :-1]
    transformed = (types & TRANSFORM_8X8 > 0)[..., None, None, None, None]
    quarters = np.where(transformed, (whole + 3) // 4, quarters)
    own = quarters.reshape(high, wide, 4, 4).swapaxes(1, 2).reshape(4 * high, 4 * wide)
    found = decoded.by_macroblock(decoded.own.quantiser, np.int8)[:, :-1]
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
    entries = table.entries(lists.denominator)
    weights = entries.weights
    if lists.weights is None and decoded.weighted_bipred == IMPLICIT:
        weights = _weigh(decoded, rows, table.references, entry_of)
    kind = np.uint8 if decoded.bit_depth == 8 else np.uint16
    return Prediction(
        rows=rows,
        picture=decoded.frame.luma(decoded.memory, kind, rows),
        references=tuple(_reference_luma(decoded, picture, kind) for picture in entries.pictures),
        plane_of=entries.plane_of,
        motion=H264Motion(decoded.motion(), decoded.references(), types, decoded.slices(rows), entry_of, rows),
        weights=weights,
    )


def _reference_luma(decoded: Decoded, picture: int, kind: type[np.generic]) -> np.ndarray:
    number, structure = divmod(picture, 4)
    frame = decoded.decoder.frames.read(decoded.picture(number).frame)
    if frame.width != decoded.frame.width or frame.height != decoded.frame.height:
        raise FieldsError("a picture refers to one of another size")
    return frame.luma(decoded.memory, kind, ROWS_OF[structure])


def _make_entries(decoded: Decoded, rows: int, lists: SliceLists) -> tuple[EntryTable, np.ndarray]:
    """Entries, and int8 [slices, 2, 32]: that of each index of each list by slice; -1 where there is none.

    In a frame's macroblocks of fields an index is of a field: twice that of its frame, one more for the field of the
    other parity (H.264 8.4.2.1).
    """
    table = EntryTable()
    slices = max(lists.by_slice, default=0) + 1
    entry_of = bytearray([NO_BYTE]) * (2 * slices * LIST_ENTRIES)
    fields = 2 if decoded.mixed and rows != FRAME else 1
    for number, both in lists.by_slice.items():
        weights = lists.weights if number in lists.weighted else None
        for which, pictures in enumerate(both):
            at = (2 * number + which) * LIST_ENTRIES
            for index, picture in enumerate(pictures):
                if picture < 0:
                    continue
                weight, offset = weights[index, which].tolist() if weights is not None else (1 << lists.denominator, 0)
                for other in range(fields):
                    own = picture if fields == 1 else picture - FRAME_STRUCTURE + 1 + (rows ^ other)
                    reference = Reference(own, weight, offset << (decoded.bit_depth - 8))
                    entry_of[at + fields * index + other] = table.number(reference)
    return table, np.frombuffer(entry_of, np.int8).reshape(slices, 2, LIST_ENTRIES)


def _weigh(decoded: Decoded, rows: int, references: list[Reference], entry_of: np.ndarray) -> Weights | None:
    """Weights of entries that follow from distances; None where all that are used count alike."""
    now = decoded.order(4 * decoded.number + (FRAME_STRUCTURE if rows == FRAME else 1 + rows))
    distances = tuple(
        None if decoded.is_long(reference.picture) else decoded.order(reference.picture) - now
        for reference in references
    )
    first, second = (frozenset(entry_of[:, which].tobytes()) - {NO_BYTE} for which in range(2))
    return _implicit_weights(distances, first, second)


@lru_cache(maxsize=256)
def _implicit_weights(distances: tuple[int | None, ...], one: frozenset[int], two: frozenset[int]) -> Weights | None:
    """Weights by the distance of each entry from the picture in its order, None of a long-term reference; `one`, `two`:
    the entries that list 0 and list 1 use.
    """
    second = np.array(
        [
            [32 if first is None or other is None else _implicit_weight(first, other) for other in distances]
            for first in distances
        ],
        np.int32,
    )
    if (second[np.ix_(sorted(one), sorted(two))] == 32).all():
        return None
    single = np.array([(1 << IMPLICIT_DENOMINATOR, 0)] * len(distances), np.int32)
    return Weights(IMPLICIT_DENOMINATOR, single, np.stack((64 - second, second), axis=-1))


def _implicit_weight(first: int, second: int) -> int:
    """Weight of list 1 in 64ths by distances from the picture (H.264 8.4.2.3.1, 8.4.1.2.3)."""
    passed, whole = (max(-128, min(127, distance)) for distance in (-first, second - first))
    if whole == 0:
        return 32
    scale = (16384 + abs(whole) // 2) // abs(whole) * (1 if whole > 0 else -1)
    weight = max(-1024, min(1023, passed * scale + 32 >> 6)) >> 2
    return weight if -64 <= weight <= 128 else 32
