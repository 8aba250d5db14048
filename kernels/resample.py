"""Resampling and colour tables: how the model's pixels are made of a picture's samples. Host-only integers.

Two filters: the area average, for the luma that block search works on, and the antialiased bicubic, for the
patches. The tables are made once for each picture size; using them is left to the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

TAP_BITS = 14
"""Weights of one output sample sum to 1 << TAP_BITS."""
COLOUR_BITS = 14
"""Fixed point of the colour matrix."""
FRACTION_BITS = 6
"""Fraction bits that a sample keeps between the two passes of a resize, and into the colour matrix."""
LUMA_WEIGHTS = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}
"""Kr, Kb of each matrix (ITU-T H.273 table 4)."""


@dataclass(frozen=True, eq=False)
class Taps:
    """Weights of one axis: output sample i is the sum of weights[i, k] * source[first[i] + k].

    Made once for each picture size, so two are equal where they are one.
    """

    first: np.ndarray
    """int64 [n], first source sample; first + taps never passes the last."""
    weights: np.ndarray
    """int64 [n, taps], each row summing to 1 << TAP_BITS; its absolute values to at most twice that."""

    def __post_init__(self) -> None:
        """Check that every sample is weighed whole, by no more than kernels have bits for."""
        if len(self.first) != len(self.weights):
            raise ValueError(f"weights ({len(self.weights)} rows) and first ({len(self.first)}) must match")
        if (self.weights.sum(axis=1) != 1 << TAP_BITS).any():
            raise ValueError(f"weights of a sample must sum to {1 << TAP_BITS}")
        if (np.abs(self.weights).sum(axis=1) > 2 << TAP_BITS).any():
            raise ValueError(f"absolute weights of a sample must sum to at most {2 << TAP_BITS}")

    @cached_property
    def in_eights(self) -> np.ndarray:
        """int16 [n, a multiple of 8 >= taps]: the weights, then zeros, for kernels that take 8 at a time."""
        return np.pad(self.weights.astype(np.int16), ((0, 0), (0, -self.weights.shape[1] % 8)))


@dataclass(frozen=True)
class ColourMatrix:
    """YCbCr to RGB in fixed point: R = (luma_gain * (Y - luma_offset) + red_v * V + half) >> bits, and so on."""

    luma_offset: int
    """Of 0..255."""
    luma_gain: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int


def _quantise(weights: np.ndarray) -> np.ndarray:
    """Rows of real weights to integers with an exact sum: the largest weight takes up what rounding leaves."""
    scaled = np.floor(weights / weights.sum(axis=1, keepdims=True) * (1 << TAP_BITS) + 0.5).astype(np.int64)
    largest = scaled.argmax(axis=1)
    scaled[np.arange(len(scaled)), largest] += (1 << TAP_BITS) - scaled.sum(axis=1)
    return scaled


def _taps(source: int, centre: np.ndarray, support: float, weigh) -> Taps:  # type: ignore[no-untyped-def]
    count = min(int(np.ceil(2 * support)) + 1, source)
    first = np.clip(np.floor(centre - support).astype(np.int64), 0, source - count)
    positions = first[:, None] + np.arange(count)
    return Taps(first, _quantise(weigh(positions, centre[:, None])))


@lru_cache(maxsize=256)
def area_taps(source: int, scaled: int, offset: int, size: int) -> Taps:
    """Area average of an axis of `source` samples seen as `scaled`, for output samples offset .. offset + size."""
    step = source / scaled
    centre = (np.arange(offset, offset + size) + 0.5) * step

    def weigh(positions: np.ndarray, middle: np.ndarray) -> np.ndarray:
        low, high = middle - step / 2, middle + step / 2
        return np.maximum(np.minimum(positions + 1, high) - np.maximum(positions, low), 0)

    return _taps(source, centre, step / 2, weigh)


@lru_cache(maxsize=256)
def cubic_taps(source: int, scaled: int, offset: int, size: int, length: float, shift: float) -> Taps:
    """Antialiased bicubic (a = -0.5, as in Pillow and torch) of an axis.

    Args:
        source: samples of the plane along the axis.
        scaled: what the whole picture's axis is resized to, in model pixels.
        offset: first model pixel of the crop; negative where it begins before the picture.
        size: model pixels of the crop; those beside the picture have the weights of its nearest.
        length: the picture's length in the plane's samples (half the luma's, not rounded, for a halved chroma).
        shift: where the plane's samples sit, in its own samples: 0.25 for chroma sited on the left luma sample of
            its pair, 0 for samples in the middle.
    """
    step = length / scaled
    stretch = max(step, 1.0)
    centre = (np.arange(offset, offset + size).clip(0, scaled - 1) + 0.5) * step + shift

    return _taps(source, centre, 2 * stretch, lambda positions, middle: _cubic((positions + 0.5 - middle) / stretch))


def _cubic(x: np.ndarray) -> np.ndarray:
    """The bicubic kernel (a = -0.5) at x samples from its middle."""
    x = np.abs(x)
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@lru_cache(maxsize=256)
def few_taps(source: int, luma: int, scaled: int, offset: int, size: int, length: float, shift: float) -> Taps:
    """Bicubic of an axis of few chroma samples: as a player does it, by way of the picture's own resolution.

    `cubic_taps` leaves out what would lie beyond the first and last sample, which of few samples shows. Here each is
    repeated there while chroma is brought to luma's samples, and then resized as those are.

    Args:
        source: samples of the plane along the axis.
        luma: those of the luma plane.
        scaled: and the others: see `cubic_taps`.
    """
    middle = (np.arange(luma) + 0.5)[:, None] * length / luma + shift
    positions = np.arange(-4, source + 4)
    weights = _cubic(positions + 0.5 - middle)
    raised = np.zeros((luma, source))
    np.add.at(raised.T, np.clip(positions, 0, source - 1), weights.T)
    resize = cubic_taps(luma, scaled, offset, size, float(luma), 0.0)
    samples = resize.first[:, None] + np.arange(resize.weights.shape[1])
    return Taps(np.zeros(size, np.int64), _quantise((resize.weights[:, :, None] * raised[samples]).sum(axis=1)))


@lru_cache(maxsize=32)
def colour_matrix(name: str, full_range: bool) -> ColourMatrix:
    """The matrix of a stream, by name (see LUMA_WEIGHTS) and range. Raises ValueError for an unknown name."""
    if name not in LUMA_WEIGHTS:
        raise ValueError(f"matrix ({name!r}) must be one of {', '.join(LUMA_WEIGHTS)}")
    red, blue = LUMA_WEIGHTS[name]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)

    def fixed(value: float) -> int:
        return int(np.floor(value * (1 << COLOUR_BITS) + 0.5))

    return ColourMatrix(
        luma_offset=0 if full_range else 16,
        luma_gain=fixed(luma),
        red_v=fixed(2 * (1 - red) * chroma),
        green_u=fixed(-2 * (1 - blue) * blue / green * chroma),
        green_v=fixed(-2 * (1 - red) * red / green * chroma),
        blue_u=fixed(2 * (1 - blue) * chroma),
    )
