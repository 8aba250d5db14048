"""The encoder's forward pass against transformers' own ViT of the same size, at the same number of tokens.

Both take embedded inputs of one clip through the same number of blocks with torch's attention: the encoder K patches at
their positions, the ViT a square picture of K patches. They are timed in turn, so that a noisy machine is as noisy for
both. The encoder is timed up to its last hidden state as well as with its pooling head, which the ViT has not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import torch
import transformers

from benchmarks.common import save, show
from codecsieve.encoder import EncoderConfig, OneVisionEncoder

SIZES = (("tiny", 256), ("tiny", 1024), ("small", 256), ("small", 1024), ("base", 256))
"""Preset and tokens; the tokens are the square of a whole number, which the ViT's picture needs."""


@click.command(help=__doc__)
@click.option("--repeats", default=15, show_default=True, help="Passes of each, in turn; medians are given.")
@click.option("--threads", default=1, show_default=True, help="Of torch.")
def main(repeats: int, threads: int) -> None:
    """Time every size, print the table, write the JSON."""
    torch.set_num_threads(threads)
    rows = [_measured(preset, tokens, repeats) for preset, tokens in SIZES]
    columns = ["size", "tokens", "encoder ms", "with pooling ms", "ViT ms", "encoder / ViT"]
    show("Forward pass, one clip, float32", columns, [list(row.values()) for row in rows])
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    save("encoder", {"versions": versions, "threads": threads, "repeats": repeats, "passes": rows})


def _measured(preset: str, tokens: int, repeats: int) -> dict[str, Any]:
    config = EncoderConfig.preset(preset)
    encoder = OneVisionEncoder(config).eval()
    headless = OneVisionEncoder(EncoderConfig.from_dict(config.to_dict() | {"use_head": False})).eval()
    side = round(tokens**0.5)
    vit = transformers.ViTModel(
        transformers.ViTConfig(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            image_size=side * config.patch_size,
            patch_size=config.patch_size,
            attn_implementation="sdpa",
        ),
        add_pooling_layer=False,
    ).eval()
    patches = torch.randn(1, tokens, 3, config.patch_size, config.patch_size)
    positions = torch.stack(torch.meshgrid(*map(torch.arange, (1, side, side)), indexing="ij"), -1).reshape(1, -1, 3)
    picture = torch.randn(1, 3, side * config.patch_size, side * config.patch_size)
    passes: dict[str, Callable[[], Any]] = {
        "encoder": lambda: headless(patches=patches, positions=positions),
        "with pooling": lambda: encoder(patches=patches, positions=positions),
        "vit": lambda: vit(pixel_values=picture),
    }
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    with torch.inference_mode():
        for number in range(repeats + 2):
            for name, run in passes.items():
                begun = time.perf_counter()
                run()
                if number >= 2:
                    seconds[name].append(time.perf_counter() - begun)
    median = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    ratio = statistics.median(a / b for a, b in zip(seconds["encoder"], seconds["vit"], strict=True))
    return {
        "size": preset,
        "tokens": tokens,
        "encoder_ms": median["encoder"],
        "with_pooling_ms": median["with pooling"],
        "vit_ms": median["vit"],
        "encoder_of_vit": ratio,
    }


if __name__ == "__main__":
    main()
