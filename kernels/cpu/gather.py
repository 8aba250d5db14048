"""Fast CPU form of `kernels.reference.gather`: the same patches, bit for bit.

Patches side by side share one strip of weighed rows, for a loop over few samples costs more to enter than to run.
Each patch's part of it is then turned, so that the loops that weigh its columns run down them, over numbers that
lie side by side. Everything fits 32 bits, as weights are no more than `Taps` allows, up to 15 bits a sample.
"""

from __future__ import annotations

import numpy as np
from numba import int32, njit, uintp

from codecsieve.kernels.resample import COLOUR_BITS, FRACTION_BITS, TAP_BITS, ColourMatrix, Taps

NEUTRAL = int32(128 << FRACTION_BITS)
RGB_BITS = int32(COLOUR_BITS + FRACTION_BITS)
RGB_HALF = int32(1 << (COLOUR_BITS + FRACTION_BITS - 1))
NEAR = 256
"""Samples between two patches that are weighed along with them sooner than a new strip is begun."""


@njit(cache=True, nogil=True)
def _run_end(corners: np.ndarray, begin: int, first: np.ndarray, patch: int) -> tuple[int, int, int]:
    """Patches that share a strip with patch `begin`: where they end, and their first and last left sides."""
    left = right = corners[begin, 1]
    end = begin + 1
    while end < len(corners) and corners[end, 0] == corners[begin, 0]:
        x = corners[end, 1]
        if first[x] - first[right + patch - 1] > NEAR or first[left] - first[x + patch - 1] > NEAR:
            break
        left, right = min(left, x), max(right, x)
        end += 1
    return end, left, right


@njit(cache=True, nogil=True)
def _weigh_rows(
    plane: np.ndarray,
    top: int,
    left: int,
    width: int,
    first: np.ndarray,
    weights: np.ndarray,
    at: int,
    shift: int,
    sums: np.ndarray,
    strip: np.ndarray,
) -> None:
    """Model rows from `at` on, of samples left .. left + width: int32 [rows, width], FRACTION_BITS fraction bits."""
    last = plane.shape[0] - 1
    left, width = uintp(left), uintp(width)
    half, bits = int32(1 << (shift - 1)), int32(shift)
    for i in range(strip.shape[0]):
        row = top + first[at + i]
        for x in range(width):
            sums[x] = half
        for k in range(0, weights.shape[1], 4):
            a, b = uintp(min(row + k, last)), uintp(min(row + k + 1, last))
            c, d = uintp(min(row + k + 2, last)), uintp(min(row + k + 3, last))
            of_a, of_b = weights[at + i, k], weights[at + i, k + 1]
            of_c, of_d = weights[at + i, k + 2], weights[at + i, k + 3]
            for x in range(width):
                upper = int32(of_a * int32(plane[a, left + x])) + int32(of_b * int32(plane[b, left + x]))
                lower = int32(of_c * int32(plane[c, left + x])) + int32(of_d * int32(plane[d, left + x]))
                sums[x] += int32(upper + lower)
        for x in range(width):
            strip[i, x] = sums[x] >> bits


@njit(cache=True, nogil=True)
def _turn(strip: np.ndarray, x: int, width: int, lane: int, turned: np.ndarray) -> None:
    """Samples x .. x + width of a strip become rows of `turned`, from column `lane` on."""
    x, lane = uintp(x), uintp(lane)
    for j in range(uintp(width)):
        for i in range(uintp(strip.shape[0])):
            turned[j, lane + i] = strip[i, x + j]


@njit(cache=True, nogil=True)
def _weigh_columns(
    turned: np.ndarray, first: np.ndarray, weights: np.ndarray, at: int, patch: int, out: np.ndarray
) -> None:
    """Model columns from `at` on, of a turned strip: int32 [patch, lanes], FRACTION_BITS fraction bits."""
    lanes, bits = uintp(out.shape[1]), int32(TAP_BITS)
    for j in range(patch):
        column, row = uintp(j), uintp(at + j)
        for i in range(lanes):
            out[column, i] = 1 << (TAP_BITS - 1)
        for k in range(0, weights.shape[1], 8):
            tap, sample = uintp(k), uintp(first[at + j] - first[at] + k)
            for i in range(lanes):
                total = int32(0)
                for t in range(uintp(8)):
                    total = int32(total + int32(weights[row, tap + t] * turned[sample + t, i]))
                out[column, i] += total
        for i in range(lanes):
            out[column, i] >>= bits


