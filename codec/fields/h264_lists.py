"""H.264: what the reference indices of each slice refer to, and the weights that go with them.

FFmpeg's decoder keeps in full only the lists and weights of the slice that it decoded last. Of the others it keeps, for
its deblocking filter, a number by index that stands for a picture while this one is decoded; the last slice's lists say
which. Of a field that was decoded before the other one, it keeps the frame_num by index.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from codecsieve.codec.fields.h264_state import FRAME_STRUCTURE, Decoded
from codecsieve.codec.fields.memory import FieldsError

LIST_ENTRIES = 32
"""The most that a list of a field refers to; of a frame half as many."""
KEPT_SLICES, KEPT_ENTRIES, KEPT_ROW = 32, 16, 64
"""Slices whose numbers are kept, entries of them, and numbers that these lie apart."""
LISTED = 48
"""Entries of a list, and weights, that the decoder has room for."""
NO_PICTURE = 60
"""Such a number where there is no picture."""
EXPLICIT = 1
"""use_weight where the stream gives weights."""

Lists = tuple[list[int], list[int]]
"""By list and index `4 * number + structure`, see `h264_state.Decoded`; -1: not known."""


class SliceLists(NamedTuple):
    """Lists of the slices of a frame or a field."""

    by_slice: dict[int, Lists]
    """Inter slices by their number."""
    weighted: frozenset[int]
    """Those that `weights` are of: slices with other lists are taken not to be weighted."""
    weights: np.ndarray | None
    """int32 [48, 2, 2] by index and list: explicit weight and offset, at 8 bits a sample."""
    denominator: int
    """Binary logarithm of what a weight is divided by."""


def read_lists(decoded: Decoded, rows: int) -> SliceLists:
    """Lists of the slices that a frame or a field is made of; of an MBAFF frame's fields those of its frames."""
    if decoded.is_overwritten(rows):
        lists = _read_earlier_lists(decoded, rows)
        return SliceLists({1: lists} if any(lists) else {}, frozenset(), None, 0)
    if decoded.last_slice == 1:  # as of most pictures: nothing is to be told apart
        lists = _read_last_lists(decoded)
        weights, denominator = _read_weights(decoded) if any(lists) else (None, 0)
        return SliceLists({1: lists} if any(lists) else {}, frozenset({1}), weights, denominator)
    slices = decoded.slices(rows)[max(rows, 0) :: 1 if decoded.structure_is_frame else 2, :-1]
    kept = _read_kept(decoded)
    inter = [
        int(number)
        for number in np.unique(slices)
        if 0 < number <= decoded.last_slice and (kept[number % KEPT_SLICES] >> 2 != NO_PICTURE).any()
    ]
    if not inter:
        return SliceLists({}, frozenset(), None, 0)
    ends_inter = inter[-1] == decoded.last_slice
    lists = _read_last_lists(decoded) if ends_inter else _read_earlier_lists(decoded, max(rows, 0))
    known = kept[inter[-1] % KEPT_SLICES]
    pictures = _name_pictures(decoded, known, lists)
    alike = frozenset(number for number in inter if (kept[number % KEPT_SLICES] == known).all())
    by_slice = {
        number: lists if number in alike else _translate(decoded, kept[number % KEPT_SLICES], pictures)
        for number in inter
    }
    weights, denominator = _read_weights(decoded) if ends_inter else (None, 0)
    return SliceLists(by_slice, alike, weights, denominator)


def _written(decoded: Decoded, number: int, structure: int) -> int:
    """A picture or field in one number; -1 where it is none."""
    if decoded.structure_is_frame:
        structure = FRAME_STRUCTURE
    elif structure not in (1, 2):
        return -1
    return 4 * number + structure if number >= 0 else -1


def _check_counts(decoded: Decoded, *counts: int) -> None:
    most = LIST_ENTRIES // 2 if decoded.structure_is_frame else LIST_ENTRIES
    if not all(0 <= count <= most for count in counts):
        raise FieldsError(f"no slice has lists of {counts} pictures")


