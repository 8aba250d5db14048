"""The picture of the comparison: speed and processor time of each tool, accuracy of each way of choosing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

OURS, THEIRS = "#d55e00", "#0072b2"
"""Apart for every kind of eye (Okabe and Ito)."""


def draw(figures: Mapping[str, Any], target: Path) -> None:
    """Draw what was measured; what was not has no bar, and stands in the tables."""
    panels = 3 if figures["accuracy"] else 2
    figure, axes = plt.subplots(1, panels, figsize=(5 * panels, 3.6))
    for panel, key, title in (
        (axes[0], "clips a second", "clips a second, all cores"),
        (axes[1], "processor seconds a clip", "processor seconds a clip"),
    ):
        speeds = {name: tool["speed"] for name, tool in figures["tools"].items()}
        _bars(panel, {name: own[key] for name, own in speeds.items() if not isinstance(own, str)}, title)
    if figures["accuracy"]:
        rows = [row for row in figures["accuracy"]["rows"] if "budget" in row]
        budgets = sorted({row["budget"] for row in rows})
        found = {(row["name"], row["budget"]): row for row in rows}
        names = sorted({name for name, _ in found}, key=lambda name: found[name, budgets[0]]["accuracy"])
        for budget, shade, aside in zip(budgets, (0.45, 1.0), (0.2, -0.2), strict=True):
            own = [found[name, budget] for name in names]
            axes[2].barh(
                [place + aside for place in range(len(names))], [100 * row["accuracy"] for row in own], 0.38,
                xerr=[100 * row["se"] for row in own], color=[_colour(name) for name in names],
                alpha=shade, error_kw={"lw": 0.8},
            )  # fmt: skip
        axes[2].set_yticks(range(len(names)), names, fontsize=8)
        axes[2].set_title(f"accuracy, %: {budgets[0]} tokens (pale), {budgets[-1]}", fontsize=9)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=120)
    plt.close(figure)


def _bars(panel: Axes, values: Mapping[str, float], title: str) -> None:
    names = list(values)[::-1]
    panel.barh(names, [values[name] for name in names], color=[_colour(name) for name in names])
    panel.set_title(title, fontsize=9)
    panel.tick_params(axis="y", labelsize=8)


def _colour(name: str) -> str:
    return OURS if name.startswith("codecsieve") else THEIRS
