"""The encoder's passes: against transformers' own ViT of the same size, with clips of different K, and a whole step.

    python -m benchmarks.speed.encoder [--device cuda]

Three sections: the forward pass of several sizes; packed clips of different K against padded ones and one by one; and
work, memory and time of a pass and of a training step, for the size that is published. Both models take embedded inputs
through the same number of blocks with torch's attention: the encoder K patches at their positions, the ViT a picture of
K patches. The encoder is timed up to its last hidden state as well as with its pooling head, which the ViT has not.
On a GPU everything is bfloat16, flash-attn is measured where it is installed, and JSON is named after the GPU.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import click
import torch
import transformers

from benchmarks.common import save, show
from benchmarks.speed.encoder_models import make_encoder, make_vit, picture_of, tokens_of
from benchmarks.speed.encoder_packed import packed
from benchmarks.speed.encoder_step import ON_CPU, ON_GPU, Shape, step
from benchmarks.speed.turns import Bench

SIZES = (("tiny", (16, 16)), ("tiny", (32, 32)), ("small", (16, 16)), ("small", (32, 32)), ("base", (16, 16)))
"""Preset, and rows and columns of patches."""
SECTIONS = ("passes", "packed", "step")


@click.command(help=__doc__)
@click.option(
    "--section", "sections", multiple=True, type=click.Choice(SECTIONS), default=SECTIONS, help="Only this one."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda.")
@click.option("--repeats", default=15, show_default=True, help="Passes of each, in turn; medians are given.")
@click.option("--step-repeats", default=3, show_default=True, help="The same for the section `step`.")
@click.option("--threads", default=1, show_default=True, help="Of torch, on a processor.")
@click.option("--preset", help="Of the section `step`. [default: large on a GPU, base on a processor]")
@click.option("--tokens", type=int, help="Of a clip there, a multiple of 32. [default: 2048; 512]")
def main(
    sections: Sequence[str],
    device: str,
    repeats: int,
    step_repeats: int,
    threads: int,
    preset: str | None,
    tokens: int | None,
) -> None:
    """Time the sections, print the tables, write the JSON of each."""
    torch.set_num_threads(threads)
    on_gpu = device != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise click.ClickException("no NVIDIA GPU that torch can use; run this on a machine that has one")
    bench = Bench(torch.device(device), torch.bfloat16 if on_gpu else torch.float32, repeats)
    usual = ON_GPU if on_gpu else ON_CPU
    shape = Shape(preset or usual.preset, tokens or usual.tokens, usual.clips)
    measures: dict[str, Callable[[], Any]] = {
        "passes": lambda: passes(bench),
        "packed": lambda: packed(bench),
        "step": lambda: step(Bench(bench.device, bench.dtype, step_repeats), shape),
    }
    about: dict[str, Any] = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "dtype": str(bench.dtype).removeprefix("torch."),
        "threads": threads,
    }
    for section in sections:
        times = step_repeats if section == "step" else repeats
        name = "encoder" if section == "passes" else f"encoder_{section}"
        gpu = "".join(f"-{word}" for word in about["device"].lower().split()) if on_gpu else ""
        save(name + gpu, {**about, "repeats": times, section: measures[section]()})


def passes(bench: Bench) -> list[dict[str, Any]]:
    """The section; ms."""
    rows = [_pass(bench, *size) for size in SIZES]
    columns = ["size", "tokens", "encoder ms", "with pooling ms", "ViT ms", "encoder / ViT"]
    show(
        f"Forward pass, one clip, {str(bench.dtype).removeprefix('torch.')}", columns, [[*row.values()] for row in rows]
    )
    return rows


def _pass(bench: Bench, preset: str, grid: tuple[int, int]) -> dict[str, Any]:
    encoder, headless = make_encoder(preset, bench), make_encoder(preset, bench, use_head=False)
    vit = make_vit(preset, grid, bench)
    tokens, picture = tokens_of(grid, bench), picture_of(grid, bench)
    runs: dict[str, Callable[[], Any]] = {
        "encoder": lambda: headless(**tokens),
        "with pooling": lambda: encoder(**tokens),
        "vit": lambda: vit(pixel_values=picture),
    }
    with torch.inference_mode():
        taken = bench.milliseconds(runs)
    median = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "size": preset,
        "tokens": grid[0] * grid[1],
        "encoder_ms": median["encoder"],
        "with_pooling_ms": median["with pooling"],
        "vit_ms": median["vit"],
        "encoder_of_vit": statistics.median(a / b for a, b in zip(taken["encoder"], taken["vit"], strict=True)),
    }


if __name__ == "__main__":
    main()
