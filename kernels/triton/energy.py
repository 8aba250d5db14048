"""From lengths of motion and residuals to the scores of patches, on a GPU: `reference.energy` in one launch.

Each patch gathers the cells that it covers, and each cell its pixels: energies live in registers only, and a cell on
a border between patches is worked out for each of them. Lengths and what counts as 1.0 come from `cupy.motion`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl

from codecsieve.kernels import geometry
from codecsieve.kernels.cupy.launch import check_arguments, kept_table
from codecsieve.kernels.geometry import Geometry
from codecsieve.kernels.reference import energy as reference

CELLS = 256
"""Cells that a program works on at a time."""
MOST_CELLS = 128
"""Cells of one patch that a program works on at a time: where patches have more, few lanes are left over."""

_CELL = tl.constexpr(geometry.CELL)
_ONE = tl.constexpr(reference.ENERGY_ONE)
_CENTER_BITS = tl.constexpr(geometry.CENTER_BITS)
_SCALE_BITS = tl.constexpr(reference.SCALE_BITS)
_SCALE_TOP = tl.constexpr(reference.ENERGY_ONE << reference.SCALE_BITS)
_WEIGHT_BITS = tl.constexpr(reference.WEIGHT_BITS)
_SCORE_BITS = tl.constexpr(2 * geometry.POOL_BITS + reference.ENERGY_BITS)


def pool_energy(
    lengths: torch.Tensor,
    length_limits: torch.Tensor,
    residual: torch.Tensor,
    residual_limits: torch.Tensor,
    grids: Geometry,
    table: torch.Tensor,
    fuse: str,
    weights: tuple[int, int],
) -> torch.Tensor:
    """Scores of the patches of n slots, none of them a keyframe.

    Args:
        lengths: int32 [n, Hc, Wc], of the motion without the camera's, 1/4096 px.
        length_limits: int32 [n], the length that counts as 1.0 in each slot, at least 1.
        residual: uint8 [n, H, W].
        residual_limits: int32 [n], the residual that counts as 1.0, 1 to 255.
        grids: of a picture of H x W.
        table: int32 [Hc, Wc], from `codecsieve.kernels.geometry.center_table`.
        fuse: one of `reference.energy.FUSE_MODES`.
        weights: from `reference.energy.fuse_weights`.

    Returns:
        int64 [n, grid, grid], as `reference.energy.pool_scores` gives.

    Raises:
        ValueError: a shape, dtype or mode is not one of these, or an array is not contiguous or on another device.
    """
    reference.check_fuse_mode(fuse)
    n, cells = len(residual), (grids.cells_height, grids.cells_width)
    for name, array, dtype, shape in (
        ("lengths", lengths, torch.int32, (n, *cells)),
        ("length_limits", length_limits, torch.int32, (n,)),
        ("residual", residual, torch.uint8, (n, grids.height, grids.width)),
        ("residual_limits", residual_limits, torch.int32, (n,)),
        ("table", table, torch.int32, cells),
    ):
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} ({array.dtype} {tuple(array.shape)}) must be {dtype} {shape}")
    device = check_arguments((lengths, length_limits, residual, residual_limits, table))
    first_y, weights_y, first_x, weights_x = (kept_table(table) for table in _pooling(grids, device))
    taps_y, taps_x = weights_y.shape[1], weights_x.shape[1]
    each = min(triton.next_power_of_2(taps_y * taps_x), MOST_CELLS)
    scores = torch.empty((n, grids.grid, grids.grid), dtype=torch.int64, device=device)
    with torch.cuda.device_of(residual):
        _energy_kernel[(triton.cdiv(scores.numel(), CELLS // each),)](
            lengths,
            length_limits,
            residual,
            residual_limits,
            table,
            first_y,
            weights_y,
            first_x,
            weights_x,
            scores,
            scores.numel(),
            grids.height,
            grids.width,
            grids.grid,
            grids.patch**2,
            taps_y,
            taps_x,
            *weights,
            fuse=fuse,
            patches=CELLS // each,
            cells=each,
            rounds=triton.cdiv(taps_y * taps_x, each),
            whole_words=grids.width % geometry.CELL == 0,
            enable_fp_fusion=False,
        )
    return scores


@lru_cache(maxsize=64)
def _pooling(grids: Geometry, device: torch.device) -> tuple[torch.Tensor, ...]:
    """First cells and weights of the rows, then of the columns, on a device."""
    tables = (grids.pool_y.first, grids.pool_y.weights, grids.pool_x.first, grids.pool_x.weights)
    return tuple(torch.tensor(table).to(device) for table in tables)


# Below, values are 32 bits wide wherever they fit, as in `cpu.energy`: `_ONE` times the largest scale, weight or lift
# is below 2^31 with its rounding.


@triton.jit
def _round_shift(values: tl.tensor, bits: tl.constexpr) -> tl.tensor:
    half = tl.constexpr(1) << (bits - 1)
    return (values + half) >> bits


@triton.jit
def _fused(e_mv: tl.tensor, e_res: tl.tensor, w_mv: tl.tensor, w_res: tl.tensor, fuse: tl.constexpr) -> tl.tensor:
    """int32, one energy of two."""
    if fuse == "weighted":
        energy = _round_shift(w_mv * e_mv + w_res * e_res, _WEIGHT_BITS)
    elif fuse == "max":
        energy = tl.maximum(e_mv, e_res)
    elif fuse == "sum":
        energy = tl.minimum(e_mv + e_res, _ONE)
    else:
        energy = tl.sqrt(e_mv.to(tl.float64) * e_res.to(tl.float64)).to(tl.int32)
    return energy


@triton.jit
def _product(e_mv: tl.tensor, e_res: tl.tensor) -> tl.tensor:
    """int32, the geometric mean, rounded: never near enough to a half for float64 to matter."""
    return (tl.sqrt(e_mv.to(tl.float64) * e_res.to(tl.float64)) + 0.5).to(tl.int32)


@triton.jit
def _lifted(energy: tl.tensor, lift: tl.tensor) -> tl.tensor:
    return tl.minimum(_round_shift(energy * lift, _CENTER_BITS), _ONE)


@triton.jit
def _on_cells(values: tl.tensor, cells: tl.constexpr) -> tl.tensor:
    """Give every cell its patch's value: [patches] -> [patches * cells], patches first."""
    patches: tl.constexpr = values.shape[0]
    return tl.reshape(tl.broadcast_to(values[:, None], (patches, cells)), (patches * cells,))


