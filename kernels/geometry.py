"""What a picture's size fixes: its cells, the model's crop of it, the pooling weights, and the centre table.

The picture of `height x width` luma pixels is divided into cells of 4x4 pixels, on which motion and energy
live. The model sees it with the short side resized to `size`, cropped about the centre to `size x size`, or with the
long side resized to `size` and black beside it (`letterbox`), or at a size of its own, in the square's upper left
(`Native`), and divided into a grid of `patch x patch` patches.
Everything here is computed on the host, once for each picture size, and is handed to the kernels as integer tables; the
kernels themselves are elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.rules import FITS, MAX_CENTER_PRIOR, Fit, Native

CELL = 4
"""Side of a cell, in luma pixels: the smallest block that carries its own motion."""

POOL_BITS = 12
"""The pooling weights of one axis of a patch sum to `1 << POOL_BITS`."""

CENTER_BITS = 12
"""The centre table is fixed point: `1 << CENTER_BITS` leaves an energy as it is."""


@dataclass(frozen=True)
class Pooling:
    """Area weights that pool the cells of one axis into patches.

    Attributes:
        first: int32 [grid], the first cell of each patch.
        weights: int32 [grid, taps], the part of the patch that each cell from `first` on covers; a row sums to 4096,
            or to the part that is not padding, and `first + taps` never passes the last cell.
    """

    first: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check that no patch is weighed twice."""
        if self.weights.shape[0] != self.first.shape[0]:
            raise ValueError(f"weights ({self.weights.shape[0]} rows) and first ({self.first.shape[0]}) must match")
        if (self.weights < 0).any() or (self.weights.sum(axis=1) > 1 << POOL_BITS).any():
            raise ValueError(f"weights of a patch must be >= 0 and sum to at most {1 << POOL_BITS}")


