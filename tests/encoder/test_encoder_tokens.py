"""Frames as tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.encoder import pack_clips, pad_clips, tokens_of_frames, tokens_of_pixels
from codecsieve.errors import EncoderError


@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 5]), st.data()
)
def test_every_patch_is_the_picture_at_its_position(
    batch: int, count: int, rows: int, columns: int, size: int, data: st.DataObject
) -> None:
    frames = torch.randint(0, 256, (batch, count, 3, rows * size, columns * size), dtype=torch.uint8)
    ids = data.draw(st.lists(st.integers(0, 63), min_size=count, max_size=count, unique=True))
    patches, positions = tokens_of_frames(frames, ids, size)
    assert patches.dtype == torch.uint8
    assert patches.shape == (batch, count * rows * columns, 3, size, size)
    assert positions.shape == (batch, count * rows * columns, 3)
    wanted = [[slot, row, column] for slot in ids for row in range(rows) for column in range(columns)]
    for b in range(batch):
        assert positions[b].tolist() == wanted
        for patch, (slot, row, column) in zip(patches[b], wanted, strict=True):
            picture = frames[b, ids.index(slot), :, row * size : (row + 1) * size, column * size : (column + 1) * size]
            assert torch.equal(patch, picture)


def test_clips_of_a_batch_may_be_at_slots_of_their_own() -> None:
    frames = torch.zeros(2, 2, 3, 4, 4)
    _, positions = tokens_of_frames(frames, torch.tensor([[0, 9], [4, 7]]), patch_size=4)
    assert positions[:, :, 0].tolist() == [[0, 9], [4, 7]]


def test_indices_for_all_clips_alike() -> None:
    pixels = torch.randn(2, 3, 3, 8, 8)
    shared = tokens_of_pixels(pixels, torch.tensor([[11, 2, 5]]), patch_size=4)
    each = tokens_of_pixels(pixels, torch.tensor([[11, 2, 5]] * 2), patch_size=4)
    assert all(torch.equal(*pair) for pair in zip(shared, each, strict=True))
    assert shared[1][1].tolist() == [[2, 1, 1], [0, 1, 0], [1, 0, 1]]
    assert torch.equal(shared[0][1, 0], pixels[1, :, 2, 4:, 4:])


def test_packed_patches_are_where_the_indices_say() -> None:
    pixels = torch.randn(1, 3, 1, 8, 8)
    patches, positions = tokens_of_pixels(pixels, torch.tensor([[3, 17, 90, 255]]), patch_size=4, slots=64)
    assert torch.equal(patches, tokens_of_pixels(pixels, patch_size=4)[0])
    assert positions[0].tolist() == [[0, 1, 1], [4, 0, 1], [22, 1, 0], [63, 1, 1]]


def test_padding_and_packing_lose_nothing() -> None:
    clips = [(torch.randn(k, 3, 2, 2), torch.randint(0, 64, (k, 3)).to(torch.uint16)) for k in (3, 1, 2)]
    patches, positions, mask = pad_clips(clips)
    packed_patches, packed_positions, ends = pack_clips(clips)
    assert mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert ends.tolist() == [0, 3, 4, 6]
    for i, clip in enumerate(clips):
        span = slice(ends[i], ends[i + 1])
        for found in ((patches[i][mask[i]], positions[i][mask[i]]), (packed_patches[span], packed_positions[span])):
            assert torch.equal(found[0], clip[0])
            assert found[1].tolist() == clip[1].tolist()


@pytest.mark.parametrize("together", [pad_clips, pack_clips])
@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_clips_without_tokens(together: Callable[[object], object], lengths: list[int]) -> None:
    with pytest.raises(EncoderError, match="must be one or more, each of at least one token"):
        together([(torch.zeros(k, 3, 2, 2), torch.zeros(k, 3)) for k in lengths])


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((3, 8, 8), {}, r"pixel_values \(\[3, 8, 8\]\) must be \[B, 3, H, W\]"),
        ((2, 1, 8, 8), {}, r"must be \[B, 3, H, W\] or \[B, 3, T, H, W\]"),
        ((2, 3, 8, 9), {}, r"frames of 8x9 must be multiples of patch_size \(4\)"),
        ((2, 3, 8, 8), {"visible_indices": [[0, 1, 2, 3, 4]]}, r"must be \[2, K\] with K <= 4"),
        ((2, 3, 8, 8), {"visible_indices": [0, 1]}, r"must be \[2, K\] with K <= 4"),
        ((2, 3, 8, 8), {"visible_indices": [[0]] * 3}, r"must be \[2, K\] with K <= 4"),
        ((2, 3, 8, 8), {"visible_indices": [[4]]}, r"visible_indices \(4\) must be >= 0 and < 4"),
        ((2, 3, 8, 8), {"visible_indices": [[-1]]}, r"visible_indices \(-1\) must be >= 0 and < 4"),
        ((2, 3, 8, 8), {"visible_indices": [[0, 1, 2, 256]]}, r"visible_indices \(256\) must be >= 0 and < 256"),
        ((2, 3, 8, 8), {"visible_indices": [[]]}, "visible_indices must not be empty"),
        ((2, 3, 8, 8), {"patch_positions": [[[0, 0, 0]]]}, r"patch_positions \(\[1, 1, 3\]\) must be \[2, 4, 3\]"),
        ((2, 3, 8, 8), {"patch_positions": [], "visible_indices": []}, "give one of them"),
    ],
)
def test_pixels_that_do_not_fit(shape: tuple[int, ...], arguments: dict[str, list[int]], message: str) -> None:
    given_tensors = {name: torch.tensor(value) for name, value in arguments.items()}
    with pytest.raises(EncoderError, match=message):
        tokens_of_pixels(torch.zeros(shape), patch_size=4, slots=64, **given_tensors)


@pytest.mark.parametrize(
    ("shape", "ids", "message"),
    [
        ((2, 3, 8, 8), None, r"frames \(\[2, 3, 8, 8\]\) must be \[B, T, 3, H, W\]"),
        ((2, 2, 3, 8, 8), [0, 1, 2], r"frame_ids \(\[3\]\) must be \[2\] or \[2, 2\]"),
    ],
)
def test_frames_that_do_not_fit(shape: tuple[int, ...], ids: list[int] | None, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        tokens_of_frames(torch.zeros(shape), ids, patch_size=4)
