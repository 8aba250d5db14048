"""What a clip's bytes come from, whatever form that has: one array of a cache, by rows.

The forms are in `sources`, `bucket_source` and `zarr_source`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Source(Protocol):
    """One array of a cache."""

    missing_reads_zero: bool
    """Whether a chunk that is missing reads as zeros, which only a checksum tells."""

    far: bool = False
    """Whether reading waits for a network, so that arrays are best read at the same time."""

    def read_into(self, row: int, out: np.ndarray) -> None:
        """Fill `out`, C-ordered and of the chunk's dtype and shape, with a row, or raise CacheError."""

    def read_rows(self, rows: Sequence[int], out: np.ndarray) -> None:
        """Fill `out`, [len(rows), *shape], likewise."""
        for place, row in enumerate(rows):
            self.read_into(row, out[place])
