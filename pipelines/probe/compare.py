"""Several encoders in the same probe: the same clips, splits, rates and seeds, one table and one picture.

    comparison = compare(["FOLDER", "clip", "facebook/dinov2-large"], run, ProbeConfig(seeds=(0, 1, 2)))

Each has a folder of its own in `out`, with its report and checkpoints, and its own features. One that fails is told of,
and the others go on. The probe itself is left to `run`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codecsieve.errors import CodecsieveError, ConfigError, EncoderError, ManifestError
from codecsieve.files import make_folder, publish
from codecsieve.pipelines.learn.families import BASELINES
from codecsieve.pipelines.learn.frozen import TokenEncoder
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.run import Progress, load_encoder, run_probe
from codecsieve.pipelines.probe.views import check_selection

COMPARISON, PICTURE = "compare.json", "compare.png"

_SCORES = ("mean_ap", "top1", "top5")


class _Timed:
    """A `TokenEncoder` that counts the seconds it is at work."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.encoder = encoder
        self.seconds = 0.0

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        began = time.monotonic()
        try:
            tokens = self.encoder(patches, positions).float().cpu()  # which waits for the device
        except torch.OutOfMemoryError as error:
            raise EncoderError(f"{self.name}: the device lacks memory for {len(patches)} clips at once") from error
        self.seconds += time.monotonic() - began
        return tokens


