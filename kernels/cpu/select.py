"""Which patches of a clip are kept: by partition instead of sorting, and by a heap where each counts for the next.

Equal to `codecsieve.kernels.reference.select`, which defines and documents these functions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from codecsieve.kernels.reference.select import (
    WEIGHT_BITS,
    below_thresholds,
    check_selection,
    keep_slots,
    shared_scores,
    suppressed_weight,
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
    free = np.delete(np.arange(scores.size).reshape(len(scores), -1), sorted(slots), axis=0).ravel()
    flat, wanted = scores.reshape(-1), rule.k_keep - len(whole)
    shows = flat[free] >= 0
    others, hidden = (free, free[:0]) if shows.all() else (free[shows], free[~shows])
    if rule.suppress == "time":
        best = spread_out(scores, whole, others, wanted, rule)
    else:
        counted = shared_scores(scores) if rule.suppress == "cell" else scores
        best = others[top_k(counted.reshape(-1)[others], wanted)]
    last = hidden[top_k(flat[hidden], wanted - len(best))]
    return np.sort(np.concatenate([whole, best, last])).astype(np.int32)


def is_static(scores: npt.NDArray[np.integer], rule: Selection) -> bool:
    """Whether little moves in a clip, by the percentiles of its patches' mean energy."""
    shown = scores[scores >= 0]
    if not shown.size:
        return True
    ranks = [percent * (shown.size - 1) // 100 for percent in (95, 50)]
    p95, p50 = np.partition(shown, ranks)[ranks]
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


def spread_out(
    scores: npt.NDArray[np.integer],
    whole: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    k: int,
    rule: Selection,
) -> npt.NDArray[np.int64]:
    """Patches taken one after another, of which those near a kept one count less: int64 [min(k, len(others))]."""
    flat = scores.reshape(-1).astype(np.int64)
    return _take(flat, whole, others, k, scores[0].size, rule.suppress_slots, suppressed_weight(rule))


@njit(cache=True, nogil=True)
def _take(
    scores: npt.NDArray[np.int64],
    whole: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    k: int,
    cells: int,
    reach: int,
    weight: int,
) -> npt.NDArray[np.int64]:
    """`spread_out`; scores: int64 [T * cells]. Scores only fall: what has fallen is found out when it is on top."""
    counted = scores << WEIGHT_BITS
    less = np.zeros(len(scores), np.bool_)
    for index in whole:
        _suppress(index, cells, reach, less)
    heap = others.copy()
    size = len(heap)
    for place in range(size // 2 - 1, -1, -1):
        _sink(heap, place, size, counted)
    taken = np.empty(min(k, size), np.int64)
    number = 0
    while number < len(taken):
        index = heap[0]
        falls = scores[index] * weight
        if less[index] and counted[index] != falls:
            counted[index] = falls
        else:
            taken[number] = index
            number += 1
            _suppress(index, cells, reach, less)
            size -= 1
            heap[0] = heap[size]
        _sink(heap, 0, size, counted)
    return taken


@njit(cache=True, nogil=True)
def _suppress(index: int, cells: int, reach: int, less: npt.NDArray[np.bool_]) -> None:
    """Have the patches of one cell count less in the slots about a kept one."""
    first = max(index - reach * cells, index % cells)
    for other in range(first, min(index + reach * cells + 1, len(less)), cells):
        less[other] = True


@njit(cache=True, nogil=True)
def _sink(heap: npt.NDArray[np.int64], place: int, size: int, counted: npt.NDArray[np.int64]) -> None:
    """Let the index at a place of a heap sink until none below it counts more, or as much with a smaller index."""
    index = heap[place]
    own = counted[index]
    child = 2 * place + 1
    while child < size:
        below, its = heap[child], counted[heap[child]]
        if child + 1 < size:
            other = heap[child + 1]
            if counted[other] > its or (counted[other] == its and other < below):
                child, below, its = child + 1, other, counted[other]
        if own > its or (own == its and index < below):
            break
        heap[place] = below
        place, child = child, 2 * child + 1
    heap[place] = index
