"""Sixteen numbers at a time: what numba makes of them is what numpy does with arrays of their type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit, uintp

from codecsieve.kernels.cpu.lanes import LANES, between, least, like, load, most, pointer_to, start_of, store, wide


@njit
def _reckon(address: int, b: Any, wrapped: Any, bounded: Any, widened: Any) -> None:
    x, y = load(pointer_to(address, start_of(b)), uintp(1)), load(start_of(b), uintp(0))
    store(start_of(wrapped), uintp(0), (((x * 3 + y) << 1) - 7 ^ (x & 21)) >> 2)
    store(start_of(bounded), uintp(0), between(most(least(x, y), -5), least(most(x, 9), y), 3, 7))
    store(start_of(widened), uintp(0), wide(x) * 1000 + like(like(wide(y), x), wide(x)))


@pytest.mark.parametrize(("kind", "lanes"), [(np.uint8, np.int16), (np.int16, np.int16), (np.int32, np.int32)])
def test_lanes_reckon_as_arrays_of_their_type_do(kind: type, lanes: type) -> None:
    rng = np.random.default_rng(5)
    limits = np.iinfo(kind)
    a, b = (rng.integers(limits.min, limits.max, LANES + 1, dtype=kind, endpoint=True) for _ in range(2))
    wrapped, bounded, widened = np.empty(LANES, lanes), np.empty(LANES, lanes), np.empty(LANES, np.int32)
    _reckon(a.ctypes.data, b, wrapped, bounded, widened)
    x, y = a[1:].astype(lanes), b[:LANES].astype(lanes)
    assert np.array_equal(wrapped, (((x * 3 + y) << 1) - 7 ^ (x & 21)) >> 2)
    expected = np.minimum(np.maximum(x, 9), y)
    expected[3:7] = np.maximum(np.minimum(x, y), -5)[3:7]
    assert np.array_equal(bounded, expected)
    assert np.array_equal(widened, x.astype(np.int32) * 1000 + y)


def test_a_store_writes_sixteen_and_cuts() -> None:
    @njit
    def copied(source: Any, target: Any) -> None:
        store(start_of(target), uintp(2), load(start_of(source), uintp(0)) + 250)

    target = np.full(LANES + 4, 77, np.uint8)
    copied(np.arange(LANES, dtype=np.int16), target)
    assert target.tolist() == [77, 77, *[(k + 250) % 256 for k in range(LANES)], 77, 77]
