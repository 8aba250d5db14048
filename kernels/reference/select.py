"""Which patches of a clip are kept: the definition.

The highest scores of the whole clip win, not those of each slot; slots may also be kept whole, as anchors or
because nothing in the clip stands out, and a place of which much is kept may count less. What shows only padding, which
a negative score tells, comes last. Where the scores come from is `energy`'s; the pixels are `gather`'s.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.rules import SUPPRESS_MODES, Selection

WEIGHT_BITS = 8
"""What remains of a suppressed score is counted in so many fractional bits."""

RANK_BITS = 16
"""Fractional bits of a score that is divided by its rank."""


def select_patches(scores: npt.NDArray[np.integer], rule: Selection) -> npt.NDArray[np.int32]:
    """Indices of the patches that a clip keeps.

    Slots that are kept whole come first: `anchors` uniformly spaced ones, and, with `static_fallback` on a
    clip in which little moves (see `is_static`), `static_uniform_frames` uniformly spaced ones, or every slot
    if there are fewer. The highest scores of the other slots fill the rest; of equal scores the smaller index
    goes first. Whole slots of more than `k_keep` patches share it evenly, and keep evenly spaced patches. With
    `suppress`, scores count less where others of the same cell (row and column of the grid) are kept, see `spread_out`
    and `shared_scores`. In slots that are not kept whole, patches of negative score are kept only where no others are
    left.

    Args:
        scores: integers [T, gh, gw], levels (0..255) of energy summed over a patch's pixels; negative where it shows
            nothing of the picture.
        rule: what to keep.

    Returns:
        int32 [min(k_keep, T*gh*gw)], `t*gh*gw + h*gw + w`, ascending.

    Raises:
        ValueError: an argument is out of its range.
    """
    check_selection(scores, rule)
    slots = set(uniform_slots(len(scores), rule.anchors))
    if rule.static_fallback and is_static(scores, rule):
        slots |= set(uniform_slots(len(scores), min(rule.static_uniform_frames, len(scores))))
    whole = keep_slots(sorted(slots), scores[0].size, rule.k_keep)
    free = np.ones(scores.size, bool)
    for t in slots:
        free[t * scores[0].size : (t + 1) * scores[0].size] = False
    shows = scores.ravel() >= 0
    others, wanted = np.flatnonzero(free & shows), rule.k_keep - len(whole)
    if rule.suppress == "time":
        best = spread_out(scores, whole, others, wanted, rule)
    else:
        counted = shared_scores(scores) if rule.suppress == "cell" else scores
        best = others[top_k(counted.ravel()[others], wanted)]
    hidden = np.flatnonzero(free & ~shows)
    last = hidden[top_k(scores.ravel()[hidden], wanted - len(best))]
    return np.sort(np.concatenate([whole, best, last])).astype(np.int32)


def check_selection(scores: npt.NDArray[np.integer], rule: Selection) -> None:
    """Raise ValueError unless the arguments of `select_patches` are within their ranges."""
    if not np.issubdtype(scores.dtype, np.integer):
        raise ValueError(f"scores ({scores.dtype}) must be integers")
    if scores.ndim != 3 or scores.size == 0:
        raise ValueError(f"scores {scores.shape} must be [T, gh, gw], none of them 0")
    if scores.size > np.iinfo(np.int32).max:
        raise ValueError(f"scores {scores.shape} must be fewer than 2^31: indices are int32")
    if rule.k_keep <= 0:
        raise ValueError(f"k_keep ({rule.k_keep}) must be > 0")
    if rule.static_uniform_frames < 0:
        raise ValueError(f"static_uniform_frames ({rule.static_uniform_frames}) must be >= 0")
    if not 0 <= rule.anchors <= len(scores):
        raise ValueError(f"anchors ({rule.anchors}) must be in [0, {len(scores)}], the clip's slots")
    if rule.patch <= 0:
        raise ValueError(f"patch ({rule.patch}) must be > 0")
    check_suppression(scores, rule)


def check_suppression(scores: npt.NDArray[np.integer], rule: Selection) -> None:
    """Raise ValueError unless what makes scores count less is within its ranges, and scores can count less."""
    if rule.suppress not in SUPPRESS_MODES:
        raise ValueError(f"suppress ({rule.suppress!r}) must be one of {', '.join(SUPPRESS_MODES)}")
    if rule.suppress_slots < 1:
        raise ValueError(f"suppress_slots ({rule.suppress_slots}) must be >= 1")
    if not 0 <= rule.suppress_weight <= 1:
        raise ValueError(f"suppress_weight ({rule.suppress_weight}) must be in 0..1")
    if rule.suppress != "none" and scores.max() > np.iinfo(np.int32).max:
        raise ValueError(f"scores (up to {scores.max()}) must be <= 2^31 - 1 for suppress")


def is_static(scores: npt.NDArray[np.integer], rule: Selection) -> bool:
    """Whether little moves in a clip, by the percentiles of its patches' mean energy.

    True if the 95th is below `static_abs_thresh`, or below twice that while the 95th less the 50th is below
    `static_rel_thresh` of the 95th. Percentiles are the value at 0-based rank floor(p (n - 1) / 100),
    compared exactly. Patches of negative score do not count; where all are, nothing moves.

    Args:
        scores: integers [T, gh, gw], levels (0..255) of energy summed over a patch's pixels.
        rule: its thresholds, and the side of a patch.
    """
    ordered = np.sort(scores[scores >= 0])
    if not ordered.size:
        return True
    p95, p50 = (int(ordered[percent * (ordered.size - 1) // 100]) for percent in (95, 50))
    return below_thresholds(p95, p50, rule)


def below_thresholds(p95: int, p50: int, rule: Selection) -> bool:
    """The rule of `is_static` for given percentiles of the scores.

    Raises:
        ValueError: a threshold is negative or not finite.
    """
    for name in ("static_abs_thresh", "static_rel_thresh"):
        thresh = getattr(rule, name)
        if not (math.isfinite(thresh) and thresh >= 0):
            raise ValueError(f"{name} ({thresh}) must be finite and >= 0")
    # By way of its decimal form: 0.38 means 38/100, not the binary fraction nearest to it.
    threshold = Fraction(str(rule.static_abs_thresh)) * (rule.patch * rule.patch)
    if p95 < threshold:
        return True
    return p95 < 2 * threshold and p95 - p50 < Fraction(str(rule.static_rel_thresh)) * p95


def uniform_slots(slots: int, count: int) -> list[int]:
    """`count` slots of `slots`, uniformly spaced from the first to the last; one alone is the first."""
    return [i * (slots - 1) // max(count - 1, 1) for i in range(count)]


def keep_slots(slots: list[int], patches: int, k_keep: int) -> npt.NDArray[np.int64]:
    """Indices of the patches of whole slots, ascending.

    Args:
        slots: ascending.
        patches: in a slot.
        k_keep: the most to keep. If the slots have more, each gets an even share, the first ones what
            remains, and of share k keeps its patches `floor(i * patches / k)`.

    Returns:
        int64 [min(len(slots) * patches, k_keep)].
    """
    if len(slots) * patches <= k_keep:
        shares = [patches] * len(slots)
    else:
        share, remainder = divmod(k_keep, len(slots))
        shares = [share + (i < remainder) for i in range(len(slots))]
    kept = [t * patches + i * patches // k for t, k in zip(slots, shares, strict=True) for i in range(k)]
    return np.array(kept, np.int64)


def top_k(scores: npt.NDArray[np.integer], k: int) -> npt.NDArray[np.int64]:
    """Indices of the k highest of integers [n], equal ones by index: int64 [min(k, n)], ascending."""
    falling = np.argsort(-scores.astype(np.int64), kind="stable")
    return np.sort(falling[:k])


def suppressed_weight(rule: Selection) -> int:
    """`suppress_weight` in 256ths, rounded half up: 0 to 256."""
    return math.floor(rule.suppress_weight * (1 << WEIGHT_BITS) + 0.5)


def spread_out(
    scores: npt.NDArray[np.integer],
    whole: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    k: int,
    rule: Selection,
) -> npt.NDArray[np.int64]:
    """Patches taken one after another, each time the highest score, of which those near a kept one count less.

    A score counts `suppress_weight` of itself, in 256ths, once a patch of the same cell is kept that is at most
    `suppress_slots` slots away, however many there are. Of scores that count the same the smaller index goes first.

    Args:
        scores: integers [T, gh, gw], 0 to 2^31 - 1.
        whole: indices that are kept already.
        others: indices to choose from, ascending.
        k: how many to take.
        rule: its `suppress_slots` and `suppress_weight`.

    Returns:
        int64 [min(k, len(others))], in the order in which they are taken.
    """
    cells, flat = scores[0].size, scores.ravel().astype(np.int64)
    counted = flat << WEIGHT_BITS
    less = flat * suppressed_weight(rule)

    def keep(index: int) -> None:
        slot, cell = divmod(index, cells)
        for t in range(max(slot - rule.suppress_slots, 0), min(slot + rule.suppress_slots + 1, len(scores))):
            counted[t * cells + cell] = less[t * cells + cell]

    for index in whole.tolist():
        keep(index)
    left, taken = np.isin(np.arange(scores.size), others), []
    for _ in range(min(k, len(others))):
        taken.append(int(np.argmax(np.where(left, counted, -1))))
        left[taken[-1]] = False
        keep(taken[-1])
    return np.array(taken, np.int64)


def shared_scores(scores: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Each score divided by its rank, 1 for the highest, among those of its cell in all slots.

    Args:
        scores: integers [T, gh, gw], 0 to 2^31 - 1; of equal ones that of the earlier slot has the smaller rank.

    Returns:
        int64 [T, gh, gw], in 65536ths, rounded down.
    """
    wide = scores.astype(np.int64)
    falling = np.argsort(-wide, axis=0, kind="stable")
    ranks = np.argsort(falling, axis=0) + 1
    return (wide << RANK_BITS) // ranks