def compare(
    weights: Sequence[str],
    run: ProbeRun,
    config: ProbeConfig,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
    looked: Callable[[dict[str, Any]], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Probe each, and return what is written into `compare.json`.

    Args:
        weights: the encoders, as `ProbeRun.model_weight`.
        run: what is probed; encoder and folders are made each one's own.
        config: how.
        ranks: the processes that share the work.
        progress: called with what is done, see `run_probe`.
        looked: called with each look at the validation split.
        told: called with a line for each encoder that begins.

    Returns `models`, an entry for each that could be probed, in the order given; `failed`, the name of each other with
    the reason; and what they have in common.

    Raises:
        ManifestError: the manifests cannot be understood.
        ConfigError: an encoder is named twice.
        CodecsieveError: none could be probed: what the first failed of. Of several processes also whatever goes wrong
            after an encoder is loaded, since the others may be elsewhere by then.
    """
    ranks = ranks or Ranks()
    models: list[dict[str, Any]] = []
    failed: dict[str, CodecsieveError] = {}
    for name, weight in names_of(weights).items():
        if told:
            told(name)
        own = _own(run, name, weight)
        encoder = _load(own, ranks)
        if isinstance(encoder, CodecsieveError):
            failed[name] = encoder
            continue
        timed = _Timed(encoder)
        try:
            outcome = run_probe(own, config, ranks, progress, looked, timed)
        except ManifestError:
            raise
        except CodecsieveError as error:
            if ranks.size > 1:
                raise
            failed[name] = error
            continue
        seconds = torch.tensor([timed.seconds], dtype=torch.float64, device=ranks.device)
        ranks.sum_([seconds])
        models.append(_entry(own, outcome, seconds.item()))
    if not models:
        raise next(iter(failed.values()))
    comparison = {
        "dataset": run.dataset,
        "cache": str(run.cache_dir),
        "seeds": list(config.seeds),
        "learning_rates": list(config.learning_rates),
        "models": models,
        "failed": {name: str(error) for name, error in failed.items()},
    }
    if ranks.first:
        make_folder(run.out)
        publish(run.out / PICTURE, [draw_comparison(comparison)])
        publish(run.out / COMPARISON, [(json.dumps(comparison, indent=1) + "\n").encode()])
    ranks.wait()
    return comparison


def names_of(weights: Sequence[str]) -> dict[str, str]:
    """A name for each encoder: the last part of its weights, with as many parts before it as keep them apart.

    Raises ConfigError where one is there twice.
    """
    if len(set(weights)) < len(weights):
        raise ConfigError(f"compare ({', '.join(weights)}) must name each encoder once")
    parts = [[part for part in weight.split("/") if part not in ("", ".", "..")] or ["model"] for weight in weights]
    names: list[str] = []
    for one in parts:
        count = 1
        while count < len(one) and sum(one[-count:] == other[-count:] for other in parts) > 1:
            count += 1
        names.append("-".join(one[-count:]))
    if len(set(names)) < len(names):
        raise ConfigError(f"compare ({', '.join(weights)}) must name encoders that differ in their folders' names")
    return dict(zip(names, weights, strict=True))


def _own(run: ProbeRun, name: str, weight: str) -> ProbeRun:
    """One encoder's run: with folders of its own."""

    def inside(folder: Path | None) -> Path | None:
        return None if folder is None else folder / name

    return dataclasses.replace(
        run,
        model_weight=weight,
        model_name=name,
        baseline=weight if weight in BASELINES and not Path(weight).is_dir() else None,
        out=run.out / name,
        features_dir=inside(run.features_dir),
        checkpoint_dir=inside(run.checkpoint_dir),
    )


def _load(own: ProbeRun, ranks: Ranks) -> TokenEncoder | CodecsieveError:
    """An encoder, or why there is none: in all processes, or in none of them."""
    found: TokenEncoder | CodecsieveError
    try:
        found = load_encoder(own, check_selection(own), ranks)
    except CodecsieveError as error:
        found = error
    failures = torch.tensor([float(isinstance(found, CodecsieveError))], device=ranks.device)
    ranks.sum_([failures])
    if failures.item() and not isinstance(found, CodecsieveError):
        return EncoderError(f"{own.model_weight}: another process could not load it")
    return found


def _entry(own: ProbeRun, outcome: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """A line of the table. seconds: of encoding, 0 where all tokens were there before."""
    chosen = outcome["selected_on_validation"]
    if outcome["test"] is not None:
        seeds = outcome["test"]["seeds"]
    else:
        (look,) = (look for look in outcome["history"] if look["epoch"] == chosen["epoch"])
        seeds = [probe for probe in look["probes"] if probe["learning_rate"] == chosen["learning_rate"]]
    tokens, channels = outcome["tokens"]
    return {
        "model": outcome["model"],
        "model_weight": own.model_weight,
        "split": "val" if outcome["test"] is None else "test",
        **{name: _spread([one[name] for one in seeds]) for name in _SCORES if seeds[0][name] is not None},
        "learning_rate": chosen["learning_rate"],
        "epoch": chosen["epoch"],
        "tokens": tokens,
        "channels": channels,
        "encoding_seconds": round(seconds, 2) if seconds else None,
        "report": str(own.out / "report.json"),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, and standard deviation over seeds, where there are several."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation}


def draw_comparison(comparison: Mapping[str, Any]) -> bytes:
    """Bars of what `compare` returns as a PNG, a group an encoder, with the spread over seeds as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = comparison["models"]
    scores = [name for name in _SCORES if name in models[0]]
    figure = Figure((max(5.0, 2 + 1.3 * len(models)), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.8 / len(scores)
    for at, name in enumerate(scores):
        places = [number + (at - (len(scores) - 1) / 2) * width for number in range(len(models))]
        heights = [100 * model[name]["mean"] for model in models]
        spread = [100 * (model[name]["deviation"] or 0.0) for model in models]
        label = {"mean_ap": "mAP", "top1": "top-1", "top5": "top-5"}[name]
        bars = axes.bar(places, heights, width, yerr=spread, capsize=3, label=label)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    axes.set_xticks(range(len(models)), labels=[model["model"] for model in models], rotation=20, ha="right")
    axes.set(title=f"{comparison['dataset']}: {models[0]['split']}", ylabel="percent", ylim=(0, 110))
    figure.legend(loc="outside lower center", ncols=len(scores))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
