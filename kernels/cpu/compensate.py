"""Fast CPU form of `kernels.reference.compensate`: the same function, the same bits.

Neighbouring units with the same motion become areas, up to 64 rows high, and an area is predicted in columns of sixteen
samples, read straight from the reference picture; only those that reach outside it are first copied with its border
repeated. An area that is a reference picture's whole samples is compared with them where they lie. The areas are
found by `areas`, the filters are in `interpolate_lanes`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import int8, int16, int32, int64, njit, uint64, uintp

from codecsieve.kernels.cpu.areas import EACH, find_areas
from codecsieve.kernels.cpu.interpolate_lanes import PART, PITCH, ROWS, interpolate, round_samples, weigh_one, weigh_two
from codecsieve.kernels.cpu.lanes import LANES, between, least, like, load, most, pointer_to, start_of, store
from codecsieve.kernels.reference.compensate import EIGHT_TAP, LEFT_OUT, UNIT, Weights
from codecsieve.kernels.reference.predict import BILINEAR

SIDE = EACH * UNIT
"""Samples of a block of units."""
TALL = ROWS // SIDE
"""Blocks that an area may be high: the fewer areas, the fewer rows that filters need above and below."""
WINDOW = 32
"""Samples a row of a copied window: sixteen, and seven that filters need around them."""


class _Task(NamedTuple):
    """What an area's prediction is made from; arrays as pointers, which nobody counts references of."""

    picture: Any
    step: int
    rows: int
    width: int
    planes: Any  # addresses, uint64 [planes]
    steps: Any  # int64 [planes], samples from a row to the next
    plane_of: Any
    vectors: Any
    entries: Any
    columns: int  # units in a row
    count: int  # entries, 0 where nothing is weighted
    single: Any
    pairs: Any
    denominator: int
    shown: tuple[int, int, int, int]
    filter: int
    depth: int
    result: Any  # from MARGIN on, with as much room behind
    window: Any
    work: Any  # four times PART numbers


PICTURE, PLANES, STEPS, PLANE_OF, VECTORS, ENTRIES, SINGLE, PAIRS = range(8)
"""Places in the table of addresses."""
MARGIN = LANES
"""What is written sixteen at a time may begin before the result and end after it; it writes there what was there."""


@njit(cache=True, nogil=True)
def _difference(task: _Task, y: int, x: int, high: int, start: int, end: int) -> None:
    """Sixteen columns of the result from x on, of which only those from `start` to before `end` are to be written."""
    top, left, _, pitch = task.shown
    mine, to = uintp(y * task.step + x), uintp(MARGIN + (y - top) * pitch + x - left)
    mine_step, to_step, shift = uintp(task.step), uintp(pitch), task.depth - 8
    partial = end - start < LANES
    for i in range(uintp(high)):
        rest = load(task.picture, mine + i * mine_step) - load(task.work, i * PITCH)
        rest = least(most(rest, rest * -1) >> shift, 255)
        if partial:
            rest = between(rest, like(load(task.result, to + i * to_step), rest), start, end)
        store(task.result, to + i * to_step, rest)


@njit(cache=True, nogil=True)
def _compare(task: _Task, y: int, x: int, high: int, n: int, plane: int, at: int, other: int, place: int) -> None:
    """The result of an area that is a plane's samples from `at` on, or their mean with another's from `place` on.

    It goes row by row, as memory lies.
    """
    top, left, _, pitch = task.shown
    shift, last = task.depth - 8, uintp(n - LANES)
    one, step = pointer_to(task.planes[plane], task.picture), uintp(task.steps[plane])
    two, pace = pointer_to(task.planes[other], task.picture), uintp(task.steps[other])
    both = plane != other or at != place
    for i in range(high):
        mine, to = uintp((y + i) * task.step + x), uintp(MARGIN + (y + i - top) * pitch + x - left)
        first, second = at + uintp(i) * step, place + uintp(i) * pace
        j = uintp(0)
        while True:
            predicted = load(one, first + j)
            if both:
                predicted = (predicted + load(two, second + j) + 1) >> 1
            rest = load(task.picture, mine + j) - predicted
            store(task.result, to + j, least(most(rest, rest * -1) >> shift, 255))
            if j == last:
                break
            j = min(j + PITCH, last)  # the last sixteen overlap those before


