"""A language model learns to answer questions about clips from their tokens: the whole road, without a GPU.

    python -m benchmarks.language.demo [--out lmm-demo] [--seeds N] [--judged val|test] [--publish]

Clips of quick crossings (`crossings`) are drawn, encoded by x264 and sieved; a frozen encoder that was never trained
makes tokens of what is kept; a language model of 0.4 M parameters, random to begin with, that reads bytes, is tuned in
two stages: projector alone, then projector and language model, which are asked the hardest question alone at first. It
is asked of clips before photos that no training clip has, beside the same model fed whole frames, uniformly spaced, of
as many tokens, and the likeliest answer to each question. The two learn side by side, on one core each.
Exit status 1: fewer than 70 % are right on average, or not more than of frames.

Models and data of your own take the same stages by `benchmarks.language.tune`.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.common import save, show
from benchmarks.language.clips import make_clips
from benchmarks.language.clock import Clock
from benchmarks.language.crossings import QUESTIONS
from benchmarks.language.lessons import Recipe, learn_seed
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.language.chat import Conversation, Turn
from codecsieve.pipelines.language.conversations import read_conversations
from codecsieve.pipelines.precompute.run import precompute

LEAST = 70.0
"""Per cent of answers that must be right, on average over seeds and questions."""
ARMS = {"kept": "saliency", "frames": "sampling"}
"""What the models are fed, by the sieve's policy."""


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("lmm-demo"), show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings, one by one.")
@click.option(
    "--judged", type=click.Choice(["val", "test"]), default="test", show_default=True,
    help="Clips that questions are asked of; a recipe is chosen by val.",
)  # fmt: skip
@click.option("--publish", is_flag=True, help="Also write benchmarks/results/lmm_demo.json.")
def main(out: Path, seeds: int, judged: str, publish: bool) -> None:
    """Run it; print the table; write figures."""
    if out.exists():
        raise click.UsageError(f"{out} must not be there; delete it, or name another --out")
    figures = run_demo(out, range(seeds), Recipe(), judged)
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show_figures(figures)
    if publish:
        save("lmm_demo", figures)
    mean = {arm: figures["mean"][arm]["all"] for arm in ARMS}
    if mean["kept"] < LEAST or mean["kept"] <= mean["frames"]:
        click.get_current_context().exit(1)


def run_demo(out: Path, seeds: Sequence[int], recipe: Recipe, judged: str) -> dict[str, Any]:
    """Do all of it in a folder; figures as they are written. Accuracies are per cent of the judged clips' questions,
    seconds those of a core, but for the last.
    """
    began, clock = time.monotonic(), Clock()
    with clock.part("clips"):
        make_clips(out, recipe.sizes, judged, recipe.drawing)
    for arm, policy in ARMS.items():
        with clock.part(f"cache of {arm}"):
            precompute(read_inputs([out / "videos"]), out / arm, replace(recipe.sieve, policy=policy), workers=1)
    with ProcessPoolExecutor(len(ARMS), multiprocessing.get_context("spawn")) as pool:
        tasks = {(seed, arm): pool.submit(learn_seed, out, arm, seed, recipe, judged) for seed in seeds for arm in ARMS}
        found = {key: task.result() for key, task in tasks.items()}
    asked, learned = (read_conversations(out / f"{name}.jsonl") for name in (judged, "train"))
    arms = {arm: [{"seed": seed, **_figures(found[seed, arm], asked)} for seed in seeds] for arm in ARMS}
    return {
        "judged": judged,
        "chance": 25.0,
        "prior": _by_kind(asked, _likeliest(learned, asked)),
        "mean": {arm: _mean(own) for arm, own in arms.items()},
        **arms,
        "seconds": clock.seconds,
        "seconds, most of a seed of kept with clips and cache": _whole(clock.seconds, arms["kept"]),
        "seconds, all, by the clock": round(time.monotonic() - began, 1),
        "recipe": {**asdict(recipe), "sieve": recipe.sieve.to_dict()},
    }


def _figures(found: dict[str, Any], asked: Sequence[Conversation]) -> dict[str, Any]:
    """What a model was found to answer, by kind of question, and what it took."""
    return {**_by_kind(asked, found["right"]), "losses": found["losses"], "seconds": found["seconds"]}


def _mean(seeds: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {kind: round(statistics.fmean(one[kind] for one in seeds), 2) for kind in (*QUESTIONS, "all")}


def _whole(shared: dict[str, float], seeds: Sequence[dict[str, Any]]) -> float:
    longest = max(sum(one["seconds"].values()) for one in seeds)
    return round(shared["clips"] + shared["cache of kept"] + longest, 1)


def _likeliest(train: Sequence[Conversation], asked: Sequence[Conversation]) -> list[bool]:
    """Whether the commonest training answer to each question is right, which is all that can be said without a clip."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in train:
        for question, answer in zip(one.turns[::2], one.turns[1::2], strict=True):
            counts[_kind(question)][answer.text] += 1
    return [one.turns[1].text == counts[_kind(one.turns[0])].most_common(1)[0][0] for one in asked]


def _by_kind(asked: Sequence[Conversation], right: Sequence[bool]) -> dict[str, float]:
    """Per cent that are right, of each kind of question and of all."""
    found = {
        kind: statistics.fmean(ok for one, ok in zip(asked, right, strict=True) if _kind(one.turns[0]) == kind)
        for kind in QUESTIONS
    }
    return {kind: round(100 * part, 2) for kind, part in {**found, "all": statistics.fmean(right)}.items()}


def _kind(question: Turn) -> str:
    (kind,) = (kind for kind, text in QUESTIONS.items() if question.text.endswith(text))
    return kind


def show_figures(figures: dict[str, Any]) -> None:
    """Print the table, and the seconds."""
    kinds = [*QUESTIONS, "all"]
    rows = [["the likeliest answer", *(figures["prior"][kind] for kind in kinds)]]
    for arm in ARMS:
        rows += [[f"{arm}, seed {one['seed']}", *(one[kind] for kind in kinds)] for one in figures[arm]]
        rows.append([f"{arm}, mean", *(figures["mean"][arm][kind] for kind in kinds)])
    show(f"Questions of {figures['judged']} clips answered word for word, %", ("fed", *kinds), rows)
    whole, all_ = (
        figures[f"seconds, {name}"] for name in ("most of a seed of kept with clips and cache", "all, by the clock")
    )
    Console().print(f"a seed of kept, clips and cache included: {whole:.0f} s of a core; {all_:.0f} s in all")


if __name__ == "__main__":
    main()
