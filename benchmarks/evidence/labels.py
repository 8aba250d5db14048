"""The labelled clips that the evidence is of, by the list that lies beside them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LabelledClip:
    """One row of labels.csv. path: of the video. label: 0-based class. group: clips never parted by a split."""

    path: Path
    label: int
    group: int


def read_labels(videos: Path) -> tuple[list[LabelledClip], list[str]]:
    """Clips of `videos/labels.csv` (path, label, group) and the names of their classes, sorted."""
    with (videos / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})
    return [LabelledClip(videos / row["path"], names.index(row["label"]), int(row["group"])) for row in rows], names