@njit(cache=True, nogil=True)
def _clear(task: _Task, y: int, x: int, high: int, n: int) -> None:
    top, left, _, pitch = task.shown
    for i in range(uintp(high)):
        start = uintp(MARGIN + (y - top) * pitch + x - left) + i * uintp(pitch)
        for j in range(uintp(n)):
            task.result[start + j] = 0


@njit(cache=True, nogil=True)
def _fetch(source: Any, step: int, rows: int, width: int, y: int, x: int, high: int, out: Any) -> None:
    """The samples from (y, x) on, WINDOW a row, the picture's border repeated outside it."""
    whole = x >= 0 and x + LANES + 7 <= width
    for i in range(high):
        start, to = uintp(min(max(y + i, 0), rows - 1) * step), uintp(i * WINDOW)
        if whole:
            store(out, to, load(source, start + uintp(x)))
            store(out, to + uintp(7), load(source, start + uintp(x + 7)))
        else:
            for j in range(LANES + 7):
                out[to + uintp(j)] = source[start + uintp(min(max(x + j, 0), width - 1))]


@njit(cache=True, nogil=True)
def _predict(task: _Task, plane: int, y: int, x: int, high: int, mx: int, my: int, out: int) -> None:
    """Sixteen columns by one list, into the part `out` of the work."""
    source, step = pointer_to(task.planes[plane], task.picture), task.steps[plane]
    top, left, dx, dy = y + (my >> 2), x + (mx >> 2), mx & 3, my & 3
    # Where only one axis has a fraction, the other's neighbours are not read, but by BILINEAR, which weighs them 0.
    across, down = dx != 0, dy != 0
    if task.filter == BILINEAR:
        across = down = across or down
    inside = left - 3 * across >= 0 and left + LANES + 4 * across <= task.width
    if not (inside and top - 3 * down >= 0 and top + high + 4 * down <= task.rows):
        _fetch(source, step, task.rows, task.width, top - 3, left - 3, high + 7, task.window)
        source, step, top, left = task.window, WINDOW, 3, 3
    at = uintp(top * step + left)
    interpolate(source, at, uintp(step), dx, dy, high, task.filter, task.depth, task.work, uintp(out))


@njit(cache=True, nogil=True)
def _weights(task: _Task, e0: int, e1: int) -> tuple[int, int, int]:
    """Weights of the first and second prediction of a unit with these entries, and the sum of their offsets."""
    unit, entry = 1 << task.denominator, max(e0, e1)
    if task.count == 0 or entry < 0:
        return unit, unit, 0
    if min(e0, e1) < 0:
        return task.single[2 * entry], unit, task.single[2 * entry + 1]
    pair = 2 * (e0 * task.count + e1)
    return task.pairs[pair], task.pairs[pair + 1], task.single[2 * e0 + 1] + task.single[2 * e1 + 1]


@njit(cache=True, nogil=True)
def _whole(task: _Task, plane: int, y: int, x: int, high: int, n: int, mx: int, my: int) -> int:
    """Where in a plane the samples are that an area is predicted to be, or -1 if they have to be made."""
    top, left = y + (my >> 2), x + (mx >> 2)
    if (mx | my) & 3 == 0 and top >= 0 and left >= 0 and top + high <= task.rows and left + n <= task.width:
        return top * task.steps[plane] + left
    return -1


