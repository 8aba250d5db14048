"""Definition of the patch gather: the RGB pixels of kept patches, straight from a picture's planes.

Resize and colour conversion are done together and only for the patches that are kept. Which ones those are is
decided by `select`.
"""

from __future__ import annotations

import numpy as np

from codecsieve.kernels.resample import COLOUR_BITS, FRACTION_BITS, TAP_BITS, ColourMatrix, Taps


def resize_patch(
    plane: np.ndarray, rows: Taps, columns: Taps, at: tuple[int, int], patch: int, depth: int
) -> np.ndarray:
    """One plane of one patch at model resolution: int64 [patch, patch], 8-bit scale with FRACTION_BITS fraction bits.

    Columns of samples are weighed first, then rows of the result.

    Args:
        plane: uint8 or uint16 [rows, columns], exactly the samples that `rows.first` and `columns.first` count.
        rows: weights of every model row of the crop.
        columns: weights of every model column of the crop.
        at: top, left of the patch, in model pixels of the crop.
        patch: side, in model pixels.
        depth: bits a sample.
    """
    shift = TAP_BITS - FRACTION_BITS + depth - 8
    result = np.empty((patch, patch), np.int64)
    for i in range(patch):
        row = rows.first[at[0] + i]
        weights = rows.weights[at[0] + i]
        strip = (weights[:, None] * plane[row : row + len(weights)].astype(np.int64)).sum(axis=0)
        strip = (strip + (1 << (shift - 1))) >> shift
        for j in range(patch):
            column = columns.first[at[1] + j]
            across = columns.weights[at[1] + j]
            total = (across * strip[column : column + len(across)]).sum()
            result[i, j] = (total + (1 << (TAP_BITS - 1))) >> TAP_BITS
    return result


def to_rgb(y: np.ndarray, u: np.ndarray, v: np.ndarray, matrix: ColourMatrix) -> np.ndarray:
    """RGB of samples with FRACTION_BITS fraction bits: uint8 [3, ...] (ITU-T H.273 8.3)."""
    luma = (y - (matrix.luma_offset << FRACTION_BITS)) * matrix.luma_gain
    u, v = u - (128 << FRACTION_BITS), v - (128 << FRACTION_BITS)
    channels = (
        luma + matrix.red_v * v,
        luma + matrix.green_u * u + matrix.green_v * v,
        luma + matrix.blue_u * u,
    )
    bits = COLOUR_BITS + FRACTION_BITS
    return np.stack([np.clip((c + (1 << (bits - 1))) >> bits, 0, 255).astype(np.uint8) for c in channels])


def gather_patches(
    planes: tuple[np.ndarray, ...],
    luma_taps: tuple[Taps, Taps],
    chroma_taps: tuple[Taps, Taps],
    corners: np.ndarray,
    patch: int,
    depth: int,
    matrix: ColourMatrix,
) -> np.ndarray:
    """Kept patches of one picture.

    Args:
        planes: uint8 or uint16 [rows, columns]: Y, or Y, U, V, the shown samples only.
        luma_taps: bicubic weights of the crop's rows and columns for Y.
        chroma_taps: the same for U and V.
        corners: int64 [K, 2], top and left of each patch in model pixels of the crop.
        patch: side, in model pixels.
        depth: bits a sample.
        matrix: the stream's colour matrix; grey pictures are converted with U = V = 128.

    Returns:
        uint8 [K, 3, patch, patch], RGB.
    """
    result = np.empty((len(corners), 3, patch, patch), np.uint8)
    for k, (top, left) in enumerate(corners.tolist()):
        samples = [
            resize_patch(plane, *(luma_taps if index == 0 else chroma_taps), (top, left), patch, depth)
            for index, plane in enumerate(planes)
        ]
        while len(samples) < 3:
            samples.append(np.full((patch, patch), 128 << FRACTION_BITS, np.int64))
        result[k] = to_rgb(samples[0], samples[1], samples[2], matrix)
    return result