@njit(cache=True, nogil=True)
def _convert(
    light: np.ndarray, chroma: np.ndarray, matrix: tuple[int, int, int, int, int, int], rgb: np.ndarray
) -> None:
    """RGB of turned Y [patch, lanes] and U, V side by side [patch, 2 * lanes]: uint8 [3, patch, lanes]."""
    y_offset, y_gain, red_v = int32(matrix[0] << FRACTION_BITS), int32(matrix[1]), int32(matrix[2])
    green_u, green_v, blue_u = int32(matrix[3]), int32(matrix[4]), int32(matrix[5])
    none, full = int32(0), int32(255)
    lanes = uintp(light.shape[1])
    for j in range(uintp(light.shape[0])):
        for i in range(lanes):
            y = int32(int32(light[j, i] - y_offset) * y_gain) + RGB_HALF
            u, v = int32(chroma[j, i] - NEUTRAL), int32(chroma[j, lanes + i] - NEUTRAL)
            red = int32(y + int32(red_v * v)) >> RGB_BITS
            green = int32(y + int32(int32(green_u * u) + int32(green_v * v))) >> RGB_BITS
            blue = int32(y + int32(blue_u * u)) >> RGB_BITS
            rgb[0, j, i] = min(max(red, none), full)
            rgb[1, j, i] = min(max(green, none), full)
            rgb[2, j, i] = min(max(blue, none), full)


@njit(cache=True, nogil=True)
def _gather(
    y: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    origins: tuple[tuple[int, int], tuple[int, int]],
    luma: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int],
    chroma: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int],
    grey: bool,
    corners: np.ndarray,
    patch: int,
    shift: int,
    matrix: tuple[int, int, int, int, int, int],
    result: np.ndarray,
) -> None:
    lanes = (patch + 7) // 8 * 8
    widest = max(y.shape[1], u.shape[1])
    sums = np.empty(widest, np.int32)
    strips = np.empty((3, patch, widest), np.int32)
    turned = np.zeros((widest + 8, lanes), np.int32)
    turned_chroma = np.zeros((widest + 8, 2 * lanes), np.int32)
    light = np.empty((patch, lanes), np.int32)
    colour = np.full((patch, 2 * lanes), NEUTRAL, np.int32)
    rgb = np.empty((3, patch, lanes), np.uint8)
    (top, left), (chroma_top, chroma_left) = origins
    y_first, y_weights, x_first, x_weights, taps = luma
    uv_y_first, uv_y_weights, uv_x_first, uv_x_weights, uv_taps = chroma
    end = 0
    while end < len(corners):
        begin, at_y = end, corners[end, 0]
        end, nearest, farthest = _run_end(corners, begin, x_first, patch)
        start, uv_start = x_first[nearest], uv_x_first[nearest]
        width = x_first[farthest + patch - 1] + taps - start
        _weigh_rows(y, top, left + start, width, y_first, y_weights, at_y, shift, sums, strips[0])
        if not grey:
            width = uv_x_first[farthest + patch - 1] + uv_taps - uv_start
            for plane, strip in ((u, strips[1]), (v, strips[2])):
                _weigh_rows(
                    plane, chroma_top, chroma_left + uv_start, width, uv_y_first, uv_y_weights, at_y, shift, sums, strip
                )  # fmt: skip
        for k in range(begin, end):
            at = corners[k, 1]
            _turn(strips[0], x_first[at] - start, x_first[at + patch - 1] + taps - x_first[at], 0, turned)
            _weigh_columns(turned, x_first, x_weights, at, patch, light)
            if not grey:
                width = uv_x_first[at + patch - 1] + uv_taps - uv_x_first[at]
                _turn(strips[1], uv_x_first[at] - uv_start, width, 0, turned_chroma)
                _turn(strips[2], uv_x_first[at] - uv_start, width, lanes, turned_chroma)
                _weigh_columns(turned_chroma, uv_x_first, uv_x_weights, at, patch, colour)
            _convert(light, colour, matrix, rgb)
            for channel in range(3):
                _turn(rgb[channel], 0, patch, 0, result[k, channel])


def gather_patches(
    planes: tuple[np.ndarray, ...],
    luma_taps: tuple[Taps, Taps],
    chroma_taps: tuple[Taps, Taps],
    corners: np.ndarray,
    patch: int,
    depth: int,
    matrix: ColourMatrix,
    origins: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> np.ndarray:
    """See `reference.gather.gather_patches`; `origins` are the first shown luma and chroma sample (row, column)."""
    result = np.empty((len(corners), 3, patch, patch), np.uint8)
    grey = len(planes) == 1
    _gather(
        planes[0],
        planes[0] if grey else planes[1],
        planes[0] if grey else planes[2],
        origins,
        _arrays(luma_taps),
        _arrays(chroma_taps),
        grey,
        corners,
        patch,
        TAP_BITS - FRACTION_BITS + depth - 8,
        (matrix.luma_offset, matrix.luma_gain, matrix.red_v, matrix.green_u, matrix.green_v, matrix.blue_u),
        result,
    )
    return result


def _arrays(taps: tuple[Taps, Taps]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    rows, columns = taps
    return rows.first, rows.in_eights, columns.first, columns.in_eights, columns.weights.shape[1]
