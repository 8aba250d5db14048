"""Block search on a GPU: `reference.search.search_pyramids` for a batch of pictures, the same vectors.

One launch searches one level of all pictures. A program takes `TILE` blocks of the batch, one a thread, which keeps
its block's pixels in registers while it tries the displacements. Four pixels are a word, whose absolute differences
a GPU adds up in one instruction. The pyramids are made by `cupy.resample`; what a picture has besides its vectors
is left to `residual`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from codecsieve.kernels.cupy.launch import check_arguments
from codecsieve.kernels.levels import Levels, LevelShape
from codecsieve.kernels.reference import search as reference

TILE = 64
"""Blocks of a program."""
COARSEST_STEPS = 2 * reference.REACHES[-1] + 1
"""Displacements in x and in y that the coarsest level tries."""
FINER_STEPS = 3
"""The same of the other levels, around twice the vector of the level above."""

_BLOCK = tl.constexpr(reference.BLOCK)
_WORD = tl.constexpr(4)
_KEY_BITS = tl.constexpr(reference.KEY_BITS)
_KEY_ZERO = tl.constexpr(reference.KEY_ZERO)
_KEY_FIELD = tl.constexpr((1 << reference.KEY_BITS) - 1)


def search_vectors(current: Levels, previous: Levels) -> torch.Tensor:
    """Where each block of each picture was in the previous one.

    Args:
        current: pyramids of n pictures.
        previous: pyramids of the n pictures before them in display order.

    Returns:
        int16 [n, blocks, blocks, 2], whole pixels, x then y, of the finest level's blocks: for each picture what
        `reference.search.search_pyramids` gives.

    Raises:
        ValueError: the two differ in shape, or an array is not contiguous or on another device.
    """
    check_levels(current, previous)
    device, n = current.arrays[0].device, len(current.arrays[0])
    coarsest = -(-current.shapes[-1].blocks // 2)
    vectors = torch.zeros((n, coarsest, coarsest, 2), dtype=torch.int16, device=device)
    for level in reversed(range(len(current.arrays))):
        steps = FINER_STEPS if level + 1 < len(current.arrays) else COARSEST_STEPS
        vectors = _search_level(current.arrays[level], previous.arrays[level], vectors, current.shapes[level], steps)
    return vectors


def check_levels(current: Levels, previous: Levels) -> None:
    """Raise ValueError unless two batches of pyramids are of the same pictures' size, number and device."""
    ours, theirs = ([tuple(array.shape) for array in levels.arrays] for levels in (current, previous))
    if ours != theirs:
        raise ValueError(f"current levels {ours} and previous levels {theirs} must have the same shapes")
    check_arguments((*current.arrays, *previous.arrays))


def _search_level(
    current: torch.Tensor, previous: torch.Tensor, coarser: torch.Tensor, shape: LevelShape, steps: int
) -> torch.Tensor:
    """Vectors of a level from those of the one above; no vectors are above the coarsest, and 0 stands for them."""
    vectors = current.new_empty((len(current), shape.blocks, shape.blocks, 2), dtype=torch.int16)
    count = vectors.numel() // 2
    with torch.cuda.device_of(current):
        _search_kernel[(triton.cdiv(count, TILE),)](
            current.view(torch.int32),
            previous.view(torch.int32),
            coarser,
            vectors,
            count,
            side=shape.side,
            reach=shape.reach,
            blocks=shape.blocks,
            rows=shape.rows,
            words=shape.pitch // _WORD.value,
            above=coarser.shape[1],
            steps=steps,
            tile=TILE,
            packed=isinstance(_search_kernel, triton.JITFunction),
            num_warps=TILE // 32,
            num_stages=1,
            enable_fp_fusion=False,
        )
    return vectors


@triton.jit
def _kept_bytes(pixels: tl.tensor) -> tl.tensor:
    """Masks of words' first pixels: of none where there are fewer than 1, of all where there are 4 or more."""
    count = tl.minimum(tl.maximum(pixels, 0), _WORD)
    return ((tl.full(pixels.shape, 1, tl.int64) << (8 * count).to(tl.int64)) - 1).to(tl.uint32)


@triton.jit
def _words(pointers: tl.tensor) -> tl.tensor:
    return tl.load(pointers).to(tl.uint32, bitcast=True)


@triton.jit
def _word_between(low: tl.tensor, high: tl.tensor, bits: tl.tensor) -> tl.tensor:
    """The words that begin `bits` into the lower of two neighbours."""
    return (((high.to(tl.uint64) << 32) | low.to(tl.uint64)) >> bits.to(tl.uint64)).to(tl.uint32)


@triton.jit
def _add_differences(a: tl.tensor, b: tl.tensor, total: tl.tensor, packed: tl.constexpr) -> tl.tensor:
    """A total and the absolute differences of the four bytes of two words; packed: in one instruction of a GPU."""
    if packed:
        total = tl.inline_asm_elementwise(
            "vabsdiff4.u32.u32.u32.add $0, $1, $2, $3;",
            "=r,r,r,r",
            [a, b, total],
            dtype=tl.uint32,
            is_pure=True,
            pack=1,
        )
    else:
        for bits in tl.static_range(0, 32, 8):
            x, y = (a >> bits) & 255, (b >> bits) & 255
            total += tl.maximum(x, y) - tl.minimum(x, y)
    return total


@triton.jit
def _on_lines(values: tl.tensor) -> tl.tensor:
    """Give every line of the blocks its block's value: [tile] -> [8 * tile], lines first."""
    return tl.reshape(tl.broadcast_to(values[None, :], (_BLOCK, values.shape[0])), (_BLOCK * values.shape[0],))


