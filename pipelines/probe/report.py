"""The report of a probe: `report.json`, what was probed, how, and what came out, and `confusion.png` beside it.

Training and counting are left to `training` and `metrics`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from codecsieve.cache import SparseCache
from codecsieve.cache.features import FeatureCache
from codecsieve.files import make_folder, publish
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.datasets import LabelledSet, Split
from codecsieve.pipelines.probe.metrics import Tally, class_accuracies
from codecsieve.pipelines.probe.training import Trained

REPORT, CONFUSION = "report.json", "confusion.png"

_NAMED = 60  # classes whose names a picture has room for


def circumstances(
    run: ProbeRun, labelled: LabelledSet, cache: SparseCache, features: FeatureCache, splits: dict[str, Split]
) -> dict[str, Any]:
    """What was probed."""
    return {
        "dataset": run.dataset,
        "classes": len(labelled.classes),
        "model_weight": run.model_weight,
        "cache": str(run.cache_dir),
        "features": str(features.folder),
        "tokens": list(features.shape),
        "selection": cache.config,
        "splits": {name: {"clips": len(split.numbers), "failed": split.failed} for name, split in splits.items()},
        "validation": "val.csv" if "val" in labelled.manifests else "a tenth of train.csv, by class and clip id",
    }


def training(config: ProbeConfig, clips: int, ranks: Ranks) -> dict[str, Any]:
    """How it was trained."""
    precision = "bfloat16" if ranks.has_bf16 else "float32"
    where = {"processes": ranks.size, "device": ranks.device.type, "precision": precision}
    return {**dataclasses.asdict(config), "epochs": config.epochs_for(clips), **where}


def results(trained: Trained, tally: Tally, config: ProbeConfig, labelled: LabelledSet) -> dict[str, Any]:
    """What came out. tally: of the test split, or, where there is none, of the validation split."""
    tested = "test" in labelled.manifests
    return {
        "selected_on_validation": trained.choice,
        "test": _judgement(tally, config) if tested else None,
        "best_on_validation": _published(trained),
        "per_class_split": "test" if tested else "val",
        "per_class": _per_class(tally, labelled),
        "history": trained.history,
    }


def _judgement(tally: Tally, config: ProbeConfig) -> dict[str, Any]:
    """The chosen probes on the test split: the mean over seeds, its spread, and each."""
    scores = tally.scores()
    spread = statistics.stdev(one.top1 for one in scores) if len(scores) > 1 else None
    return {
        "top1": statistics.fmean(one.top1 for one in scores),
        "top1_deviation": spread,
        "top5": statistics.fmean(one.top5 for one in scores),
        "seeds": [{"seed": s, **dataclasses.asdict(one)} for s, one in zip(config.seeds, scores, strict=True)],
    }


def _published(trained: Trained) -> dict[str, Any]:
    """What the published protocol calls its result: the best look at the validation split, of all rates and epochs."""
    looks = [{"epoch": look["epoch"], **probe} for look in trained.history for probe in look["probes"]]
    note = "the highest of all looks at the validation split, as the published protocol reports: it is too high"
    return {**max(looks, key=lambda look: look["top1"]), "note": note}


def _per_class(tally: Tally, labelled: LabelledSet) -> list[dict[str, Any]]:
    """Of all seeds together."""
    accuracies = class_accuracies(tally.confusion.sum(0).cpu())
    return [{"class": name, **one} for name, one in zip(labelled.classes, accuracies, strict=True)]


def write_report(out: Path, outcome: dict[str, Any], tally: Tally, labelled: LabelledSet) -> None:
    """Publish the report and its picture in a folder."""
    make_folder(out)
    split = outcome["per_class_split"]
    shown = outcome["validation"] if split == "val" else f"clips of {split}.csv"
    title = f"{outcome['dataset']}, {outcome['model']}: {shown}"
    publish(out / CONFUSION, [draw_confusion(tally.confusion.sum(0).cpu(), labelled.classes, title)])
    publish(out / REPORT, [(json.dumps(outcome, indent=1) + "\n").encode()])


def draw_confusion(confusion: Tensor, classes: Sequence[str], title: str) -> bytes:
    """A confusion matrix int64 [C, C] as a PNG: a row a true class, shaded by the part of its clips."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(classes)
    parts = confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    side = min(14.0, 4 + 0.16 * count)
    figure = Figure((side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(parts.numpy(), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="part of the class's clips", fraction=0.045)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    if count <= _NAMED:
        axes.set_xticks(range(count), labels=classes, rotation=90, fontsize=7)
        axes.set_yticks(range(count), labels=classes, fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
