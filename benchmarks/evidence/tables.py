"""The tables of the selection probe: accuracy of policies and of variants, and what their differences are worth.

Groups are what is independent here: a mean is over groups, each counting alike, and standard errors are over the
groups' values. A difference is taken clip by clip over the same splits before that.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import show
from benchmarks.evidence.clips import Clips
from benchmarks.evidence.policies import (
    DIFFERENCE,
    FOUND,
    ONEVISION,
    PLACES,
    Variant,
    calmest,
    difference_variants,
    kept,
    random_tokens,
    variants,
    whole_slots,
)
from benchmarks.evidence.readout import Splits, attentive_readout, logistic_readout, paired
from benchmarks.evidence.scores import Scoring
from benchmarks.evidence.tokens import FRAME
from codecsieve.machine import available_cores

BUDGETS = (FRAME, 2 * FRAME, 4 * FRAME, 8 * FRAME)
COMPARED = (2 * FRAME, 4 * FRAME)
DRAWS = 5
"""Of the random tokens."""
VARIANT_REPEATS = 3
"""Of the 5 grouped folds, for the many variants."""
HALVES = ("odd_alone", "even_alone")
"""Trained and tested within the odd, or the even, groups only."""
OVER = ("over_uniform", "over_difference")
Key = tuple[str, int]
"""Name and budget."""
TITLES = ("policy", "tokens", "accuracy", "over uniform", "over difference")


def chosen_by(clips: Clips, variant: Variant, budget: int, scores: dict[Scoring, np.ndarray]) -> list[np.ndarray]:
    """Indices that a variant keeps of each clip."""
    each = scores[variant.scoring]
    if variant.keyframes:
        searched = scores[dataclasses.replace(variant.scoring, signals="search")]
        each = np.where(each.any(axis=(2, 3), keepdims=True), each, searched)
    return [kept(clip, budget, variant) for clip in each]


def policies(clips: Clips, budget: int, scores: dict[Scoring, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Indices that each policy of the main table keeps, but for the random ones."""
    count, frames = len(clips.paths), budget // FRAME
    found = {
        f"{name} frames": [whole_slots(place(clips.slots, frames), FRAME)] * count for name, place in PLACES.items()
    }
    return {
        **found,
        "frame difference": chosen_by(clips, Variant("", DIFFERENCE), budget, scores),
        "calmest tokens": [calmest(clip, budget) for clip in scores[DIFFERENCE]],
        "bitstream": chosen_by(clips, Variant("", ONEVISION["bitstream"]), budget, scores),
        "search": chosen_by(clips, Variant("", ONEVISION["search"]), budget, scores),
        **{name: chosen_by(clips, Variant("", scoring), budget, scores) for name, scoring in FOUND.items()},
    }


def random_choice(clips: Clips, budget: int, draw: int) -> list[np.ndarray]:
    """Random tokens of each clip."""
    return [random_tokens(clips.slots, FRAME, budget, seed=1000 * draw + i) for i in range(len(clips.paths))]


def summary(right: np.ndarray, splits: Splits) -> dict[str, Any]:
    """Mean and standard error over groups, standard deviation over splits; mean of odd and of even groups."""
    accuracies, groups = splits.accuracies(right), splits.by_group(right)
    return {
        "mean": float(groups.mean()),
        "std": float(accuracies.std(ddof=1)),
        "se": paired(groups)[1],
        "odd": float(groups[::2].mean()),
        "even": float(groups[1::2].mean()),
        "groups": [round(float(value), 4) for value in groups],
    }


def against(row: dict[str, Any], base: dict[str, Any], name: str) -> dict[str, Any]:
    """Paired difference by group, its standard error, and the same within odd and within even groups."""
    difference = np.array(row["groups"]) - np.array(base["groups"])
    mean, error = paired(difference)
    halves = {f"{name}_{half}": paired(difference[start::2]) for half, start in (("odd", 0), ("even", 1))}
    return {name: mean, f"{name}_se": error, **halves}


def logistic_rows(features: dict[Key, np.ndarray], splits: Splits) -> dict[Key, np.ndarray]:
    """Which clips are right, bool [R, n], by the features [n, 1280] of each key; on all cores."""
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        right = pool.map(partial(logistic_readout, splits=splits), features.values())
        return dict(zip(features, right, strict=True))