@dataclass(frozen=True)
class Geometry:
    """The grids of one picture size. Build it with `geometry`, which keeps one of each.

    Attributes:
        height: of the picture, in luma pixels.
        width: of the picture, in luma pixels.
        size: side of the square that the model sees, in its pixels.
        patch: side of a patch, in the model's pixels.
        fit: how the picture is brought into the square.

    Raises:
        ValueError: a side is not positive, `size` is not a multiple of `patch`, or there is no such fit.
    """

    height: int
    width: int
    size: int
    patch: int
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Check the numbers, and the fit."""
        for name in ("height", "width", "size", "patch"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be > 0")
        if self.size % self.patch:
            raise ValueError(f"size ({self.size}) must be a multiple of patch ({self.patch})")
        if not isinstance(self.fit, Native) and self.fit not in FITS:
            raise ValueError(f"fit ({self.fit!r}) must be one of {', '.join(FITS)}")

    @property
    def grid(self) -> int:
        """Patches on each side of the model's square."""
        return self.size // self.patch

    @property
    def cells_height(self) -> int:
        """Rows of cells; the last may hold fewer than 4 rows of pixels."""
        return -(-self.height // CELL)

    @property
    def cells_width(self) -> int:
        """Columns of cells; the last may hold fewer than 4 columns of pixels."""
        return -(-self.width // CELL)

    @property
    def scaled_height(self) -> int:
        """Height of the picture once the side that is fitted is `size`, in the model's pixels, rounded half up."""
        return self._scaled[0]

    @property
    def scaled_width(self) -> int:
        """Width of the picture once the side that is fitted is `size`, in the model's pixels, rounded half up."""
        return self._scaled[1]

    @property
    def crop_top(self) -> int:
        """Rows of the scaled picture above the model's square; negative: rows of padding above the picture."""
        return self._before(self.scaled_height)

    @property
    def crop_left(self) -> int:
        """Columns of the scaled picture left of the model's square; negative: columns of padding."""
        return self._before(self.scaled_width)

    @property
    def seen(self) -> tuple[int, int, int, int]:
        """Begin and end of the rows, then of the columns, of the model's square that show the picture."""
        top, left = max(-self.crop_top, 0), max(-self.crop_left, 0)
        return top, min(top + self.scaled_height, self.size), left, min(left + self.scaled_width, self.size)

    @cached_property
    def cell_pixels_y(self) -> npt.NDArray[np.int32]:
        """int32 [cells_height], rows of pixels in each row of cells."""
        return _cell_pixels(self.height)

    @cached_property
    def cell_pixels_x(self) -> npt.NDArray[np.int32]:
        """int32 [cells_width], columns of pixels in each column of cells."""
        return _cell_pixels(self.width)

    @cached_property
    def pool_y(self) -> Pooling:
        """Weights of the rows of cells in each row of patches."""
        return _pooling(self.height, self.scaled_height, self.crop_top, self.patch, self.grid)

    @cached_property
    def pool_x(self) -> Pooling:
        """Weights of the columns of cells in each column of patches."""
        return _pooling(self.width, self.scaled_width, self.crop_left, self.patch, self.grid)

    @cached_property
    def shown(self) -> tuple[int, int, int, int]:
        """Begin and end of the rows, then of the columns, of cells that any patch covers."""
        ends = [
            (int(pool.first[0]), int(pool.first[-1]) + pool.weights.shape[1]) for pool in (self.pool_y, self.pool_x)
        ]
        return ends[0] + ends[1]

    @cached_property
    def unscored(self) -> npt.NDArray[np.int64]:
        """int64 [grid, grid], scores of a slot without signals: 0, and -1 of patches that are padding only."""
        seen_y, seen_x = (pool.weights.any(axis=1) for pool in (self.pool_y, self.pool_x))
        scores = np.where(np.outer(seen_y, seen_x), 0, -1).astype(np.int64)
        scores.setflags(write=False)
        return scores

    @cached_property
    def _scaled(self) -> tuple[int, int]:
        if isinstance(self.fit, Native):
            return native_size(self.height, self.width, self.size, self.fit)
        fitted = (min if self.fit == "crop" else max)(self.height, self.width)
        height, width = (max((2 * side * self.size + fitted) // (2 * fitted), 1) for side in (self.height, self.width))
        return height, width

    def _before(self, scaled: int) -> int:
        if isinstance(self.fit, Native):
            return 0
        return (scaled - self.size) // 2 if scaled >= self.size else -((self.size - scaled) // 2)


def native_size(height: int, width: int, size: int, fit: Native) -> tuple[int, int]:
    """The size at which a picture is seen whole: its own in whole blocks, or the largest of its shape that is allowed.

    Each side is rounded to the nearest multiple, of two the even one, and is one at least. Where that has more than
    `max_pixels`, or a side more than `size`, the picture is scaled so that it has just as many, or as long a side, and
    its sides are rounded down. This is the rule of Qwen2-VL's processors, in integers, but that no picture is made
    larger, and that a strip that is less than a block wide is cut short rather than over the limit.

    Args:
        height, width: of the picture, in luma pixels.
        size: what no side is longer than, in the model's pixels, a multiple as well.
        fit: the limit and the multiple.

    Returns:
        Height and width in the model's pixels.
    """
    step, most = fit.multiple, fit.max_pixels // fit.multiple**2
    rows, columns = (max(round(Fraction(side, step)), 1) for side in (height, width))
    if rows * columns > most or max(rows, columns) * step > size:
        longest = max(height, width)
        rows, columns = (
            max(min(math.isqrt(side * fit.max_pixels // (other * step**2)), side * size // (longest * step)), 1)
            for side, other in ((height, width), (width, height))
        )
        rows, columns = min(rows, most // columns) or 1, min(columns, most // rows) or 1
    return rows * step, columns * step


@lru_cache(maxsize=256)
def geometry(height: int, width: int, size: int, patch: int, fit: Fit = "crop") -> Geometry:
    """The grids of a picture of `height x width` luma pixels, seen at `size` in patches of `patch` pixels."""
    return Geometry(height, width, size, patch, fit)


@lru_cache(maxsize=64)
def center_table(grids: Geometry, center_prior: float, center_sigma: float) -> npt.NDArray[np.int32]:
    """How much an energy near the picture's centre is lifted, by cell.

    Args:
        grids: of the picture.
        center_prior: lift at the very centre; 0.3 makes an energy 1.3 times as large. 0 or less: no lift.
        center_sigma: width of the Gaussian as a part of the picture's short side, at least one pixel.

    Returns:
        int32 [cells_height, cells_width], `round(4096 * (1 + center_prior * w))` with w the Gaussian of the
        distance in pixels from the cell's centre to the picture's. Read-only.

    Raises:
        ValueError: a number is not finite, or `center_prior` is above 7: a lifted energy must fit 32 bits.
    """
    if not (math.isfinite(center_prior) and math.isfinite(center_sigma)):
        raise ValueError(f"center_prior ({center_prior}) and center_sigma ({center_sigma}) must be finite")
    if center_prior > MAX_CENTER_PRIOR:
        raise ValueError(f"center_prior ({center_prior}) must be <= {MAX_CENTER_PRIOR}")
    sigma = max(1.0, center_sigma * min(grids.height, grids.width))
    y = _gaussian(grids.height, grids.cell_pixels_y, sigma)
    x = _gaussian(grids.width, grids.cell_pixels_x, sigma)
    lift = max(0.0, center_prior) * np.outer(y, x)
    return _frozen(np.floor((1.0 + lift) * (1 << CENTER_BITS) + 0.5))


def _cell_pixels(side: int) -> npt.NDArray[np.int32]:
    starts = np.arange(0, side, CELL)
    return _frozen(np.minimum(CELL, side - starts))


def _gaussian(side: int, pixels: npt.NDArray[np.int32], sigma: float) -> npt.NDArray[np.float64]:
    centers = np.arange(len(pixels)) * CELL + (pixels - 1) / 2
    exponents = [-((c - (side - 1) / 2) ** 2) / (2 * sigma * sigma) for c in centers.tolist()]
    # Decimal's exp is rounded correctly; C libraries differ in the last bit from machine to machine.
    return np.array([float(Decimal(exponent).exp()) for exponent in exponents])


def _pooling(side: int, scaled: int, crop: int, patch: int, grid: int) -> Pooling:
    """Overlaps of patches and cells on an axis, as integers: in units of 1/scaled pixel."""
    rows: list[tuple[int, list[int]]] = []
    for i in range(grid):
        begin, end = (min(max(crop + n * patch, 0), scaled) * side for n in (i, i + 1))
        first, last = begin // (CELL * scaled), (end - 1) // (CELL * scaled)
        overlaps = [
            min(end, min(CELL * (c + 1), side) * scaled) - max(begin, CELL * c * scaled) for c in range(first, last + 1)
        ]
        padding = patch * side - (end - begin)
        rows.append((first, _shares([*overlaps, padding], 1 << POOL_BITS)[:-1]))
    taps = max(len(shares) for _, shares in rows)
    cells = -(-side // CELL)
    first_cells = np.zeros(grid, np.int32)
    weights = np.zeros((grid, taps), np.int32)
    for i, (first, shares) in enumerate(rows):
        first_cells[i] = min(first, cells - taps)
        skip = first - first_cells[i]
        weights[i, skip : skip + len(shares)] = shares
    return Pooling(_frozen(first_cells), _frozen(weights))


def _shares(lengths: list[int], total: int) -> list[int]:
    """`total` divided in proportion to `lengths`, exactly: largest remainder, ties to the smaller index."""
    whole = sum(lengths)
    shares = [length * total // whole for length in lengths]
    by_remainder = sorted(range(len(lengths)), key=lambda i: (-(lengths[i] * total % whole), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def _frozen(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int32]:
    table = np.ascontiguousarray(values, dtype=np.int32)
    table.setflags(write=False)
    return table
