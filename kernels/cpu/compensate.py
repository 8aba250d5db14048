"""Fast CPU form of `kernels.reference.compensate`: the same function, the same bits.

Neighbouring units with the same motion become areas, up to 64 rows high, and an area is predicted in columns of sixteen
samples, read straight from the reference picture; only those that reach outside it are first copied with its border
repeated. An area that is a reference picture's whole samples is compared with them where they lie. The filters are in
`interpolate_lanes`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, uintp

from codecsieve.kernels.cpu.interpolate_lanes import BIAS, PITCH, interpolate
from codecsieve.kernels.cpu.lanes import LANES, between, least, like, load, most, samples_at, store, wide
from codecsieve.kernels.reference.compensate import EIGHT_TAP, LEFT_OUT, PRECISION, UNIT, Weights
from codecsieve.kernels.reference.predict import BILINEAR

EACH = 4
"""Units are looked at in blocks of 4x4: H.264's macroblocks, and what H.265's larger blocks are made of."""
SIDE = EACH * UNIT
TALL = 4
"""Blocks that an area may be high: the fewer areas, the fewer rows that filters need above and below."""
WINDOW = 32
"""Samples a row of a copied window: sixteen, and seven that filters need around them."""


class _Task(NamedTuple):
    """The arguments, as kernels take them."""

    picture: np.ndarray  # flat
    step: int
    rows: int
    width: int
    addresses: np.ndarray  # uint64 [planes], where they lie
    steps: np.ndarray  # int64 [planes], samples from a row to the next
    plane_of: np.ndarray
    keys: np.ndarray  # int64, the four numbers of a unit's vectors
    vectors: np.ndarray
    pairs: np.ndarray  # int16, the two entries of a unit
    entries: np.ndarray
    single: np.ndarray  # [0, 2] where nothing is weighted
    weights: np.ndarray
    denominator: int
    shown: tuple[int, int, int, int]
    filter: int
    depth: int
    result: np.ndarray  # flat, from MARGIN on, as much room behind


class _Work(NamedTuple):
    window: np.ndarray
    raw: np.ndarray
    first: np.ndarray
    second: np.ndarray


MARGIN = LANES
"""What is written sixteen at a time may begin before the result and end after it; it writes there what was there."""


@njit(cache=True, nogil=True)
def _difference(
    task: _Task, y: int, x: int, high: int, start: int, end: int, other: np.ndarray, at: int, step: int
) -> None:
    """Sixteen columns of the result from x on, of which only those from `start` to before `end` are to be written."""
    top, left, _, pitch = task.shown
    mine, to = uintp(y * task.step + x), uintp(MARGIN + (y - top) * pitch + x - left)
    mine_step, to_step, step, shift = uintp(task.step), uintp(pitch), uintp(step), task.depth - 8
    for i in range(uintp(high)):
        rest = load(task.picture, mine + i * mine_step) - like(load(other, at + i * step), load(task.picture, mine))
        rest = least(most(rest, rest * -1) >> shift, 255)
        if end - start < LANES:
            rest = between(rest, like(load(task.result, to + i * to_step), rest), start, end)
        store(task.result, to + i * to_step, rest)


@njit(cache=True, nogil=True)
def _clear(task: _Task, y: int, x: int, high: int, n: int) -> None:
    top, left, _, pitch = task.shown
    for i in range(uintp(high)):
        start = uintp(MARGIN + (y - top) * pitch + x - left) + i * uintp(pitch)
        for j in range(uintp(n)):
            task.result[start + j] = 0


@njit(cache=True, nogil=True)
def _fetch(source: np.ndarray, step: int, rows: int, width: int, y: int, x: int, high: int, out: np.ndarray) -> None:
    """The samples from (y, x) on, WINDOW a row, the picture's border repeated outside it."""
    for i in range(high):
        start = uintp(min(max(y + i, 0), rows - 1) * step)
        for j in range(LANES + 7):
            out[uintp(i * WINDOW + j)] = source[start + uintp(min(max(x + j, 0), width - 1))]


@njit(cache=True, nogil=True)
def _predict(
    task: _Task, work: _Work, plane: int, y: int, x: int, high: int, mx: int, my: int, out: np.ndarray
) -> None:
    """Sixteen columns by one list."""
    source, step = samples_at(task.picture, task.addresses[plane]), task.steps[plane]
    top, left, dx, dy = y + (my >> 2), x + (mx >> 2), mx & 3, my & 3
    # Where only one axis has a fraction, the other's neighbours are not read, but by BILINEAR, which weighs them 0.
    across, down = dx != 0, dy != 0
    if task.filter == BILINEAR:
        across = down = across or down
    inside = left - 3 * across >= 0 and left + LANES + 4 * across <= task.width
    if not (inside and top - 3 * down >= 0 and top + high + 4 * down <= task.rows):
        _fetch(source, step, task.rows, task.width, top - 3, left - 3, high + 7, work.window)
        source, step, top, left = work.window, WINDOW, 3, 3
    at = uintp(top * step + left)
    interpolate(source, at, uintp(step), dx, dy, high, task.filter, task.depth, work.raw, out)