def main_table(
    clips: Clips, scores: dict[Scoring, np.ndarray], splits: Splits, small: Splits, seeds: int
) -> list[dict[str, Any]]:
    """Every policy at every budget, by logistic regression and, on fewer splits, by the attentive probe."""
    every = clips.slots * FRAME
    features = {("no pixels", 0): clips.shapes}
    features["all tokens", every] = clips.pooled([np.arange(every)] * len(clips.paths))
    for budget in BUDGETS:
        for policy, indices in policies(clips, budget, scores).items():
            features[policy, budget] = clips.pooled(indices)
            if policy in ONEVISION:
                features[f"where {policy} looks, no pixels", budget] = clips.places(indices)
        for draw in range(DRAWS):
            features[f"random tokens {draw}", budget] = clips.pooled(random_choice(clips, budget, draw))
    right = logistic_rows(features, splits)
    for budget in BUDGETS:
        draws = [right.pop((f"random tokens {draw}", budget)) for draw in range(DRAWS)]
        right["random tokens", budget] = np.mean(draws, axis=0)
    rows = [_row(key, "logistic", hits, splits) for key, hits in right.items()]
    for budget in BUDGETS:
        choices = {**policies(clips, budget, scores), "random tokens": random_choice(clips, budget, 0)}
        for policy, indices in choices.items():
            hits = attentive_readout(clips.chosen(indices), small, seeds)
            rows.append(_row((policy, budget), "attentive", hits, small.repeated(seeds)))
    for row in rows:
        alike = {r["policy"]: r for r in rows if (r["budget"], r["readout"]) == (row["budget"], row["readout"])}
        for other, name in (("uniform frames", "over_uniform"), ("frame difference", "over_difference")):
            if other in alike and row["policy"] != other:
                row.update(against(row, alike[other], name))
    return rows


def _row(key: Key, readout: str, right: np.ndarray, splits: Splits) -> dict[str, Any]:
    return {"policy": key[0], "budget": key[1], "readout": readout, **summary(right, splits)}


def variant_table(clips: Clips, scores: dict[Scoring, np.ndarray]) -> list[dict[str, Any]]:
    """Every variant at the compared budgets, against `onevision` on the same signals and against frame difference."""
    features = {
        (variant.name, budget): clips.pooled(chosen_by(clips, variant, budget, scores))
        for budget in COMPARED
        for variant in all_variants()
    }
    splits = Splits.make(clips.labels, clips.groups, VARIANT_REPEATS)
    right = logistic_rows(features, splits)
    rows = {key: {"variant": key[0], "budget": key[1], **summary(hits, splits)} for key, hits in right.items()}
    for half, parity in zip(HALVES, (1, 0), strict=True):
        own = clips.groups % 2 == parity
        splits = Splits.make(clips.labels[own], clips.groups[own], VARIANT_REPEATS)
        for key, hits in logistic_rows({key: all_of[own] for key, all_of in features.items()}, splits).items():
            rows[key][half] = float(splits.by_group(hits).mean())
    for (name, budget), row in rows.items():
        signals = name.partition(":")[0]
        published = f"{signals}: onevision" if signals != "difference" else "difference: plain"
        row.update(against(row, rows[published, budget], "over_base"))
        row.update(against(row, rows["difference: plain", budget], "over_difference"))
    return list(rows.values())


def all_variants() -> list[Variant]:
    return [*variants("bitstream"), *variants("search"), *difference_variants()]


def chosen_and_confirmed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each signal: the variant best over both budgets in one half of the groups, trained and tested there alone,
    and how it does in the other half, likewise.
    """
    found = []
    for signals in ("bitstream", "search", "difference"):
        own = [row for row in rows if row["variant"].startswith(signals + ":") and "afterwards" not in row["variant"]]
        names = list(dict.fromkeys(row["variant"] for row in own))
        mean = {n: {h: float(np.mean([r[h] for r in own if r["variant"] == n])) for h in HALVES} for n in names}
        for half, other in (HALVES, HALVES[::-1]):
            best = max(names, key=lambda name: mean[name][half])
            found.append(
                {
                    "chosen on": half,
                    "variant": best,
                    "there": mean[best][half],
                    "base there": mean[names[0]][half],
                    "confirmed": mean[best][other],
                    "base in the other": mean[names[0]][other],
                    "rank in the other": 1 + sum(mean[name][other] > mean[best][other] for name in names),
                    "of": len(names),
                }
            )
    return found


def show_policies(rows: list[dict[str, Any]]) -> None:
    """One line a policy and readout."""
    for readout in ("logistic", "attentive"):
        own = [row for row in rows if row["readout"] == readout]
        lines = [
            [r["policy"], r["budget"], _percent(r, "mean", "std"), *(_percent(r, n, f"{n}_se") for n in OVER)]
            for r in own
        ]
        show(f"Accuracy, {readout}: mean +- std over splits; paired difference +- standard error", TITLES, lines)


def show_variants(rows: list[dict[str, Any]], chosen: list[dict[str, Any]]) -> None:
    """One line a variant, both budgets; then what one half of the groups chooses and the other says to it."""
    columns = ["variant", "budget", "accuracy", "over base", "over difference", *HALVES]
    lines = [
        [
            r["variant"],
            r["budget"],
            _percent(r, "mean", "std"),
            *(_percent(r, n, f"{n}_se") for n in ("over_base", "over_difference")),
            *(r[half] for half in HALVES),
        ]
        for r in rows
    ]
    show("Variants; paired difference +- standard error over groups", columns, lines)
    show(
        "Chosen on one half of the groups, confirmed on the other", list(chosen[0]), [list(c.values()) for c in chosen]
    )


def _percent(row: dict[str, Any], mean: str, error: str) -> str:
    return f"{100 * row[mean]:+.1f} +- {100 * row[error]:.1f}".lstrip("+") if mean in row else ""