@triton.jit
def _costs(
    left: tl.tensor,
    right: tl.tensor,
    kept_left: tl.tensor,
    kept_right: tl.tensor,
    previous: tl.tensor,
    column: tl.tensor,
    dx: tl.tensor,
    dy: tl.tensor,
    reach: tl.constexpr,
    words: tl.constexpr,
    packed: tl.constexpr,
) -> tl.tensor:
    """uint32 [tile], `reference.search.cost` of one displacement a block, brought within reach.

    left, right: uint32 [8 * tile], the two words of each of the blocks' rows; kept: masks of their pixels inside the
    picture. previous: pointers [8 * tile], to where the rows of pixels begin at no displacement, of their words.
    """
    dx = tl.minimum(tl.maximum(dx, -reach), reach)
    dy = tl.minimum(tl.maximum(dy, -reach), reach)
    x = reach + column * _BLOCK + dx
    there = previous + _on_lines(dy * words + x // _WORD)
    bits = _on_lines(x % _WORD * 8)
    first, second, third = _words(there), _words(there + 1), _words(there + 2)
    differences = tl.zeros(left.shape, tl.uint32)
    differences = _add_differences(left, _word_between(first, second, bits) & kept_left, differences, packed)
    differences = _add_differences(right, _word_between(second, third, bits) & kept_right, differences, packed)
    vector = ((tl.abs(dx) + tl.abs(dy)) << (2 * _KEY_BITS)) + ((dy + _KEY_ZERO) << _KEY_BITS) + dx + _KEY_ZERO
    difference = tl.sum(tl.reshape(differences, (_BLOCK, x.shape[0])), axis=0)
    return (difference << (3 * _KEY_BITS)) + vector.to(tl.uint32)


@triton.jit
def _search_kernel(
    current: tl.tensor,
    previous: tl.tensor,
    coarser: tl.tensor,
    vectors: tl.tensor,
    count: tl.tensor,
    side: tl.constexpr,
    reach: tl.constexpr,
    blocks: tl.constexpr,
    rows: tl.constexpr,
    words: tl.constexpr,
    above: tl.constexpr,
    steps: tl.constexpr,
    tile: tl.constexpr,
    packed: tl.constexpr,
) -> None:
    """Search `tile` of the `count` blocks of a batch, in one level.

    current, previous: int32 [n, rows, words], four pixels each, see `LevelShape`. coarser: int16 [n, above, above, 2],
    vectors of the level above. vectors: int16 [n, blocks, blocks, 2], the result.
    """
    # Threads beyond the last block do its work again: no load or store needs a mask.
    block = tl.minimum(tl.program_id(0) * tile + tl.arange(0, tile), count - 1)
    picture = (block // (blocks * blocks)).to(tl.int64)
    row, column = block // blocks % blocks, block % blocks

    line = tl.arange(0, _BLOCK * tile) // tile
    begin = _on_lines(picture * (rows * words) + (reach + row * _BLOCK) * words) + line * words
    here = current + begin + _on_lines((reach + column * _BLOCK) // _WORD)
    inside = line < _on_lines(side - row * _BLOCK)
    pixels = side - column * _BLOCK
    kept_left = tl.where(inside, _on_lines(_kept_bytes(pixels)), 0)
    kept_right = tl.where(inside, _on_lines(_kept_bytes(pixels - _WORD)), 0)
    left, right = _words(here) & kept_left, _words(here + 1) & kept_right
    there = previous + begin

    parent_row, parent_column = row // 2, column // 2
    x, y = _doubled(coarser, picture, parent_row, parent_column, above)
    least = tl.full((tile,), 0xFFFFFFFF, tl.uint32)
    for k in range(steps * steps):
        dx, dy = x + k % steps - steps // 2, y + k // steps - steps // 2
        costs = _costs(left, right, kept_left, kept_right, there, column, dx, dy, reach, words, packed)
        least = tl.minimum(least, costs)
    for k in tl.static_range(4):
        # A neighbour beyond the border is the parent itself, whose displacement is tried already.
        step = 2 * (k % 2) - 1
        r = tl.minimum(tl.maximum(parent_row + step * (k < 2), 0), above - 1)
        c = tl.minimum(tl.maximum(parent_column + step * (k >= 2), 0), above - 1)
        dx, dy = _doubled(coarser, picture, r, c, above)
        costs = _costs(left, right, kept_left, kept_right, there, column, dx, dy, reach, words, packed)
        least = tl.minimum(least, costs)
    still = tl.zeros_like(x)
    costs = _costs(left, right, kept_left, kept_right, there, column, still, still, reach, words, packed)
    least = tl.minimum(least, costs)

    found = vectors + 2 * block.to(tl.int64)
    tl.store(found, ((least & _KEY_FIELD).to(tl.int32) - _KEY_ZERO).to(tl.int16))
    tl.store(found + 1, ((least >> _KEY_BITS & _KEY_FIELD).to(tl.int32) - _KEY_ZERO).to(tl.int16))


@triton.jit
def _doubled(
    coarser: tl.tensor, picture: tl.tensor, row: tl.tensor, column: tl.tensor, above: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Twice the vectors of blocks of the level above, x and y."""
    vector = coarser + 2 * ((picture * above + row) * above + column)
    return 2 * tl.load(vector).to(tl.int32), 2 * tl.load(vector + 1).to(tl.int32)
