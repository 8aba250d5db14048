"""The two stages of the demonstration on models and data of your own.

    python -m benchmarks.language.tune --language-model Qwen/Qwen3-0.6B --encoder FOLDER_OR_HUB_ID --cache CACHE
        --train train.jsonl --test test.jsonl --out tuned

The conversations are lines as LLaVA-Video has them, `codecsieve precompute` made the cache of their videos. The encoder
stays as it is. OUT gets the language model, and `projector.safetensors`.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import click
from rich.console import Console
from safetensors.torch import save_file

from benchmarks.language.models import load_models
from benchmarks.language.questions import judge, learn
from codecsieve.cache import open_cache
from codecsieve.pipelines.language.conversations import Samples, read_conversations
from codecsieve.pipelines.language.training import Stage

_FILE = click.Path(path_type=Path, exists=True)


@click.command(help=__doc__)
@click.option("--language-model", required=True, help="Folder or hub id of a causal language model that knows ChatML.")
@click.option("--encoder", required=True, help="Folder or hub id.")
@click.option("--cache", type=_FILE, required=True)
@click.option("--train", "train_on", type=_FILE, required=True, help="Conversations, JSONL.")
@click.option("--test", "ask", type=_FILE, required=True, help="Those whose last answers are asked for at the end.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--align-steps", type=click.IntRange(min=1), default=500, show_default=True, help="Projector alone.")
@click.option("--align-rate", type=float, default=1e-3, show_default=True)
@click.option("--tune-steps", type=click.IntRange(min=1), default=2000, show_default=True, help="All but the encoder.")
@click.option("--tune-rate", type=float, default=1e-5, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    language_model: str,
    encoder: str,
    cache: Path,
    train_on: Path,
    ask: Path,
    out: Path,
    align_steps: int,
    align_rate: float,
    tune_steps: int,
    tune_rate: float,
    batch_size: int,
    device: str,
    seed: int,
) -> None:
    """Learn, write, and ask."""
    if out.exists():
        raise click.UsageError(f"{out} must not be there; delete it, or name another --out")
    opened = open_cache(cache)
    samples = [Samples(opened, read_conversations(path)) for path in (train_on, ask)]
    models = load_models(language_model, encoder)
    models.model.to(device)
    tuned = {"projector": tune_rate, "language_model": tune_rate}
    stages = (Stage(align_steps, {"projector": align_rate}), Stage(tune_steps, tuned))
    losses = learn(models, samples[0], stages, batch_size, seed)
    out.mkdir(parents=True)
    models.model.language_model.save_pretrained(out)
    models.chat.tokenizer.save_pretrained(out)
    save_file(models.model.projector.state_dict(), out / "projector.safetensors")
    right = statistics.fmean(judge(models, samples[1], batch_size))
    Console().print(f"loss {losses[-1][-1]:.3g}; {100 * right:.1f} % of {len(samples[1])} answers right; {out}")


if __name__ == "__main__":
    main()
