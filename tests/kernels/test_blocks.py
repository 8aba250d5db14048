"""Blocks of patches: the sums of their scores, and their patches side by side."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codecsieve.kernels.blocks import block_scores, patches_of_blocks, token_order_of, zigzag

merges = st.integers(1, 3)


@given(
    merges,
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)).flatmap(
        lambda shape: hnp.arrays(np.int64, (shape[0], 6 * shape[1], 6 * shape[2]), elements=st.integers(-1, 9))
    ),
)
def test_blocks_are_scored_by_what_their_patches_show(merge: int, scores: npt.NDArray[np.int64]) -> None:
    found = block_scores(scores, merge)
    assert found.dtype == np.int64
    for t, row, column in np.ndindex(found.shape):
        block = scores[t, row * merge : (row + 1) * merge, column * merge : (column + 1) * merge]
        assert found[t, row, column] == (block[block >= 0].sum() if (block >= 0).any() else -1)


@given(merges, st.integers(1, 3), st.integers(1, 3), st.data())
def test_the_patches_of_a_block_are_side_by_side(merge: int, rows: int, columns: int, data: st.DataObject) -> None:
    grid = rows * merge, columns * merge
    blocks = data.draw(st.lists(st.integers(0, 4 * rows * columns - 1), unique=True))
    found = patches_of_blocks(np.array(blocks, np.int64), grid, merge)
    expected = [
        (t, row * merge + y, column * merge + x)
        for t, row, column in (np.unravel_index(block, (4, rows, columns)) for block in blocks)
        for y in range(merge)
        for x in range(merge)
    ]
    assert found.dtype == np.int32
    assert found.tolist() == [int(np.ravel_multi_index(place, (4, *grid))) for place in expected]


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_in_zigzag_every_second_row_of_a_slot_goes_back(rows: int, columns: int, data: st.DataObject) -> None:
    blocks = sorted(data.draw(st.lists(st.integers(0, 3 * rows * columns - 1), unique=True)))
    there = set(blocks)
    expected = []
    for t in range(3):
        for row in range(rows):
            for column in range(columns) if row % 2 == 0 else reversed(range(columns)):
                expected += [(t * rows + row) * columns + column]
    found = zigzag(np.array(blocks, np.int64), rows, columns)
    assert found.tolist() == [block for block in expected if block in there]


def test_in_zigzag_what_follows_each_other_of_a_whole_slot_is_side_by_side() -> None:
    rows, columns = np.divmod(zigzag(np.arange(36 * 36), 36, 36), 36)
    assert (np.abs(np.diff(rows)) + np.abs(np.diff(columns)) == 1).all()


def test_blocks_of_one_patch_are_patches() -> None:
    scores = np.random.default_rng(0).integers(-1, 100, (3, 4, 4))
    np.testing.assert_array_equal(block_scores(scores, 1), np.maximum(scores, -1))
    assert patches_of_blocks(np.array([5, 2, 40]), (4, 4), 1).tolist() == [5, 2, 40]


@pytest.mark.parametrize("merge", [0, 3])
def test_a_grid_that_blocks_do_not_fill_is_refused(merge: int) -> None:
    with pytest.raises(ValueError, match=rf"merge \({merge}\) must divide the grid, 4 x 4 patches"):
        block_scores(np.zeros((1, 4, 4), np.int64), merge)


@given(merges, st.integers(1, 4), st.integers(1, 4), st.sampled_from(["raster", "zigzag"]), st.randoms(), st.data())
def test_patches_that_were_mixed_up_are_brought_back_to_their_order(
    merge: int, rows: int, columns: int, token_order: str, random: Random, data: st.DataObject
) -> None:
    blocks = np.array(sorted(data.draw(st.sets(st.integers(0, 3 * rows * columns - 1)))), np.int64)
    stood = zigzag(blocks, rows, columns) if token_order == "zigzag" else blocks
    grid = rows * merge, columns * merge
    patches = patches_of_blocks(stood, grid, merge)
    mixed = np.array(random.sample(patches.tolist(), len(patches)), np.int64)
    positions = np.stack(np.unravel_index(mixed, (3, *grid)), axis=1)
    assert mixed[token_order_of(positions, merge, token_order)].tolist() == patches.tolist()