@njit(cache=True, nogil=True)
def _area(task: _Task, row: int, column: int, end_row: int, end_column: int) -> None:
    """The result of units of the same motion."""
    top, left, height, width = task.shown
    y, x = max(row * UNIT, top), max(column * UNIT, left)
    high, n = min(end_row * UNIT, top + height) - y, min(end_column * UNIT, left + width) - x
    unit = row * task.columns + column
    e0, e1 = int(task.entries[2 * unit]), int(task.entries[2 * unit + 1])
    if e0 == LEFT_OUT:
        _clear(task, y, x, high, n)
        return
    both, entry = e0 >= 0 and e1 >= 0, e0 if e0 >= 0 else e1
    one = 4 * unit + 2 * (e0 < 0)
    first = second = task.plane_of[entry] if entry >= 0 else 0
    ax = bx = int(task.vectors[one]) if entry >= 0 else 0
    ay = by = int(task.vectors[one + 1]) if entry >= 0 else 0
    if both:
        second = task.plane_of[e1]
        bx, by = int(task.vectors[one + 2]), int(task.vectors[one + 3])
    w0, w1, offsets = _weights(task, e0, e1)
    weighted = w0 != 1 << task.denominator or w1 != 1 << task.denominator or offsets != 0
    if n >= LANES and not weighted:
        at, place = _whole(task, first, y, x, high, n, ax, ay), _whole(task, second, y, x, high, n, bx, by)
        if at >= 0 and place >= 0:
            _compare(task, y, x, high, n, first, uintp(at), second, uintp(place))
            return
    for done in range(0, n, LANES):
        # The last sixteen columns overlap those before; a narrow area is written as part of sixteen.
        wanted = min(x + done, max(x + n - LANES, x))
        if n >= LANES and not weighted:
            at = _whole(task, first, y, wanted, high, LANES, ax, ay)
            place = _whole(task, second, y, wanted, high, LANES, bx, by)
            if at >= 0 and place >= 0:
                _compare(task, y, wanted, high, LANES, first, uintp(at), second, uintp(place))
                continue
        at = max(min(wanted, task.width - LANES), 0)
        _predict(task, first, y, at, high, ax, ay, 0)
        if both:
            _predict(task, second, y, at, high, bx, by, PART)
        if not weighted:
            round_samples(task.work, high, both, task.filter, task.depth)
        elif both:
            weigh_two(task.work, high, w0, w1, offsets, task.denominator, task.filter, task.depth)
        else:
            weigh_one(task.work, high, w0, offsets, task.denominator, task.filter, task.depth)
        _difference(task, y, at, high, wanted - at, min(x + n - at, LANES))


