"""It works small: an encoder trained from scratch on clips of moving sprites, against the same encoder untrained.

    python -m benchmarks.training.demo [--out train-demo] [--seeds N] [--publish]

Clips are drawn and encoded, cached, and clustered into concepts without labels; the tiny encoder is trained to tell
these apart; then a probe, few-shot, has to name the sprite on backgrounds and motions that no training clip has.
Exit status 1: the trained ones are less than 20 points ahead, on average. OUT gets figures.json and curves.png.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from benchmarks.common import save, show
from benchmarks.training.clips import SET, UNLABELLED, Sizes, make_clips
from benchmarks.training.controls import Colours, Pixels
from benchmarks.training.curves import draw_curves
from benchmarks.training.sprites import SIDE, SPRITES
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.pipelines.concepts.make import make_concepts
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.learn.frozen import TokenEncoder
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.run import run_probe
from codecsieve.pipelines.train.checkpoint import checkpoints
from codecsieve.pipelines.train.config import TrainConfig, TrainRun
from codecsieve.pipelines.train.log import LOG
from codecsieve.pipelines.train.run import export_encoder, train

AHEAD = 20.0
"""Points that trained encoders must be ahead, on average over seeds."""
DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Recipe:
    """All that is chosen, on the validation split. drawing: seed of the clips; looks: probes along the way, evenly;
    centres, labels: of concepts; the rest is as it is called where it acts.
    """

    sizes: Sizes = field(default_factory=Sizes)
    drawing: int = 0
    sieve: SieveConfig = field(default_factory=lambda: SieveConfig(num_frames=6, input_size=SIDE, k_keep=40))
    centres: int = 96
    labels: int = 5
    steps: int = 250
    looks: int = 3
    batch_size: int = 32
    rate: float = 5e-4
    scale: float = 16.0
    probe: ProbeConfig = field(
        default_factory=lambda: ProbeConfig((1e-3, 3e-3), seeds=(0, 1, 2), epochs=24, batch_size=8, eval_freq=4)
    )

    def training(self, seed: int) -> TrainConfig:
        """How the encoder is trained: few concepts, so each is held against all others."""
        return TrainConfig(
            encoder="tiny", steps=self.steps, batch_size=self.batch_size, rate=self.rate, weight_decay=0.0,
            drawn=self.labels, concept_rate=1.0, margin=0.0, filter=0.0, scale=self.scale, co_labels="masked",
            save_every=-(-self.steps // self.looks), keep=self.looks, seed=seed,
        )  # fmt: skip


@dataclass
class Stages:
    """Seconds that each stage took, told as they end."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        Console().print(f"{name}: {self.seconds[name]} s")


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("train-demo"), show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings, one by one.")
@click.option("--publish", is_flag=True, help="Also write benchmarks/results/train_demo.json and docs/train-demo.png.")
def main(out: Path, seeds: int, publish: bool) -> None:
    """Run it; print the table; write figures and curves."""
    if out.exists():
        raise click.UsageError(f"{out} must not be there; delete it, or name another --out")
    figures = run_demo(out, range(seeds), Recipe())
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    draw_curves(figures, out / "curves.png")
    show_figures(figures)
    if publish:
        save("train_demo", figures)
        draw_curves(figures, DOCS / "train-demo.png")
    if statistics.fmean(one["ahead"] for one in figures["seeds"]) < AHEAD:
        click.get_current_context().exit(1)


def run_demo(out: Path, seeds: Sequence[int], recipe: Recipe) -> dict[str, Any]:
    """Do all of it in a folder; figures as they are written. Accuracies are per cent of the test clips."""
    shared = Stages()
    with shared.stage("clips"):
        make_clips(out, recipe.sizes, recipe.drawing)
    with shared.stage("cache"):
        # Two caches: in the one that is trained on there is no label and no clip of another split.
        precompute(read_inputs([out / UNLABELLED]), out / "cache", recipe.sieve)
        manifests = [out / SET / f"{split}.csv" for split in ("train", "val", "test")]
        precompute(read_inputs(manifests), out / "labelled", recipe.sieve)
    with shared.stage("controls"):
        controls = {control.name: _probe(out, control.name, recipe, control) for control in (Pixels(), Colours())}
    return {
        "chance": 100 / len(SPRITES),
        "classes": [sprite.photo for sprite in SPRITES],
        "recipe": {**asdict(recipe), "sieve": recipe.sieve.to_dict(), "training": asdict(recipe.training(0))},
        "controls": controls,
        "seconds": shared.seconds,
        "seeds": [_one_seed(out, seed, recipe) for seed in seeds],
    }


