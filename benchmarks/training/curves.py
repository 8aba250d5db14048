"""The picture of a demonstration: loss, and accuracy of the probe, against steps, a line a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Apart for every kind of eye (Okabe and Ito)."""
_SMOOTH = 10  # steps that the loss is averaged over


def draw_curves(figures: dict[str, Any], target: Path) -> None:
    """Draw what `demo.run_demo` returns."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for number, one in enumerate(figures["seeds"]):
        colour, name = COLOURS[number % len(COLOURS)], f"seed {one['seed']}"
        smooth = min(_SMOOTH, len(one["losses"]))
        losses = np.convolve(one["losses"], np.ones(smooth) / smooth, "valid")
        left.plot(np.arange(len(losses)) + smooth, losses, color=colour, label=name, lw=1.4)
        steps, points = [at["step"] for at in one["curve"]], [at["test"] for at in one["curve"]]
        spread = [at["deviation"] for at in one["curve"]]
        right.errorbar(steps, points, spread, color=colour, marker="o", ms=4, capsize=2, lw=1.4, label=name)
    lines = {"chance": figures["chance"]} | {name: one["test"] for name, one in figures["controls"].items()}
    for (name, height), style in zip(lines.items(), (":", "--", "-."), strict=True):
        right.axhline(height, color="#555555", ls=style, lw=1, label=name)
    left.set(xlabel="step", ylabel=f"loss, mean of {_SMOOTH} steps", ylim=(0, None))
    right.set(xlabel="step (0: untrained)", ylabel="few-shot probe on test clips, %", ylim=(0, 100))
    for panel, corner in ((left, "upper right"), (right, (0.6, 0.15))):
        panel.grid(axis="y", lw=0.4)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(loc=corner, fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(target, dpi=110, metadata={"Software": None})
    plt.close(figure)