@njit(cache=True, nogil=True)
def _round(task: _Task, high: int, both: bool, first: np.ndarray, second: np.ndarray) -> None:
    """Unweighted samples in `first`, of one prediction or two."""
    peak = (1 << task.depth) - 1
    if task.filter != EIGHT_TAP:
        if both:
            for i in range(uintp(high)):
                store(first, i * PITCH, (load(first, i * PITCH) + load(second, i * PITCH) + 1) >> 1)
        return
    shift = PRECISION - task.depth
    # Clipped before it is rounded, a prediction fits 16 bits with what is added.
    added = BIAS + (1 << (shift - 1))
    most_fits = ((peak + 1) << shift) - 1 - added
    for i in range(uintp(high)):
        value = load(first, i * PITCH)
        if both:  # half of the sum, rounded down, without a wider type
            other = load(second, i * PITCH)
            value = (value & other) + ((value ^ other) >> 1)
        store(first, i * PITCH, (most(least(value, most_fits), -added) + added) >> shift)


@njit(cache=True, nogil=True)
def _weigh_one(task: _Task, high: int, weight: int, offset: int, first: np.ndarray) -> None:
    """Weighted samples in `first`, of one prediction."""
    peak = (1 << task.depth) - 1
    eight = task.filter == EIGHT_TAP
    shift, bias = (PRECISION - task.depth, BIAS) if eight else (0, 0)
    divisor = task.denominator + shift
    half = (1 << divisor) >> 1
    for i in range(uintp(high)):
        value = (((wide(load(first, i * PITCH)) + bias) * weight + half) >> divisor) + offset
        store(first, i * PITCH, most(least(value, peak), 0))


@njit(cache=True, nogil=True)
def _weigh_two(task: _Task, high: int, w0: int, w1: int, offsets: int, first: np.ndarray, second: np.ndarray) -> None:
    """The same of two; offsets is the sum of theirs."""
    peak = (1 << task.depth) - 1
    eight = task.filter == EIGHT_TAP
    shift, bias = (PRECISION - task.depth, BIAS) if eight else (0, 0)
    divisor = task.denominator + shift
    inner = (offsets + 1) << divisor if eight else 1 << divisor
    outer = 0 if eight else (offsets + 1) >> 1
    for i in range(uintp(high)):
        a, b = wide(load(first, i * PITCH)) + bias, wide(load(second, i * PITCH)) + bias
        value = ((a * w0 + b * w1 + inner) >> (divisor + 1)) + outer
        store(first, i * PITCH, most(least(value, peak), 0))


@njit(cache=True, nogil=True)
def _area(task: _Task, work: _Work, row: int, column: int, end_row: int, end_column: int) -> None:
    """Units of the same motion."""
    top, left, height, width = task.shown
    y, x = max(row * UNIT, top), max(column * UNIT, left)
    high, n = min(end_row * UNIT, top + height) - y, min(end_column * UNIT, left + width) - x
    e0, e1 = int(task.entries[row, column, 0]), int(task.entries[row, column, 1])
    if e0 == LEFT_OUT:
        _clear(task, y, x, high, n)
        return
    both, one = e0 >= 0 and e1 >= 0, 0 if e0 >= 0 else 1
    entry = max(e0, e1) if not both else e0
    plane = task.plane_of[entry] if entry >= 0 else 0
    mx, my = int(task.vectors[row, column, one, 0]), int(task.vectors[row, column, one, 1])
    if entry < 0:
        mx = my = 0
    unit, w0, w1, offsets, weighted = 1 << task.denominator, 1, 1, 0, False
    if len(task.single) > 0 and entry >= 0:
        w0, offsets = task.single[entry, 0], task.single[entry, 1]
        w1 = unit
        if both:
            w0, w1 = task.weights[e0, e1, 0], task.weights[e0, e1, 1]
            offsets += task.single[e1, 1]
        weighted = w0 != unit or w1 != unit or offsets != 0
    if not both and not weighted and (mx | my) & 3 == 0:
        pass
    done = 0
    while done < n:
        # The last sixteen columns overlap those before; a narrow area is written as part of sixteen.
        at = min(x + done, max(x + n - LANES, x))
        first = max(min(at, task.width - LANES), 0)
        start, end = at - first, min(at - first + n - (at - x), LANES)
        _predict(task, work, plane, y, first, high, mx, my, work.first)
        if both:
            ox, oy = int(task.vectors[row, column, 1, 0]), int(task.vectors[row, column, 1, 1])
            _predict(task, work, task.plane_of[e1], y, first, high, ox, oy, work.second)
        if not weighted:
            _round(task, high, both, work.first, work.second)
        elif both:
            _weigh_two(task, high, w0, w1, offsets, work.first, work.second)
        else:
            _weigh_one(task, high, w0, offsets, work.first)
        _difference(task, y, first, high, start, end, work.first, uintp(0), LANES)
        done += LANES