def _one_seed(out: Path, seed: int, recipe: Recipe) -> dict[str, Any]:
    """Concepts, training, and probes of one seed."""
    stages, folder = Stages(), out / f"seed-{seed}"
    untrained = _untrained(folder / "untrained", seed)
    with stages.stage(f"seed {seed}, concepts"):
        options = {"centres": recipe.centres, "labels": recipe.labels, "seed": seed}
        made = make_concepts(out / "cache", folder / "concepts", encoder=Colours(), **options)  # type: ignore[arg-type]
    with stages.stage(f"seed {seed}, training"):
        run = TrainRun(out / "cache", folder / "concepts", folder / "run", init=str(untrained))
        trained = train(run, recipe.training(seed))
    curve = {0: _probe(out, untrained, recipe)}
    with stages.stage(f"seed {seed}, probes along the way"):
        for step in checkpoints(run.out):
            curve[step] = _probe(out, export_encoder(run.out, folder / f"step-{step}", step), recipe)
    first, last = curve[0], curve[recipe.steps]
    return {
        "seed": seed,
        "random": first,
        "trained": last,
        "ahead": round(last["test"] - first["test"], 2),
        "loss": trained.loss,
        "losses": _losses(run.out / LOG),
        "curve": [{"step": step, **found} for step, found in curve.items()],
        "concepts": dict(made.counts),
        "seconds": stages.seconds,
    }


def _untrained(folder: Path, seed: int) -> Path:
    """The tiny encoder at random initialisation: what the training begins with, and is compared with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        OneVisionEncoder(EncoderConfig.preset("tiny")).save_pretrained(folder)
    return folder


def _probe(out: Path, name: str | Path, recipe: Recipe, encoder: TokenEncoder | None = None) -> dict[str, float]:
    """Accuracies of the probe's heads, in per cent: mean on the test split, its deviation, mean on validation."""
    folder = Path(name) if encoder is None else out / name
    run = ProbeRun(out, SET, out / "labelled", str(name), folder / "probe", encoder_batch_size=32)
    report = run_probe(run, recipe.probe, encoder=encoder)
    heads = [100 * head["top1"] for head in report["test"]["seeds"]]
    return {
        "test": round(statistics.fmean(heads), 2),
        "deviation": round(statistics.stdev(heads), 2) if len(heads) > 1 else 0.0,
        "val": round(100 * report["selected_on_validation"]["top1"], 2),
    }


def _losses(log: Path) -> list[float]:
    """The loss of each step."""
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [round(event["loss"], 4) for event in events if "loss" in event]


def show_figures(figures: dict[str, Any]) -> None:
    """Print the table, and the seconds."""
    rows: list[list[Any]] = [["chance", "", figures["chance"], ""]]
    rows += [[name, one["val"], one["test"], ""] for name, one in figures["controls"].items()]
    for one in figures["seeds"]:
        rows.append([f"seed {one['seed']}, untrained", one["random"]["val"], one["random"]["test"], ""])
        rows.append([f"seed {one['seed']}, trained", one["trained"]["val"], one["trained"]["test"], one["ahead"]])
    show("Top-1 of the few-shot probe, %", ("tokens of", "validation", "test", "ahead"), rows)
    seconds = sum(figures["seconds"].values()) + sum(sum(one["seconds"].values()) for one in figures["seeds"])
    Console().print(f"{seconds:.0f} s in all")


if __name__ == "__main__":
    main()
