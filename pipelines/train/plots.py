"""Pictures of a training: its curves, and where its encoder puts the clips that it does not train on."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from codecsieve.files import publish

_MOST_NAMES = 20
"""Labels that have a colour and a line in the legend: of more, the commonest."""


def draw_curves(events: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss of each head, rate, and what validations found, by step, from the events of a log."""
    steps = [event for event in events if "loss" in event]
    found = [event for event in events if "validated" in event]
    figure = Figure((9, 6 if found else 4), layout="constrained")
    axes = figure.subplots(2 if found else 1, 1, sharex=True, squeeze=False)[:, 0]
    places = np.array([event["step"] + 1 for event in steps])
    for number, name in enumerate(steps[-1]["losses"] if steps else ()):
        losses = np.array([event["losses"].get(name, np.nan) for event in steps])
        axes[0].plot(places, losses, color=f"C{number}", alpha=0.25, linewidth=0.8)
        axes[0].plot(places, smoothed(losses), color=f"C{number}", label=name)
    axes[0].set_ylabel("loss")
    rate = axes[0].twinx()
    rate.plot(places, [event["rate"] for event in steps], color="0.7", linewidth=1, linestyle="--")
    rate.set_ylabel("rate (dashed)")
    axes[0].legend(loc="upper right")
    if found:
        after = [event["validated"] for event in found]
        axes[1].plot(after, [100 * event["recall"] for event in found], "o-", label="find their concept")
        near = [np.nan if event["neighbours"] is None else 100 * event["neighbours"] for event in found]
        if not np.isnan(near).all():
            axes[1].plot(after, near, "o-", label="nearest other has their label")
        axes[1].set_ylabel("% of held-out clips")
        axes[1].legend()
    axes[-1].set_xlabel("steps")
    _save(figure, path)


def draw_embeddings(embedded: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw clips, float32 [N, D], on their two principal axes, by the names of their labels, "" where there is none."""
    figure = Figure((8, 6), layout="constrained")
    axes = figure.subplots()
    places = on_principal_axes(embedded)
    kinds, counts = np.unique(names, return_counts=True)
    common = [kind for kind in kinds[np.argsort(-counts, kind="stable")] if kind][:_MOST_NAMES]
    rest = ~np.isin(names, common)
    others = "others" if common and rest.any() else None
    axes.scatter(places[rest, 0], places[rest, 1], s=14, color="0.75", label=others)
    for number, kind in enumerate(sorted(common)):
        here = places[np.array(names) == kind]
        axes.scatter(here[:, 0], here[:, 1], s=18, color=f"C{number % 10}", marker="o^"[number // 10], label=kind)
    if common:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"{len(names)} held-out clips on the two principal axes of their embeddings", fontsize="medium")
    _save(figure, path)


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of each value and those about it, a fiftieth of all: float64 [N]."""
    half = max(1, len(values) // 100)
    kernel = np.ones(2 * half + 1)
    known = np.isfinite(values)
    sums, counts = (np.convolve(part, kernel, "full")[half:-half] for part in (np.where(known, values, 0), known * 1.0))
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def on_principal_axes(embedded: np.ndarray) -> np.ndarray:
    """Where each of [N, D] lies on the two axes of most variance: float64 [N, 2]."""
    centred = embedded.astype(np.float64) - embedded.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])  # which way an axis points is nobody's choice
    places = centred @ (axes * signs[:, None])[:2].T
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    publish(path, [buffer.getvalue()])