@triton.jit
def _energy_kernel(
    lengths: tl.tensor,
    length_limits: tl.tensor,
    residual: tl.tensor,
    residual_limits: tl.tensor,
    table: tl.tensor,
    first_y: tl.tensor,
    weights_y: tl.tensor,
    first_x: tl.tensor,
    weights_x: tl.tensor,
    scores: tl.tensor,
    count: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    grid: tl.tensor,
    area: tl.tensor,
    taps_y: tl.tensor,
    taps_x: tl.tensor,
    w_mv: tl.tensor,
    w_res: tl.tensor,
    fuse: tl.constexpr,
    patches: tl.constexpr,
    cells: tl.constexpr,
    rounds: tl.constexpr,
    whole_words: tl.constexpr,
) -> None:
    """Score `patches` of the `count` patches of a batch, `cells` cells of each at a time.

    The arrays are those of `pool_energy`, and those of two `geometry.Pooling`. area: pixels of a patch.
    """
    if whole_words:
        # Changes nothing, but tells the compiler that it can read the four pixels of a cell's line at once.
        width = width // _CELL * _CELL
    # Threads beyond the last patch do its work again, and so do those beyond its last cell, with weight 0.
    patch = tl.minimum(tl.program_id(0) * patches + tl.arange(0, patches), count - 1)
    slot, row, column = patch // (grid * grid), patch // grid % grid, patch % grid
    top, left = _on_cells(tl.load(first_y + row), cells), _on_cells(tl.load(first_x + column), cells)
    row, column = _on_cells(row * taps_y, cells), _on_cells(column * taps_x, cells)
    longest = _on_cells(tl.load(length_limits + slot), cells).to(tl.int64)
    limit = tl.load(residual_limits + slot)
    scale = _on_cells(tl.full((patches,), _SCALE_TOP, tl.int32) // limit, cells)[:, None]
    limit = _on_cells(limit, cells)[:, None]
    slot = _on_cells(slot, cells).to(tl.int64)
    cells_height, cells_width = (height + _CELL - 1) // _CELL, (width + _CELL - 1) // _CELL

    totals = tl.zeros((patches,), tl.int64)
    for start in range(0, rounds * cells, cells):
        tap = start + tl.arange(0, patches * cells) % cells
        counted = tap < taps_y * taps_x
        tap = tl.minimum(tap, taps_y * taps_x - 1)
        tap_y, tap_x = tap // taps_x, tap % taps_x
        weight = tl.load(weights_y + row + tap_y) * tl.load(weights_x + column + tap_x)

        y, x = top + tap_y, left + tap_x
        length = tl.load(lengths + (slot * cells_height + y) * cells_width + x)
        clipped = tl.minimum(length.to(tl.int64), longest)
        e_mv = ((clipped * _ONE + longest // 2) // longest).to(tl.int32)[:, None]
        lift = tl.load(table + y * cells_width + x)[:, None]

        y, x = y * _CELL, x * _CELL
        across = x[:, None] + tl.arange(0, _CELL)[None, :]
        sums = tl.zeros((patches * cells,), tl.int32)
        for line in tl.static_range(_CELL):
            inside = (y + line < height)[:, None] & (across < width)
            pixels = residual + ((slot * height + y + line) * width)[:, None] + across
            level = tl.minimum(tl.load(pixels, mask=inside, other=0).to(tl.int32), limit)
            each = _round_shift(level * scale, _SCALE_BITS)
            if fuse != "product":
                each = _lifted(_fused(e_mv, each, w_mv, w_res, fuse), lift)
            sums += tl.sum(tl.where(inside, each, 0), axis=1)
        number = tl.minimum(height - y, _CELL) * tl.minimum(width - x, _CELL)
        energy = (sums + number // 2) // number
        if fuse == "product":
            energy = tl.reshape(_lifted(_product(e_mv, energy[:, None]), lift), (patches * cells,))
        weighed = tl.where(counted, weight, 0).to(tl.int64) * energy
        totals += tl.sum(tl.reshape(weighed, (patches, cells)), axis=1)
    tl.store(scores + patch, _round_shift(totals * area, _SCORE_BITS))