def _read_last_lists(decoded: Decoded) -> Lists:
    """Lists of the slice that was decoded last; empty ones where it is intra."""
    decoder, at = decoded.decoder, decoded.decoder.at
    first = at.slice_lists - at.slice_list_counts
    raw = decoded.memory.read(
        decoded.state.slice_context + at.slice_list_counts, first + 2 * LISTED * at.list_entry_size
    )
    said = decoder.list_counts.take(raw)
    counts = (said.first if said.lists > 0 else 0, said.second if said.lists > 1 else 0)
    _check_counts(decoded, *counts)

    def read(which: int) -> list[int]:
        begin = first + which * LISTED * at.list_entry_size
        entries = [decoder.entry.take(raw, begin + index * at.list_entry_size) for index in range(counts[which])]
        return [_written(decoded, decoder.number(entry.picture), entry.structure & 3) for entry in entries]

    return read(0), read(1)


def _name_pictures(decoded: Decoded, kept: np.ndarray, lists: Lists) -> dict[int, int]:
    """Which pictures the kept numbers stand for: those of a slice whose lists are known, and, where these agree with
    it, all short-term references, which are numbered in the decoder's order.
    """
    known = {
        int(code) >> 2: picture // 4
        for which in range(2)
        for code, picture in zip(kept[which], lists[which], strict=False)
        if picture >= 0
    }
    order = decoded.short_references()
    if decoded.structure_is_frame and order[:1] == [decoded.number]:
        order = order[1:]  # it became one only when it was decoded
    agree = all(order[number] == picture for number, picture in known.items() if number < len(order))
    return (dict(enumerate(order)) if agree else {}) | known


def _read_kept(decoded: Decoded) -> np.ndarray:
    """int32 [32, 2, 16] by slice, list and index: 4 times a number of a picture, and its structure."""
    start = decoded.decoder.context + decoded.decoder.at.slice_references
    raw = decoded.memory.integers(start, KEPT_SLICES * 2 * KEPT_ROW)
    kept = raw.reshape(KEPT_SLICES, 2, KEPT_ROW)[:, :, 2 : 2 + KEPT_ENTRIES]
    return np.where(kept >> 2 == NO_PICTURE, 4 * NO_PICTURE, kept)


def _translate(decoded: Decoded, kept: np.ndarray, pictures: dict[int, int]) -> Lists:
    """A slice's lists by the kept numbers of its entries."""

    def read(which: int) -> list[int]:
        return [_written(decoded, pictures.get(int(code) >> 2, -1), int(code) & 3) for code in kept[which]]

    return read(0), read(1)


def _read_earlier_lists(decoded: Decoded, field: int) -> Lists:
    """Lists of the last inter slice of a field (0 of a frame), where others follow, by frame_num of what they name."""
    at = decoded.decoder.at
    begin = decoded.number * at.picture_size
    counts = struct.unpack_from("<2i", decoded.raw, begin + at.picture_list_counts + 8 * field)
    _check_counts(decoded, *counts)
    there = [n for n in range(at.dpb_pictures) if decoded.picture(n).mb_width > 0]
    kept = [n for n in there if decoded.picture(n).reference & 3]

    def find(code: int) -> int:
        # What is no reference may have the same frame_num as one; what was one when this was decoded may be none now.
        for among in (kept, there):
            found = [number for number in among if decoded.picture(number).frame_num == code >> 2]
            if len(found) == 1:
                return _written(decoded, found[0], code & 3)
        return -1

    def read(which: int) -> list[int]:
        start = begin + at.picture_lists + 4 * LIST_ENTRIES * (2 * field + which)
        return [find(code) for code in struct.unpack_from(f"<{counts[which]}i", decoded.raw, start)]

    return read(0), read(1)


def _read_weights(decoded: Decoded) -> tuple[np.ndarray | None, int]:
    """Explicit weights of the last slice, and how many bits they have."""
    if decoded.slice.use_weight != EXPLICIT:
        return None, 0
    denominator = decoded.slice.denominator
    start = decoded.state.slice_context + decoded.decoder.at.slice_weights
    weights = decoded.memory.integers(start, LISTED * 2 * 2).reshape(LISTED, 2, 2)
    if not 0 <= denominator <= 7:
        raise FieldsError(f"no weight has {denominator} bits")
    return weights, denominator