@njit(cache=True, nogil=True)
def _is_uniform(task: _Task, row: int, column: int, end_row: int, end_column: int) -> bool:
    key, pair = task.keys[row, column], task.pairs[row, column]
    differ, other = key ^ key, pair ^ pair
    for i in range(uintp(row), uintp(end_row)):
        for j in range(uintp(column), uintp(end_column)):
            differ |= task.keys[i, j] ^ key
            other |= task.pairs[i, j] ^ pair
    return differ == 0 and other == 0


@njit(cache=True, nogil=True)
def _same(task: _Task, row: int, column: int, y: int, x: int) -> bool:
    return task.keys[row, column] == task.keys[y, x] and task.pairs[row, column] == task.pairs[y, x]


@njit(cache=True, nogil=True)
def _pieces(task: _Task, work: _Work, row: int, column: int, end_row: int, end_column: int) -> None:
    """The areas of one block whose units differ."""
    done = 0  # a bit a unit, by rows
    for y in range(row, end_row):
        for x in range(column, end_column):
            place = (y - row) * EACH + x - column
            if done >> place & 1:
                continue
            right, below = x + 1, y + 1
            while right < end_column and not done >> (place + right - x) & 1 and _same(task, y, x, y, right):
                right += 1
            while below < end_row and _is_uniform(task, y, x, below + 1, right):
                below += 1
            mask = (1 << (right - x)) - 1
            for k in range(below - y):
                done |= mask << (place + k * EACH)
            _area(task, work, y, x, below, right)


@njit(cache=True, nogil=True)
def _band(task: _Task, work: _Work, band: int, first: int, last: int, end_band: int, free: np.ndarray) -> None:
    """TALL rows of blocks; free [TALL, blocks] is room for whether they are uniform and not yet part of an area."""
    end_row, end_column = task.keys.shape
    for row in range(band, end_band):
        for column in range(first, last):
            y, x = row * EACH, column * EACH
            free[row - band, column] = _is_uniform(task, y, x, min(y + EACH, end_row), min(x + EACH, end_column))
    for row in range(band, end_band):
        column = first
        while column < last:
            y, x = row * EACH, column * EACH
            below, right = row + 1, column + 1
            if free[row - band, column]:
                while below < end_band and free[below - band, column] and _same(task, y, x, below * EACH, x):
                    below += 1
                equal = True
                while equal and right < last:
                    for k in range(row, below):
                        equal = equal and free[k - band, right] and _same(task, y, x, k * EACH, right * EACH)
                    right += equal
                free[row - band : below - band, column:right] = 0
                _area(task, work, y, x, min(below * EACH, end_row), min(right * EACH, end_column))
            elif not _is_uniform(task, y, x, min(y + EACH, end_row), min(x + EACH, end_column)):
                _pieces(task, work, y, x, min(y + EACH, end_row), min(x + EACH, end_column))
            column = right


@njit(cache=True, nogil=True)
def _residual(task: _Task, work: _Work) -> None:
    top, left, height, width = task.shown
    first, last = left // SIDE, (left + width + SIDE - 1) // SIDE
    end = (top + height + SIDE - 1) // SIDE
    free = np.empty((TALL, last), np.uint8)
    band = top // SIDE
    while band < end:
        end_band = min((band // TALL + 1) * TALL, end)
        _band(task, work, band, first, last, end_band, free)
        band = end_band


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
    rows = picture.shape[0]
    if picture.shape[1] < LANES:
        picture = np.pad(picture, ((0, 0), (0, LANES)))
    picture = np.ascontiguousarray(picture)
    planes = [np.ascontiguousarray(plane) for plane in references]  # named: kernels know their addresses only
    vectors, entries = np.ascontiguousarray(vectors), np.ascontiguousarray(entries)
    narrow = picture.dtype == np.uint8
    lanes = np.empty((3, (TALL * SIDE + 7) * LANES), np.int16 if narrow else np.int32)
    result = np.empty(MARGIN + shown[2] * shown[3] + MARGIN, np.uint8)
    none = np.zeros((0, 2), np.int32)
    task = _Task(
        picture=picture.reshape(-1),
        step=picture.shape[1],
        rows=rows,
        width=width,
        addresses=np.array([plane.ctypes.data for plane in planes], np.uint64),
        steps=np.array([plane.shape[1] for plane in planes]),
        plane_of=plane_of,
        keys=vectors.reshape(*vectors.shape[:2], 4).view(np.int64)[..., 0],
        vectors=vectors,
        pairs=entries.view(np.int16)[..., 0],
        entries=entries,
        single=none if weights is None else weights.single,
        weights=none[:, None] if weights is None else weights.pairs,
        denominator=0 if weights is None else weights.denominator,
        shown=shown,
        filter=filter,
        depth=bit_depth,
        result=result,
    )
    _residual(task, _Work(np.empty((TALL * SIDE + 7) * WINDOW, picture.dtype), *lanes))
    return result[MARGIN:-MARGIN].reshape(shown[2:])
