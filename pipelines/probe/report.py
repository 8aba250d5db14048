"""The report of a probe: `report.json`, what was probed, how, and what came out, and `confusion.png` beside it; a line
in a text file as the published programs write it.

Training and counting are left to `training` and `metrics`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from codecsieve.cache import SparseCache
from codecsieve.cache.features import FeatureCache
from codecsieve.files import make_folder, publish
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.datasets import LabelledSet
from codecsieve.pipelines.probe.metrics import Ranking, Tally
from codecsieve.pipelines.probe.training import Trained, judged, mean_scores
from codecsieve.pipelines.probe.views import View

REPORT, CONFUSION = "report.json", "confusion.png"

_NAMED = 60  # classes whose names a picture has room for


def circumstances(
    run: ProbeRun,
    labelled: LabelledSet,
    views: Mapping[str, Sequence[View]],
    features: Mapping[SparseCache, FeatureCache],
) -> dict[str, Any]:
    """What was probed."""
    cache = views["val"][0].cache
    held_out = f"a tenth of {labelled.manifests['train'].name}, by class and clip id"
    return {
        "dataset": run.dataset,
        "classes": len(labelled.classes),
        "multi_label": labelled.multi_label,
        "model_weight": run.model_weight,
        "cache": str(run.cache_dir),
        "views": {name: [str(view.cache.location) for view in of_split] for name, of_split in views.items()},
        "features": [str(one.folder) for one in features.values()],
        "tokens": list(features[cache].shape),
        "selection": cache.config,
        "splits": {
            name: {"clips": len(first.split.numbers), "failed": first.split.failed}
            for name, (first, *_) in views.items()
        },
        "validation": labelled.manifests["val"].name if "val" in labelled.manifests else held_out,
    }


def training(config: ProbeConfig, clips: int, ranks: Ranks) -> dict[str, Any]:
    """How it was trained."""
    precision = "bfloat16" if ranks.has_bf16 else "float32"
    where = {"processes": ranks.size, "device": ranks.device.type, "precision": precision}
    return {**dataclasses.asdict(config), "epochs": config.epochs_for(clips), **where}


def results(trained: Trained, tally: Tally | Ranking, config: ProbeConfig, labelled: LabelledSet) -> dict[str, Any]:
    """What came out. tally: of the test split, or, where there is none, of the validation split."""
    tested = "test" in labelled.manifests
    return {
        "selected_on_validation": trained.choice,
        "test": _judgement(tally, config) if tested else None,
        "best_on_validation": _published(trained),
        "per_class_split": "test" if tested else "val",
        "per_class": [{"class": name, **one} for name, one in zip(labelled.classes, tally.per_class(), strict=True)],
        "history": trained.history,
    }


def _judgement(tally: Tally | Ranking, config: ProbeConfig) -> dict[str, Any]:
    """The chosen probes on the test split: the mean over seeds, its spread, and each."""
    scores = tally.scores()
    mean = mean_scores(scores)
    spread = statistics.stdev(one.judged for one in scores) if len(scores) > 1 else None
    judged_by = {"top1_deviation": spread}
    if mean.mean_ap is not None:
        judged_by = {"mean_ap": mean.mean_ap, "mean_ap_deviation": spread}
    return {
        "top1": mean.top1,
        "top5": mean.top5,
        **judged_by,
        "seeds": [{"seed": s, **dataclasses.asdict(one)} for s, one in zip(config.seeds, scores, strict=True)],
    }


def _published(trained: Trained) -> dict[str, Any]:
    """What the published protocol calls its result: the best look at the validation split, of all rates and epochs."""
    looks: list[dict[str, Any]] = [
        {"epoch": look["epoch"], **probe} for look in trained.history for probe in look["probes"]
    ]
    note = "the highest of all looks at the validation split, as the published protocol reports: it is too high"
    best = max(looks, key=judged)
    return {**best, "note": note}


def write_report(out: Path, outcome: dict[str, Any], tally: Tally | Ranking, labelled: LabelledSet) -> None:
    """Publish the report and its picture in a folder; of clips with several classes there is no confusion to draw."""
    make_folder(out)
    split = outcome["per_class_split"]
    shown = outcome["validation"] if split == "val" else f"clips of {labelled.manifests[split].name}"
    title = f"{outcome['dataset']}, {outcome['model']}: {shown}"
    if isinstance(tally, Tally):
        publish(out / CONFUSION, [draw_confusion(tally.confusion.sum(0).cpu(), labelled.classes, title)])
    publish(out / REPORT, [(json.dumps(outcome, indent=1) + "\n").encode()])


def add_published_line(run: ProbeRun, outcome: dict[str, Any]) -> Path:
    """Add `DATASET TOP1` in percent (the best look at the validation split; where clips have several classes, the mean
    average precision) to the text file that the published programs add theirs to, and return it.
    """
    selection = outcome["selection"]
    kept = f"_{selection['k_keep']}" if selection.get("policy", "saliency") == "saliency" else ""
    folder = run.report_dir or run.out
    path = folder / f"report_attentive_probe_{Path(run.model_weight).name}{kept}.txt"
    make_folder(folder)
    known = path.read_bytes() if path.exists() else b""
    publish(path, [known, f"{run.dataset} {100 * judged(outcome['best_on_validation']):.4f}\n".encode()])
    return path


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
