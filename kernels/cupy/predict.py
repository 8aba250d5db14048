"""Motion records on grids, and what motion compensation misses of a batch of pictures, on a GPU.

`cell_motions` and `prediction_residuals` equal `codecsieve.kernels.reference.predict` bit for bit, which defines them;
`statistics_vectors` reads the motion that NVIDIA's decoder tells instead of FFmpeg's. Which pictures predict which is
left to `codec`. Arrays are torch tensors on one device.
"""

from __future__ import annotations

import torch

from codecsieve.kernels.cupy import launch
from codecsieve.kernels.cupy.launch import check_array
from codecsieve.kernels.cupy.resample import SAMPLE_BYTES
from codecsieve.kernels.geometry import CELL
from codecsieve.kernels.reference.predict import BILINEAR, BLOCK, SIX_TAP

THREADS = 256


def statistics_vectors(mv0: torch.Tensor, mv1: torch.Tensor, inter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode statistics, one record a 16x16 block, to the grid of 8x8 blocks.

    The statistics do not say which lists a block uses, so its vectors must: a block that is not inter is in no list;
    one that is is in list 1 where `mv1` is not zero, and in list 0 unless `mv0` is zero and `mv1` is not. A zero
    vector of list 0 beside one of list 1 is thus lost, and so is a zero vector of list 1.

    Args:
        mv0: int16 [n, R, C, 2], quarter-pel, x then y, of list 0. mv1: of list 1.
        inter: uint8 [n, R, C], not 0 where the block is predicted from other pictures.

    Returns:
        vectors: int16 [n, 2R, 2C, 2, 2], quarter-pel, by list, then x, y; 0 for blocks in no list.
        lists: uint8 [n, 2R, 2C], bits `LIST_0` and `LIST_1`.
    """
    if inter.ndim != 3:
        raise ValueError(f"inter {tuple(inter.shape)} must be [n, R, C]")
    pictures, rows, columns = inter.shape
    check_array("inter", inter, torch.uint8, (pictures, rows, columns))
    check_array("mv0", mv0, torch.int16, (pictures, rows, columns, 2))
    check_array("mv1", mv1, torch.int16, (pictures, rows, columns, 2))
    vectors = torch.empty((pictures, 2 * rows, 2 * columns, 2, 2), dtype=torch.int16, device=inter.device)
    lists = torch.empty((pictures, 2 * rows, 2 * columns), dtype=torch.uint8, device=inter.device)
    grid = (pictures, -(-4 * rows * columns // THREADS))
    launch.launch("predict", "statistics_vectors", grid, THREADS, mv0, mv1, inter, rows, columns, vectors, lists)
    return vectors, lists


def cell_motions(
    vectors: torch.Tensor, lists: torch.Tensor, top: int, left: int, height: int, width: int
) -> torch.Tensor:
    """List-0 motion of grids of 8x8 blocks on the cells of the shown pictures.

    Args:
        vectors: int16 [n, rows, columns, 2, 2], quarter-pel, by list, then x, y.
        lists: uint8 [n, rows, columns].
        top: first shown luma row of the coded picture; likewise left, height, width.

    Returns:
        int16 [n, ceil(height / 4), ceil(width / 4), 2], quarter-pel, x then y; 0 where there is no list-0 vector.

    Raises:
        ValueError: an array is not of this form, or the grid does not reach over the shown picture.
    """
    pictures, rows, columns = _check_blocks(vectors, lists, (top, left, height, width))
    high, wide = -(-height // CELL), -(-width // CELL)
    motion = torch.empty((pictures, high, wide, 2), dtype=torch.int16, device=vectors.device)
    grid = (pictures, -(-high * wide // THREADS))
    launch.launch(
        "predict", "cell_motions", grid, THREADS, vectors, lists, rows, columns, top, left, high, wide, motion
    )
    return motion


def prediction_residuals(
    luma: torch.Tensor,
    current: torch.Tensor,
    past: torch.Tensor,
    future: torch.Tensor,
    vectors: torch.Tensor,
    lists: torch.Tensor,
    shown: tuple[int, int, int, int],
    width: int,
    taps: int,
    bit_depth: int,
    shift: int,
) -> torch.Tensor:
    """What motion compensation misses of each of n pictures; see `reference.predict.prediction_residual`.

    Args:
        luma: uint8 or uint16 [m, rows, stride], decoded luma as coded; pictures are told by their number in it. The
            numbers must be below m: nothing checks them.
        current: int64 [n], the pictures that are predicted.
        past: int64 [n, 2], candidates of list 0, likeliest first; -1 where there is none. Without the first, what
            it would predict has a residual of 0.
        future: int64 [n], the nearest picture of list 1, or -1; list 1 is then left out.
        vectors: int16 [n, R, C, 2, 2], quarter-pel, by list, for 8x8 blocks of at least the shown picture.
        lists: uint8 [n, R, C].
        shown: top, left, height, width of the shown pictures within the planes.
        width: samples a row that are picture; the rest of the stride is padding.
        taps: SIX_TAP or BILINEAR.
        bit_depth: bits a sample; the residual is brought to 8 bits.
        shift: how far to the right a stored sample is shifted to be one of `bit_depth` bits: 6 for the 10 bits of
            P016, otherwise 0.

    Returns:
        uint8 [n, height, width], abs(decoded - predicted).

    Raises:
        ValueError: an argument is not of this form.
    """
    pictures, blocks_high, blocks_wide = _check_blocks(vectors, lists, shown)
    check_array("current", current, torch.int64, (pictures,))
    check_array("past", past, torch.int64, (pictures, 2))
    check_array("future", future, torch.int64, (pictures,))
    if luma.dtype not in SAMPLE_BYTES or luma.ndim != 3:
        raise ValueError(f"luma ({luma.dtype}) {tuple(luma.shape)} must be uint8 or uint16 [m, rows, stride]")
    top, left, shown_height, shown_width = shown
    rows, stride = luma.shape[1:]
    if not left + shown_width <= width <= stride or top + shown_height > rows:
        raise ValueError(f"shown {shown} must be within {rows} x {width} samples, these within a stride of {stride}")
    if taps not in (SIX_TAP, BILINEAR):
        raise ValueError(f"taps ({taps}) must be {SIX_TAP} or {BILINEAR}")

    residual = torch.empty((pictures, shown_height, shown_width), dtype=torch.uint8, device=luma.device)
    high = -(-(top + shown_height) // BLOCK) - top // BLOCK
    wide = -(-(left + shown_width) // BLOCK) - left // BLOCK
    launch.launch(
        "predict", "prediction_residuals", (wide, high, pictures), BLOCK * BLOCK,
        luma, rows, stride, width, SAMPLE_BYTES[luma.dtype], shift,
        current, past, future, vectors, lists, blocks_high, blocks_wide,
        top, left, shown_height, shown_width, taps, bit_depth, residual,
    )  # fmt: skip
    return residual


def _check_blocks(vectors: torch.Tensor, lists: torch.Tensor, shown: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """Pictures, rows and columns of a grid of 8x8 blocks; ValueError unless it reaches over the shown picture."""
    if lists.ndim != 3:
        raise ValueError(f"lists {tuple(lists.shape)} must be [n, rows, columns]")
    pictures, rows, columns = lists.shape
    check_array("lists", lists, torch.uint8, (pictures, rows, columns))
    check_array("vectors", vectors, torch.int16, (pictures, rows, columns, 2, 2))
    top, left, height, width = shown
    if min(shown) < 0 or top + height > rows * BLOCK or left + width > columns * BLOCK:
        raise ValueError(f"shown {shown} must be within the grid of {rows} x {columns} blocks of {BLOCK}x{BLOCK}")
    return pictures, rows, columns
