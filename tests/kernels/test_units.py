"""Decoders' tables of motion as units: the fast form has the definition's bits, and these are what the tables say."""

from __future__ import annotations

import numpy as np
import pytest

from codecsieve.kernels.cpu.units import h264_units as fast
from codecsieve.kernels.cpu.units import hevc_units, list_motion
from codecsieve.kernels.reference.compensate import LEFT_OUT, NO_ENTRY
from codecsieve.kernels.reference.units import FRAME, INTERLACED, USES_LIST, HevcMotion, h264_units
from codecsieve.kernels.reference.units import list_motion as reference_list_motion

HIGH, WIDE = 4, 3


def random_tables(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Motion and reference indices by list, and types of macroblocks."""
    random = np.random.default_rng(seed)
    motion = random.integers(-300, 300, (2, 4 * HIGH, 4 * WIDE, 2), dtype=np.int16)
    references = random.integers(-3, 40, (2, HIGH, WIDE + 1, 4), dtype=np.int8)
    types = random.integers(0, 1 << 18, (HIGH, WIDE + 1), dtype=np.uint32)
    return (motion[0], motion[1]), (references[0], references[1]), types


@pytest.mark.parametrize("rows", [FRAME, 0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_fast_form_has_the_same_bits(rows: int, seed: int) -> None:
    """Of tables as a damaged stream may leave them: no index and no slice reads what there is not."""
    random = np.random.default_rng(seed)
    motion, references, types = random_tables(seed)
    slices = random.choice(np.array([0, 1, 2, 3, 65535], np.uint16), types.shape)
    entry_of = random.integers(-1, 20, (3, 2, 32), dtype=np.int8)
    expected = h264_units(motion, references, types, slices, entry_of, rows)
    for one, other in zip(fast(motion, references, types, slices, entry_of, rows), expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_units_are_what_the_tables_say() -> None:
    """A field's macroblocks are every second row of them; one that is not of the rows asked for is left out."""
    motion, references, types = random_tables(0)
    references[0][:], references[1][:] = np.arange(4), 1
    types[:] = USES_LIST[0]
    types[2:] |= INTERLACED
    types[3, 1] |= USES_LIST[1]
    slices = np.ones_like(types, np.uint16)
    slices[0, 0] = 2
    entry_of = np.stack([np.full((2, 32), -1, np.int8), np.arange(64, dtype=np.int8).reshape(2, 32)])

    vectors, entries = h264_units(motion, references, types, slices, entry_of, FRAME)
    assert (entries[:4, :4] == NO_ENTRY).all()
    assert (vectors[:4, :4] == 0).all()
    assert (entries[4:8, :, 1] == NO_ENTRY).all()
    np.testing.assert_array_equal(entries[4:8, 4:8, 0], [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    np.testing.assert_array_equal(vectors[4:8, :, 0], motion[0][4:8])
    assert (entries[8:, :, 0] == LEFT_OUT).all()

    vectors, entries = h264_units(motion, references, types, slices, entry_of, 1)
    assert (entries[:4, :, 0] == LEFT_OUT).all()
    np.testing.assert_array_equal(vectors[4:8, :, 0], motion[0][12:])
    assert (entries[4:8, 4:8, 1] == 33).all()
    np.testing.assert_array_equal(vectors[4:8, 4:8, 1], motion[1][12:, 4:8])


@pytest.mark.parametrize("seed", range(12))
def test_hevc_units_have_the_same_bits(seed: int) -> None:
    """Of blocks of any size, in slices that are known or not, with indices that refer to nothing."""
    random = np.random.default_rng(seed)
    side, block = 1 << random.integers(0, 3), 1 << random.integers(0, 4)
    high, wide = random.integers(1, 20, 2).tolist()
    raw = random.integers(-128, 128, (high, wide, 12), np.int8)
    raw[..., 8:10] = random.integers(-2, 18, (high, wide, 2))
    raw[..., 10] = random.integers(0, 4, (high, wide))
    slices = random.integers(-1, 3, (-(-high // block), -(-wide // block)), np.int16)
    entry_of = random.integers(-1, 5, (3, 2, 16), np.int8)
    rows, columns = high * side - int(random.integers(0, side)), wide * side - int(random.integers(0, side))
    motion = HevcMotion(raw.view(np.int16), raw, slices, int(block), entry_of, int(side), rows, columns)
    expected = motion.units()
    for found, right in zip(hevc_units(*motion), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    vectors, entries = expected
    assert not vectors[entries < 0].any()
    both = raw[..., 10].repeat(side, 0).repeat(side, 1)[:rows, :columns] == 3
    assert ((entries[both] >= 0).all(axis=-1) | (entries[both] < 0).all(axis=-1)).all()


@pytest.mark.parametrize("seed", range(6))
def test_list_motion_has_the_same_bits(seed: int) -> None:
    """Of frames and of fields, from any first sample on."""
    random = np.random.default_rng(seed)
    vectors = random.integers(-32768, 32768, (9, 12, 2, 2), np.int16)
    entries = random.integers(-2, 4, (9, 12, 2), np.int8)
    lines, top, left = int(random.integers(1, 3)), int(random.integers(0, 7)), int(random.integers(0, 7))
    one = random.integers(-99, 99, (7 * lines, 10, 2), np.int16)
    other = one.copy()
    list_motion(vectors, entries, lines, top, left, one)
    reference_list_motion(vectors, entries, lines, top, left, other)
    np.testing.assert_array_equal(one, other)
    cell = entries[top // (4 * lines), left // 4, 0]
    if cell >= 0:
        x, y = vectors[top // (4 * lines), left // 4, 0].tolist()
        assert one[0, 0].tolist() == [x, max(min(y * lines, 32767), -32768)]
