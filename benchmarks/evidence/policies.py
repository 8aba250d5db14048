"""Which tokens of a clip each policy of the selection probe keeps, at a budget; nothing here sees a label.

`kept` turns scores into indices, with the ways of spreading a selection over time that the sieve has not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from benchmarks.evidence.scores import Scoring
from codecsieve.kernels.dispatch import select_patches

ONEVISION = {name: Scoring(signals=name) for name in ("bitstream", "search")}
FOUND = {
    "bitstream, residual only": Scoring(w_mv=0),
    "bitstream, weights 1:3": Scoring(w_res=3),
    "search, inconsistency": Scoring(signals="search", neighbours=4),
}
"""What the variants showed, looked at again with the other readout and at all budgets."""
DIFFERENCE = Scoring("difference", w_mv=0, center_prior=0, scale="fixed")
"""Mean absolute difference of luma to the frame before, and nothing else."""


@dataclass(frozen=True)
class Variant:
    """A scoring and a way to keep tokens by it."""

    name: str
    scoring: Scoring = field(default_factory=Scoring)
    spread: str = "none"
    """`none`; `cap N`: at most N tokens a slot; `segments N`: an even share in each of N equal parts of the clip;
    `rank`: a slot's n-th best token has its score divided by n."""
    anchors: float = 0
    """Part of the budget spent on whole slots, uniformly spaced."""
    keyframes: bool = False
    """Whether slots without prediction take their scores from `search` with the same options."""


def kept(scores: np.ndarray, budget: int, variant: Variant) -> np.ndarray:
    """Indices of the tokens kept: int64 [T, gh, gw] -> [budget], ascending."""
    slots, tokens = len(scores), scores[0].size
    flat = scores.reshape(slots, tokens)
    place = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1)
    kind, _, count = variant.spread.partition(" ")
    if kind == "segments":
        return _segments(flat, budget, int(count))
    if kind == "cap":
        flat = np.where(place < int(count), flat, -1)
    elif kind == "rank":
        flat = flat // (place + 1)
    anchors = round(variant.anchors * budget / tokens)
    return select_patches(flat.reshape(scores.shape), budget, anchors=anchors)


def _segments(flat: np.ndarray, budget: int, count: int) -> np.ndarray:
    """The best of each of `count` runs of slots; the first ones keep what an even share leaves over."""
    slots, tokens = flat.shape
    chosen = []
    for i in range(count):
        begin, end = i * slots // count, (i + 1) * slots // count
        share = budget // count + (i < budget % count)
        best = np.argsort(-flat[begin:end].ravel(), kind="stable")[:share]
        chosen.append(best + begin * tokens)
    return np.sort(np.concatenate(chosen))


def uniform_slots(slots: int, count: int) -> list[int]:
    """The middles of `count` equal parts of the clip."""
    return [(2 * i + 1) * slots // (2 * count) for i in range(count)]


def end_slots(slots: int, count: int) -> list[int]:
    """Both ends and evenly between, rounded half up, as the published baseline samples; one alone is the first."""
    return [(2 * i * (slots - 1) + count - 1) // (2 * max(count - 1, 1)) for i in range(count)]


def middle_slots(slots: int, count: int) -> list[int]:
    """`uniform_slots` of the clip's middle half, where a segmented clip has its action."""
    return [slots // 4 + slot for slot in uniform_slots(slots // 2, count)]


PLACES = {"uniform": uniform_slots, "end-to-end": end_slots, "middle-half": middle_slots}
"""Ways to place whole frames that look at nothing."""


def whole_slots(chosen: list[int], tokens: int) -> np.ndarray:
    """Indices of all tokens of some slots."""
    return (np.array(chosen)[:, None] * tokens + np.arange(tokens)).ravel()


def random_tokens(slots: int, tokens: int, budget: int, seed: int) -> np.ndarray:
    """Any tokens, ascending."""
    return np.sort(np.random.default_rng(seed).choice(slots * tokens, budget, replace=False))


def calmest(scores: np.ndarray, budget: int) -> np.ndarray:
    """The lowest scores, of slots that have any."""
    last = -scores.max() - 1
    return select_patches(np.where(scores.any(axis=(1, 2), keepdims=True), -scores, last), budget)


def variants(signals: str) -> list[Variant]:
    """The published choice, each single change to it, combinations written down beforehand, and two that were not."""

    def changed(name: str, **options: Any) -> Variant:
        keep = {key: options.pop(key) for key in ("spread", "anchors", "keyframes") if key in options}
        return Variant(f"{signals}: {name}", Scoring(signals=signals, **options), **keep)

    found = [changed("onevision")]
    found += [changed(f"camera {mode}", camera=mode) for mode in ("none", "mean", "similarity", "rigid", "affine")]
    found += [changed(f"weights {a}:{b}", w_mv=a, w_res=b) for a, b in ((1, 0), (3, 1), (1, 3), (0, 1))]
    found += [changed(f"fuse {mode}", fuse=mode) for mode in ("max", "sum", "geomean")]
    found += [changed("center prior 0", center_prior=0)]
    found += [changed(f"inconsistency, radius {r}", neighbours=r) for r in (1, 4)]
    found += [changed(f"scale {scale}", scale=scale) for scale in ("clip95", "clip99", "fixed")]
    found += [changed(f"compress {kind}", compress=kind) for kind in ("sqrt", "log")]
    found += [
        changed(f"spread: {kind}", spread=kind) for kind in ("cap 4", "cap 8", "segments 4", "segments 8", "rank")
    ]
    found += [changed("anchors, half of the budget", anchors=0.5)]
    if signals == "bitstream":
        found += [changed("keyframes searched", keyframes=True)]
    for scale, (a, b) in product(("slot95", "clip95", "fixed"), ((1, 0), (1, 1), (0, 1))):
        name = f"{scale}, weights {a}:{b}, center prior 0"
        combined = changed(name, scale=scale, w_mv=a, w_res=b, center_prior=0)
        if combined.scoring not in {variant.scoring for variant in found}:
            found.append(combined)
    found += [changed("scale clip95, segments 4", scale="clip95", spread="segments 4")]
    found += [changed("afterwards: inconsistency, radius 4, weights 1:3", neighbours=4, w_res=3)]
    found += [changed("afterwards: inconsistency, radius 4, rank", neighbours=4, spread="rank")]
    return found


def difference_variants() -> list[Variant]:
    """Frame difference by itself, through the sieve's own steps, and with the motion of `search`."""
    plain = {"signals": "difference", "w_mv": 0, "center_prior": 0}
    return [
        Variant("difference: plain", DIFFERENCE),
        Variant("difference: center prior 0.3", Scoring("difference", w_mv=0, scale="fixed")),
        Variant("difference: scale clip95", Scoring(**plain, scale="clip95")),
        Variant("difference: scale slot95", Scoring(**plain)),
        Variant("difference: cap 8", DIFFERENCE, spread="cap 8"),
        Variant("difference: segments 4", DIFFERENCE, spread="segments 4"),
        Variant("difference: compress sqrt", Scoring(**plain, scale="fixed", compress="sqrt")),
        Variant("difference: with motion 1:1, clip95", Scoring("difference", scale="clip95", center_prior=0)),
        Variant("difference: with motion 1:1, slot95", Scoring("difference")),
    ]
