"""Which patches of a clip are kept: by partition instead of sorting.

Equal to `codecsieve.kernels.reference.select`, which defines and documents these functions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codecsieve.kernels.reference.select import (
    below_thresholds,
    check_selection,
    keep_slots,
    uniform_slots,
)
from codecsieve.kernels.rules import Selection


def select_patches(scores: npt.NDArray[np.integer], rule: Selection) -> npt.NDArray[np.int32]:
    """Indices of the patches that a clip keeps: integers [T, gh, gw] -> int32 [K], ascending."""
    check_selection(scores, rule)
    slots = set(uniform_slots(len(scores), rule.anchors))
    if rule.static_fallback and is_static(scores, rule):
        slots |= set(uniform_slots(len(scores), min(rule.static_uniform_frames, len(scores))))
    whole = keep_slots(sorted(slots), scores[0].size, rule.k_keep)
    others = np.delete(np.arange(scores.size).reshape(len(scores), -1), sorted(slots), axis=0).ravel()
    best = others[top_k(scores.reshape(-1)[others], rule.k_keep - len(whole))]
    return np.sort(np.concatenate([whole, best])).astype(np.int32)


def is_static(scores: npt.NDArray[np.integer], rule: Selection) -> bool:
    """Whether little moves in a clip, by the percentiles of its patches' mean energy."""
    ranks = [percent * (scores.size - 1) // 100 for percent in (95, 50)]
    p95, p50 = np.partition(scores, ranks, axis=None)[ranks]
    return below_thresholds(int(p95), int(p50), rule)


def top_k(scores: npt.NDArray[np.integer], k: int) -> npt.NDArray[np.int64]:
    """Indices of the k highest of integers [n], equal ones by index: int64 [min(k, n)], ascending."""
    if k >= len(scores):
        return np.arange(len(scores))
    if k <= 0:
        return np.zeros(0, np.int64)
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    kept = scores > threshold
    ties = np.flatnonzero(scores == threshold)
    kept[ties[: k - np.count_nonzero(kept)]] = True
    return np.flatnonzero(kept)