@njit(cache=True, nogil=True)
def _residual(
    addresses: np.ndarray,
    picture: tuple[int, int, int],
    units: tuple[int, int],
    weighted: tuple[int, int],
    shown: tuple[int, int, int, int],
    filter: int,
    depth: int,
    window: np.ndarray,
    work: np.ndarray,
    result: np.ndarray,
) -> None:
    """The arrays of the caller come as addresses: types are then the same whatever flags theirs have."""
    samples, (step, rows, width), (count, denominator) = start_of(window), picture, weighted
    keys, pairs = pointer_to(addresses[VECTORS], int64), pointer_to(addresses[ENTRIES], int16)
    task = _Task(
        pointer_to(addresses[PICTURE], samples), step, rows, width,
        pointer_to(addresses[PLANES], uint64), pointer_to(addresses[STEPS], int64),
        pointer_to(addresses[PLANE_OF], int32), pointer_to(addresses[VECTORS], int16),
        pointer_to(addresses[ENTRIES], int8), units[1], count, pointer_to(addresses[SINGLE], int32),
        pointer_to(addresses[PAIRS], int32), denominator, shown, filter, depth,
        start_of(result), samples, start_of(work),
    )  # fmt: skip
    top, left, bottom, right = shown[0], shown[1], shown[0] + shown[2], shown[1] + shown[3]
    first, last, end = left // SIDE, (right + SIDE - 1) // SIDE, (bottom + SIDE - 1) // SIDE
    state = np.empty((TALL, last), np.uint8)
    areas = np.empty((TALL * EACH * EACH * (last - first), 4), np.int64)
    band = top // SIDE
    while band < end:
        end_band = min((band // TALL + 1) * TALL, end)
        found = find_areas(keys, pairs, units, band, first, last, end_band, state, areas)
        for k in range(found):
            row, column, end_row, end_column = areas[k, 0], areas[k, 1], areas[k, 2], areas[k, 3]
            if end_row * UNIT > top and row * UNIT < bottom and end_column * UNIT > left and column * UNIT < right:
                _area(task, row, column, end_row, end_column)
        band = end_band


COMPILED_LAST = _residual
"""What needs all others of these kernels."""


def _refuse(
    picture: np.ndarray,
    references: tuple[np.ndarray, ...],
    plane_of: np.ndarray,
    vectors: np.ndarray,
    entries: np.ndarray,
    weights: Weights | None,
    shown: tuple[int, int, int, int],
    width: int,
) -> None:
    """Raises ValueError for what would have a kernel read memory that is not its own."""
    rows, n = len(picture), len(plane_of)
    units, (top, left, height, shown_width) = (-(-rows // UNIT), -(-width // UNIT)), shown
    if any(p.dtype != picture.dtype or len(p) != rows or p.shape[1] < width for p in (picture, *references)):
        raise ValueError(f"planes are {picture.dtype}, as the picture, of {rows} rows and {width} columns or more")
    if vectors.shape != (*units, 2, 2) or entries.shape != (*units, 2):
        raise ValueError(f"vectors and entries are those of {units[0]} x {units[1]} units")
    if n and not 0 <= plane_of.min() <= plane_of.max() < len(references):
        raise ValueError(f"plane_of names planes from 0 to {len(references) - 1}")
    if entries.max() >= n:
        raise ValueError(f"entries are less than {n}, the length of plane_of")
    if weights is not None and (weights.single.shape != (n, 2) or weights.pairs.shape != (n, n, 2)):
        raise ValueError(f"weights are those of {n} entries")
    if min(top, left) < 0 or min(height, shown_width) < 1 or top + height > rows or left + shown_width > width:
        raise ValueError(f"what is shown, {shown}, lies within the picture, of {rows} rows and {width} columns")


def _in_rows(plane: np.ndarray) -> np.ndarray:
    """The plane itself, or a copy if a row's samples do not lie one behind the other; a field's rows may be apart."""
    return plane if plane.strides[1] == plane.itemsize and plane.strides[0] > 0 else np.ascontiguousarray(plane)


def compensated_residual(
    picture: np.ndarray,
    references: tuple[np.ndarray, ...],
    plane_of: np.ndarray,
    vectors: np.ndarray,
    entries: np.ndarray,
    weights: Weights | None,
    shown: tuple[int, int, int, int],
    width: int,
    filter: int,
    bit_depth: int,
) -> np.ndarray:
    """See `reference.compensate.compensated_residual`."""
    top, left, height, shown_width = map(int, shown)
    shown = top, left, height, shown_width
    _refuse(picture, references, plane_of, vectors, entries, weights, shown, width)
    if picture.shape[1] < LANES:
        picture = np.pad(picture, ((0, 0), (0, LANES)))
    picture, planes = _in_rows(picture), [_in_rows(plane) for plane in references]
    none = np.zeros(0, np.int32)
    arrays = {  # by name, for addresses alone keep no array
        PICTURE: picture,
        PLANES: np.array([plane.ctypes.data for plane in planes], np.uint64),
        STEPS: np.array([plane.strides[0] // plane.itemsize for plane in planes], np.int64),
        PLANE_OF: np.ascontiguousarray(plane_of, np.int32),
        VECTORS: np.ascontiguousarray(vectors, np.int16),
        ENTRIES: np.ascontiguousarray(entries, np.int8),
        SINGLE: none if weights is None else np.ascontiguousarray(weights.single, np.int32),
        PAIRS: none if weights is None else np.ascontiguousarray(weights.pairs, np.int32),
    }
    # As int16, samples are reckoned with in 16 bits: twice as many a register.
    few = filter == EIGHT_TAP and 8 < bit_depth <= 10 and picture.dtype == np.uint16
    kind = np.dtype(np.int16) if few else picture.dtype
    result = np.empty(MARGIN + height * shown_width + MARGIN, np.uint8)
    _residual(
        np.array([arrays[k].ctypes.data for k in range(len(arrays))], np.uint64),
        (picture.strides[0] // picture.itemsize, len(picture), width),
        entries.shape[:2],
        (0, 0) if weights is None else (len(plane_of), weights.denominator),
        shown,
        filter,
        bit_depth,
        np.empty((ROWS + 7) * WINDOW, kind),
        np.empty(int(4 * PART), np.int32 if kind == np.uint16 else np.int16),
        result,
    )
    return result[MARGIN:-MARGIN].reshape(height, shown_width)
