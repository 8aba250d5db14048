"""Definition of motion compensation: a picture's prediction from its reference pictures, and what it misses.

FFmpeg tells each block's vector and list but not which reference picture of the list was used. The nearest few
are tried and the one with the least error is kept; a block with a vector in both lists is the average of both.
Reading vectors and reference pictures out of a bitstream is left to `codec`.
"""

from __future__ import annotations

from itertools import product

import numpy as np

BLOCK = 8
"""Vectors and reference choices are kept per block of 8x8 luma samples, H.264's smallest unit for a reference."""
LIST_0, LIST_1 = 1, 2
"""Bits of `lists`: the block has a vector into list 0, list 1."""
SIX_TAP, BILINEAR = 6, 2
"""Taps of the luma interpolation filter: H.264's, and that of MPEG-1, MPEG-2 and MPEG-4."""


def block_motion(
    source: np.ndarray,
    w: np.ndarray,
    h: np.ndarray,
    dst_x: np.ndarray,
    dst_y: np.ndarray,
    motion_x: np.ndarray,
    motion_y: np.ndarray,
    motion_scale: np.ndarray,
    rows: int,
    columns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Motion records to a grid of 8x8 blocks.

    Args:
        source .. motion_scale: [n] fields of FFmpeg's AVMotionVector. `dst` is the block's centre in samples,
            `source` -1 or +1 for list 0 or 1, the vector is `motion / motion_scale` samples.
        rows: blocks in a column of the grid.
        columns: blocks in a row.

    Returns:
        vectors: int16 [rows, columns, 2, 2], quarter-pel, by list, then x, y; 0 where there is none.
        lists: uint8 [rows, columns], bits LIST_0 and LIST_1; 0 for intra blocks.
    """
    vectors = np.zeros((rows, columns, 2, 2), np.int16)
    lists = np.zeros((rows, columns), np.uint8)
    for k in range(len(source)):
        index = 0 if source[k] < 0 else 1
        top, left = (int(dst_y[k]) - int(h[k]) // 2) // BLOCK, (int(dst_x[k]) - int(w[k]) // 2) // BLOCK
        bottom, right = top + max(int(h[k]) // BLOCK, 1), left + max(int(w[k]) // BLOCK, 1)
        area = np.s_[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        scale = max(int(motion_scale[k]), 1)
        vectors[(*area, index)] = [np.clip(int(value[k]) * 4 // scale, -32768, 32767) for value in (motion_x, motion_y)]
        lists[area] |= LIST_1 if index else LIST_0
    return vectors, lists


def cell_motion(vectors: np.ndarray, lists: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """List-0 motion of a grid of blocks on the cells of the shown picture.

    Args:
        vectors: int16 [rows, columns, 2, 2], quarter-pel, as `block_motion` gives them.
        lists: uint8 [rows, columns].
        top: first shown luma row of the coded picture; likewise left, height, width.

    Returns:
        int16 [ceil(height / 4), ceil(width / 4), 2], quarter-pel, x then y; 0 where there is no list-0 vector.
    """
    motion = np.where((lists & LIST_0).astype(bool)[..., None], vectors[:, :, 0], np.int16(0))
    rows = (top + np.arange(-(-height // 4)) * 4) // BLOCK
    columns = (left + np.arange(-(-width // 4)) * 4) // BLOCK
    return motion[rows[:, None], columns]


def six_tap(samples: np.ndarray) -> np.ndarray:
    """H.264's half-sample filter (1, -5, 20, 20, -5, 1) along the last axis, not yet divided by 32."""
    count = samples.shape[-1] - 5
    taps = [samples[..., k : k + count] for k in range(6)]
    return taps[0] - 5 * taps[1] + 20 * taps[2] + 20 * taps[3] - 5 * taps[4] + taps[5]


def interpolate_six_tap(window: np.ndarray, dx: int, dy: int, peak: int) -> np.ndarray:
    """Luma sample interpolation of ITU-T H.264 8.4.2.2.1 for one block.

    Args:
        window: int [13, 13], the block's samples at whole-sample displacement, 2 before and 3 after in each axis.
        dx: quarter-sample fraction 0..3, likewise dy.
        peak: largest sample value.

    Returns:
        int [8, 8] prediction.
    """
    inner = slice(2, 10)

    def half(raw: np.ndarray) -> np.ndarray:
        return np.clip((raw + 16) >> 5, 0, peak)

    whole = window[inner, inner]
    if dx == 0 and dy == 0:
        return whole
    across = half(six_tap(window))[2:11]  # b: rows 0..8 of the block, between columns x and x + 1
    down = half(six_tap(window.T)).T[:, 2:11]  # h: columns 0..8, between rows y and y + 1
    if dx in (0, 2) and dy in (0, 2):
        if dy == 0:
            return across[:8]
        if dx == 0:
            return down[:, :8]
    both = np.clip((six_tap(six_tap(window).T).T + 512) >> 10, 0, peak)  # j
    if dx == 2 and dy == 2:
        return both
    row, column = dy == 3, dx == 3
    b, h = across[row : row + 8], down[:, column : column + 8]
    if dy == 0:
        first, second = across[:8], window[inner, 2 + column : 10 + column]
    elif dx == 0:
        first, second = down[:, :8], window[2 + row : 10 + row, inner]
    elif dx == 2:
        first, second = both, b
    elif dy == 2:
        first, second = both, h
    else:
        first, second = b, h
    return (first + second + 1) >> 1


def interpolate_bilinear(window: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """Bilinear prediction of one block; at half samples this is ISO/IEC 13818-2 7.6.4. Arguments as above."""
    a, b = window[2:10, 2:10], window[2:10, 3:11]
    c, d = window[3:11, 2:10], window[3:11, 3:11]
    return ((4 - dx) * (4 - dy) * a + dx * (4 - dy) * b + (4 - dx) * dy * c + dx * dy * d + 8) >> 4


def predict_block(
    reference: np.ndarray, width: int, y: int, x: int, vector: np.ndarray, taps: int, peak: int
) -> np.ndarray:
    """Prediction of the block at (y, x); samples outside the picture repeat its border (H.264 8.4.2.2.1)."""
    rows = np.clip(y + (int(vector[1]) >> 2) + np.arange(-2, 11), 0, reference.shape[0] - 1)
    columns = np.clip(x + (int(vector[0]) >> 2) + np.arange(-2, 11), 0, width - 1)
    window = reference[rows[:, None], columns].astype(np.int64)
    dx, dy = int(vector[0]) & 3, int(vector[1]) & 3
    if taps == SIX_TAP:
        return interpolate_six_tap(window, dx, dy, peak)
    return interpolate_bilinear(window, dx, dy)


def prediction_residual(
    picture: np.ndarray,
    past: tuple[np.ndarray, ...],
    future: np.ndarray | None,
    vectors: np.ndarray,
    lists: np.ndarray,
    shown: tuple[int, int, int, int],
    width: int,
    taps: int,
    bit_depth: int,
) -> np.ndarray:
    """What motion compensation misses of a picture.

    Args:
        picture: uint8 or uint16 [rows, stride], the decoded luma as coded.
        past: 1 or 2 candidates of list 0, likeliest first, same type; at equal error the first wins.
        future: the nearest picture of list 1, or None; list 1 is then left out.
        vectors: int16 [ceil(rows / 8), ceil(width / 8), 2, 2], quarter-pel, by list.
        lists: uint8, same grid; a block in neither list (intra) is compared with `past[0]` in place.
        shown: top, left, height, width of the shown picture within the planes.
        width: samples a row that are picture; the rest of the stride is padding.
        taps: SIX_TAP or BILINEAR.
        bit_depth: bits a sample; the residual is brought to 8 bits.

    Returns:
        residual: uint8 [height, width], abs(decoded - predicted).
    """
    peak = (1 << bit_depth) - 1
    result = np.zeros((vectors.shape[0] * BLOCK, vectors.shape[1] * BLOCK), np.int64)
    for row, column in product(range(vectors.shape[0]), range(vectors.shape[1])):
        y, x = row * BLOCK, column * BLOCK
        mine = picture[y : min(y + BLOCK, len(picture)), x : min(x + BLOCK, width)].astype(np.int64)
        used = int(lists[row, column]) & (LIST_0 if future is None else LIST_0 | LIST_1)
        vector = vectors[row, column]
        options = [predict_block(p, width, y, x, vector[0], taps, peak) for p in past] if used & LIST_0 else []
        if future is not None and used & LIST_1:
            ahead = predict_block(future, width, y, x, vector[1], taps, peak)
            options = [(option + ahead + 1) >> 1 for option in options] or [ahead]
        options = options or [predict_block(past[0], width, y, x, np.zeros(2, int), taps, peak)]
        errors = [np.abs(mine - option[: mine.shape[0], : mine.shape[1]]) for option in options]
        best = min(errors, key=np.sum)
        result[y : y + mine.shape[0], x : x + mine.shape[1]] = best
    top, left, height, shown_width = shown
    inside = result[top : top + height, left : left + shown_width]
    return np.minimum(inside >> (bit_depth - 8), 255).astype(np.uint8)
