"""Groups of slots that follow each other, of which each keeps its share as if it were a clip: where they begin and end.

Of equal length, or by motion: a group is over once it is ready, which is when as much has moved as is its share, so
that groups are short where much moves, and more is kept of that. Host-only integers, the same for every device. What is
kept of a group is left to `select`, or to whoever asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.blocks import block_scores, patches_of_blocks, zigzag
from codecsieve.kernels.rules import TOKEN_ORDERS, Grouping, Selection

Scores = npt.NDArray[np.integer]


def select_in_groups(
    scores: Scores, merge: int, grouping: Grouping, keep: Callable[[Scores], Scores], token_order: str = "raster"
) -> npt.NDArray[np.int32]:
    """The patches that are kept of a clip, group by group, each of as many blocks.

    Args:
        scores: integers [T, gh, gw], negative where a patch shows nothing of the picture.
        merge: side of the blocks of which all patches are kept or none; 1 for patches.
        grouping: which slots make a group.
        keep: of the blocks' scores [t, gh / merge, gw / merge] of a group, indices of those kept, ascending.
        token_order: in which the blocks of a slot stand, of `TOKEN_ORDERS`.

    Returns:
        int32 [K], `t*gh*gw + h*gw + w`, slot by slot, and so group by group.

    Raises:
        ValueError: the grid is not one of whole blocks, the slots do not make such groups, there is no such order.
    """
    if token_order not in TOKEN_ORDERS:
        raise ValueError(f"token_order ({token_order!r}) must be one of {', '.join(TOKEN_ORDERS)}")
    blocks = block_scores(scores, merge)
    edges = group_edges(blocks, grouping)
    kept = [start * blocks[0].size + keep(blocks[start:stop]) for start, stop in itertools.pairwise(edges)]
    ordered = np.concatenate(kept)
    if token_order == "zigzag":
        ordered = zigzag(ordered, *blocks.shape[1:])
    return patches_of_blocks(ordered, (scores.shape[1], scores.shape[2]), merge)


def seen_slots(scores: Scores, rule: Selection) -> Scores:
    """Of a group's scores [t, h, w] those of the slots up to the last of which anything is seen; or of more, where what
    is kept of it by the rule takes more.
    """
    seen = np.flatnonzero((scores >= 0).any(axis=(1, 2)))
    least = max(-(-rule.k_keep // scores[0].size), rule.anchors)
    return scores[: max(least, seen[-1] + 1 if len(seen) else 0)]


def group_edges(scores: Scores, grouping: Grouping) -> list[int]:
    """The slots at which groups begin, and the number of slots: groups + 1 ascending integers.

    Equal groups have as many slots each. By motion, a slot's energy is 1 more than the sum of its scores that are not
    negative. Group g (0, 1, ...) ends with the first slot up to which the clip has (g + 1) / groups of its energy; but
    no sooner than after `min_frames` slots of its own and no later than after `max_frames`, and so that those behind it
    can have that, too. Last slots of which nothing is seen count for none of this, as far as the others suffice; they
    belong to the last group.

    Args:
        scores: integers [T, ...], of the parts of a slot.
        grouping: how many groups, and how they are made.

    Raises:
        ValueError: T slots do not make such groups.
    """
    slots, groups = len(scores), grouping.groups
    grouping.check(slots)
    if grouping.by == "equal":
        return list(range(0, slots + 1, slots // groups))
    least, most = grouping.min_frames, grouping.max_frames
    parts = scores.reshape(slots, -1)
    seen = np.flatnonzero((parts >= 0).any(axis=1))
    counted = max(groups * least, seen[-1] + 1 if len(seen) else 0)
    energy = np.cumsum(np.maximum(parts[:counted], 0).sum(axis=1, dtype=np.int64) + 1)
    edges = [0]
    for group in range(1, groups + 1):
        ready = int(np.searchsorted(energy * groups, group * energy[-1])) + 1
        behind = groups - group
        earliest = max(edges[-1] + least, counted - behind * most)
        latest = min(edges[-1] + most, counted - behind * least)
        edges.append(min(max(ready, earliest), latest))
    return [*edges[:-1], slots]
