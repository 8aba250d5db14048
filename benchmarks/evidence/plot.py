"""The picture of the selection probe: accuracy by budget, one line a policy, one panel a readout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STYLES = {
    "frame difference": ("#1b1b1b", "o"),
    "search": ("#0072b2", "s"),
    "bitstream": ("#d55e00", "D"),
    "bitstream, residual only": ("#d55e00", "*"),
    "random tokens": ("#009e73", "^"),
    "uniform frames": ("#cc79a7", "v"),
    "end-to-end frames": ("#56b4e9", "<"),
    "middle-half frames": ("#e69f00", ">"),
    "calmest tokens": ("#8c8c8c", "x"),
}
"""Colours apart for every kind of eye (Okabe and Ito), and markers apart in grey."""


def draw_budgets(rows: list[dict[str, Any]], target: Path) -> None:
    """Rows as `probe.main_table` gives them; error bars are standard errors over groups."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 5), sharey=True)
    for panel, readout in zip(panels, ("logistic", "attentive"), strict=True):
        for number, (policy, (colour, marker)) in enumerate(STYLES.items()):
            own = [row for row in rows if row["policy"] == policy and row["readout"] == readout]
            budgets = [row["budget"] * 1.03 ** (number - 3.5) for row in own]
            line = "--" if "," in policy else "-"
            means, errors = [100 * row["mean"] for row in own], [100 * row["se"] for row in own]
            panel.errorbar(
                budgets, means, errors, color=colour, marker=marker, ls=line, capsize=2, lw=1.4, ms=5, label=policy
            )
        for policy, style in (("all tokens", "--"), ("no pixels", ":")):
            for row in rows:
                if (row["policy"], row["readout"]) == (policy, readout):
                    panel.axhline(100 * row["mean"], color="#555555", ls=style, lw=1)
                    panel.text(420, 100 * row["mean"] + 0.8, policy, ha="right", fontsize=8, color="#555555")
        ticks = sorted({row["budget"] for row in rows if row["policy"] == "bitstream"})
        panel.set_xscale("log")
        panel.set_xticks(ticks, [f"{tick}" for tick in ticks])
        panel.minorticks_off()
        panel.set_xlabel(f"tokens a clip ({readout} readout)")
        panel.grid(axis="y", lw=0.4)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy on held-out groups, %")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=9, frameon=False, loc="lower center", ncols=5)
    figure.savefig(target, dpi=130)
