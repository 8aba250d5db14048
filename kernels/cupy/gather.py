"""GPU form of `reference.gather`: the pixels of kept patches, bit for bit, of a whole clip or of several at once.

Reads surfaces as the video decoder leaves them: luma, and U and V interleaved (NV12, P016). Which patches are kept
is decided by `select`.
"""

from __future__ import annotations

from dataclasses import astuple

import torch

from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy.resample import axis_table, sample_bytes
from codecsieve.kernels.resample import ColourMatrix, Taps

LARGEST_PATCH = 32
STRIP = 8192
"""Samples of a row, U and V both counted, that a block can weigh at once."""
DEPTHS = range(8, 16)
"""Bits a sample that 32-bit sums have room for."""
THREADS = 256


def gather_patches(
    luma: torch.Tensor,
    chroma: torch.Tensor | None,
    origins: tuple[tuple[int, int], tuple[int, int]],
    luma_taps: tuple[Taps, Taps],
    chroma_taps: tuple[Taps, Taps],
    corners: torch.Tensor,
    slots: torch.Tensor,
    patch: int,
    depth: int,
    shift: int,
    matrix: ColourMatrix,
) -> torch.Tensor:
    """Kept patches of a batch of pictures of one size.

    Args:
        luma: uint8 or uint16 [n, rows, columns], contiguous; the taps say which samples are read, as in
            `resample.model_levels`.
        chroma: the same kind, [n, rows, columns, 2], U then V; None for grey pictures, which get U = V = 128. Of
            whole NV12 surfaces it is `luma.unflatten(2, (-1, 2))`, luma's rows counted in the chroma's origin.
        origins: the first shown luma and chroma sample (row, column); negative where the surfaces are cut to the
            samples of the crop.
        luma_taps: bicubic weights of the crop's rows and columns for Y.
        chroma_taps: the same for U and V, of as many model pixels; not looked at for grey pictures.
        corners: int64 [K, 2], top and left of each patch in model pixels, the whole patch in the crop.
        slots: int64 [K], 0 .. n - 1, the picture that each patch is cut from.
        patch: side, in model pixels, at most 32.
        depth: bits a sample, 8 .. 15.
        shift: low bits of a stored sample that are dropped to get it: 0 for NV12, 16 - depth for P016.
        matrix: the stream's colour matrix.

    Returns:
        uint8 [K, 3, patch, patch], RGB.

    Raises:
        ValueError: shapes or kinds are not as above, a tap is outside a surface, or a patch is made of more samples
            across than a block can weigh.
    """
    size = len(luma_taps[0].first)
    if not 0 < patch <= min(LARGEST_PATCH, size):
        raise ValueError(f"patch ({patch}) must be 1 .. {min(LARGEST_PATCH, size)}")
    if depth not in DEPTHS:
        raise ValueError(f"depth ({depth}) must be {DEPTHS[0]} .. {DEPTHS[-1]}")
    if corners.shape != (len(slots), 2) or {corners.dtype, slots.dtype} != {torch.int64}:
        raise ValueError(f"corners {tuple(corners.shape)} and slots {tuple(slots.shape)} must be int64 [K, 2] and [K]")
    if chroma is not None and (len(chroma), chroma.shape[-1], chroma.dtype) != (len(luma), 2, luma.dtype):
        must = f"{luma.dtype} [{len(luma)}, rows, columns, 2] like luma"
        raise ValueError(f"chroma ({chroma.dtype} {list(chroma.shape)}) must be {must}")
    light = _axes(luma.unsqueeze(-1), origins[0], luma_taps, size, patch)
    colour = light if chroma is None else _axes(chroma, origins[1], chroma_taps, size, patch)
    colours = luma if chroma is None else chroma
    surfaces = (luma, *luma.shape[1:], colours, *colours.shape[1:3], int(chroma is None), sample_bytes(luma))
    patches = torch.empty((len(slots), 3, patch, patch), dtype=torch.uint8, device=luma.device)
    where = (*light, *colour, size, *astuple(matrix), corners, slots, patch, patches)
    launch.launch("gather", "gather", (len(slots),), THREADS, *surfaces, depth, shift, *where)
    return patches


def _axes(
    surfaces: torch.Tensor, origin: tuple[int, int], taps: tuple[Taps, Taps], size: int, patch: int
) -> tuple[torch.Tensor | int, ...]:
    """Tables of rows and columns of [n, rows, columns, channels], each followed by its number of taps."""
    _, *sides, channels = surfaces.shape
    if {len(axis.first) for axis in taps} != {size}:
        raise ValueError(f"weights of {[len(axis.first) for axis in taps]} model pixels must be of {size} each")
    first, count = taps[1].first, taps[1].weights.shape[1]
    widest = channels * int((first[patch - 1 :] - first[: size - patch + 1]).max() + count)
    if widest > STRIP:
        raise ValueError(f"samples across a patch ({widest}) must be <= {STRIP}: the picture is too wide")
    rows, columns = (axis_table(*axis, surfaces.device) for axis in zip(taps, origin, sides, strict=True))
    return rows, len(rows) - 1, columns, len(columns) - 1
