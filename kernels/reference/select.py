"""Which patches of a clip are kept: the definition.

The highest scores of the whole clip win, not those of each slot; slots may also be kept whole, as anchors or
because nothing in the clip stands out. Where the scores come from is `energy`'s; the pixels are `gather`'s.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.rules import Selection


def select_patches(scores: npt.NDArray[np.integer], rule: Selection) -> npt.NDArray[np.int32]:
    """Indices of the patches that a clip keeps.

    Slots that are kept whole come first: `anchors` uniformly spaced ones, and, with `static_fallback` on a
    clip in which little moves (see `is_static`), `static_uniform_frames` uniformly spaced ones, or every slot
    if there are fewer. The highest scores of the other slots fill the rest; of equal scores the smaller index
    goes first. Whole slots of more than `k_keep` patches share it evenly, and keep evenly spaced patches.

    Args:
        scores: integers [T, gh, gw], levels (0..255) of energy summed over a patch's pixels.
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
    others = np.flatnonzero(free)
    best = others[top_k(scores.ravel()[others], rule.k_keep - len(whole))]
    return np.sort(np.concatenate([whole, best])).astype(np.int32)


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


def is_static(scores: npt.NDArray[np.integer], rule: Selection) -> bool:
    """Whether little moves in a clip, by the percentiles of its patches' mean energy.

    True if the 95th is below `static_abs_thresh`, or below twice that while the 95th less the 50th is below
    `static_rel_thresh` of the 95th. Percentiles are the value at 0-based rank floor(p (n - 1) / 100),
    compared exactly.

    Args:
        scores: integers [T, gh, gw], levels (0..255) of energy summed over a patch's pixels.
        rule: its thresholds, and the side of a patch.
    """
    ordered = np.sort(scores, axis=None)
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
