"""A language model learns to answer questions about clips from their tokens: the whole road, without a GPU.

    python -m benchmarks.language.demo [--out lmm-demo] [--seeds N] [--publish]

Clips of quick crossings (`crossings`) are drawn, encoded by x264 and sieved; a frozen encoder that was never trained
makes tokens of what is kept; a language model of 0.8 M parameters, random to begin with, that reads bytes, is tuned in
two stages: projector alone, then projector and language model. It is asked of clips before photos that no training
clip has, beside the same model fed whole frames, uniformly spaced, of as many tokens, and the likeliest answer to each
question. Exit status 1: fewer than 70 % are right on average, or not more than of frames.

Models and data of your own take the same stages by `benchmarks.language.tune`.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from benchmarks.common import save, show
from benchmarks.language.clips import Sizes, make_clips
from benchmarks.language.crossings import QUESTIONS, SIDE
from benchmarks.language.models import TowerTokens, tiny_models, tiny_tower
from benchmarks.language.questions import judge, learn
from benchmarks.training.demo import Stages
from codecsieve.cache import open_cache
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.language.chat import Conversation
from codecsieve.pipelines.language.conversations import Samples, read_conversations
from codecsieve.pipelines.language.training import Stage
from codecsieve.pipelines.learn.frozen import cached_features
from codecsieve.pipelines.precompute.run import precompute

LEAST = 70.0
"""Per cent of answers that must be right, on average over seeds and questions."""
ARMS = {"kept": "saliency", "frames": "sampling"}
"""What the models are fed, by the sieve's policy."""


@dataclass(frozen=True)
class Recipe:
    """All that is chosen. sieve: of both arms, but for the policy; batch_size: conversations of a step."""

    sizes: Sizes = field(default_factory=Sizes)
    drawing: int = 0
    sieve: SieveConfig = field(
        default_factory=lambda: SieveConfig.preset("contrast", num_frames=48, input_size=SIDE, k_keep=108)
    )
    stages: tuple[Stage, ...] = (
        Stage(50, {"projector": 1e-3, "places": 1e-3}),
        Stage(650, {"projector": 1e-3, "places": 1e-3, "language_model": 1e-3}),
    )
    batch_size: int = 16


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("lmm-demo"), show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings, one by one.")
@click.option("--publish", is_flag=True, help="Also write benchmarks/results/lmm_demo.json.")
def main(out: Path, seeds: int, publish: bool) -> None:
    """Run it on one core; print the table; write figures."""
    if out.exists():
        raise click.UsageError(f"{out} must not be there; delete it, or name another --out")
    torch.set_num_threads(1)
    figures = run_demo(out, range(seeds), Recipe())
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show_figures(figures)
    if publish:
        save("lmm_demo", figures)
    mean = {arm: statistics.fmean(one[arm]["all"] for one in figures["seeds"]) for arm in ARMS}
    if mean["kept"] < LEAST or mean["kept"] <= mean["frames"]:
        click.get_current_context().exit(1)


def run_demo(out: Path, seeds: Sequence[int], recipe: Recipe) -> dict[str, Any]:
    """Do all of it in a folder; figures as they are written. Accuracies are per cent of the test clips' questions."""
    shared = Stages()
    with shared.stage("clips"):
        make_clips(out, recipe.sizes, recipe.drawing)
    for arm, policy in ARMS.items():
        with shared.stage(f"cache of {arm}"):
            sieve = replace(recipe.sieve, policy=policy)
            precompute(read_inputs([out / "videos"]), out / arm, sieve, workers=1)
    said = {split: read_conversations(out / f"{split}.jsonl") for split in ("train", "test")}
    return {
        "chance": 25.0,
        "prior": _by_kind(said["test"], _likeliest(said["train"], said["test"])),
        "recipe": {**asdict(recipe), "sieve": recipe.sieve.to_dict()},
        "seconds": shared.seconds,
        "seeds": [_one_seed(out, seed, recipe, said) for seed in seeds],
    }


def _one_seed(out: Path, seed: int, recipe: Recipe, said: dict[str, list[Conversation]]) -> dict[str, Any]:
    """Tokens, training and questions of one seed, which draws encoder, language model and order alike for both arms."""
    stages, found = Stages(), {}
    for arm in ARMS:
        cache = open_cache(out / arm)
        with stages.stage(f"seed {seed}, tokens of {arm}"):
            tower = tiny_tower(seed, recipe.sieve.input_size, recipe.sieve.patch_size)
            tokens = TowerTokens(tower, "untrained")
            features = cached_features(cache, range(len(cache)), tokens, out / f"{arm}-{seed}", batch_size=32)
        samples = {split: Samples(cache, conversations, features) for split, conversations in said.items()}
        models = tiny_models(seed, tower.hidden_size)
        with stages.stage(f"seed {seed}, training on {arm}"):
            losses = learn(models, samples["train"], recipe.stages, recipe.batch_size, seed)
        with stages.stage(f"seed {seed}, questions on {arm}"):
            right = judge(models, samples["test"], 48)
        found[arm] = {**_by_kind(said["test"], right), "losses": [round(loss, 4) for one in losses for loss in one]}
    parameters = sum(value.numel() for value in models.model.language_model.parameters())
    return {"seed": seed, **found, "parameters": parameters, "seconds": stages.seconds}


def _likeliest(train: Sequence[Conversation], test: Sequence[Conversation]) -> list[bool]:
    """Whether the commonest training answer to each question is right, which is all that can be said without a clip."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in train:
        counts[_kind(one)][one.turns[-1].text] += 1
    return [one.turns[-1].text == counts[_kind(one)].most_common(1)[0][0] for one in test]


def _by_kind(asked: Sequence[Conversation], right: Sequence[bool]) -> dict[str, float]:
    """Per cent that are right, of each kind of question and of all."""
    found = {
        kind: statistics.fmean(ok for one, ok in zip(asked, right, strict=True) if _kind(one) == kind)
        for kind in QUESTIONS
    }
    return {kind: round(100 * part, 2) for kind, part in {**found, "all": statistics.fmean(right)}.items()}


def _kind(conversation: Conversation) -> str:
    return conversation.id.rpartition("-")[2]


def show_figures(figures: dict[str, Any]) -> None:
    """Print the table, and the seconds."""
    kinds = [*QUESTIONS, "all"]
    rows = [["the likeliest answer", *(figures["prior"][kind] for kind in kinds)]]
    for one in figures["seeds"]:
        rows += [[f"seed {one['seed']}, {arm}", *(one[arm][kind] for kind in kinds)] for arm in ARMS]
    show("Questions answered word for word, %", ("fed", *kinds), rows)
    seconds = sum(figures["seconds"].values()) + sum(sum(one["seconds"].values()) for one in figures["seeds"])
    Console().print(f"{seconds:.0f} s in all")


if __name__ == "__main__":
    main()
