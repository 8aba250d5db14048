"""The concepts' loss beside the rest of a training step, by the number of centres and the tokens of a clip.

    python -m benchmarks.speed.concept_loss [--device cuda]

Everything takes turns in one run: the encoder's part of a step (forward, backward, AdamW) for each number of tokens;
for each number of centres the loss (forward and backward, from embeddings), then what the bank takes beside it: its
gradient clipped by its norm, and AdamW over all of it, as torch does it by default and fused. Shares are of encoder and
loss together, turn by turn. One step with the loss's gradients through the encoder shows that the parts add up. Labels
are random, and the learning rate is 0, so that each turn has the same weights; all else is as `codecsieve train` has it
by default.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import click
import torch
from torch import Tensor, nn

from benchmarks.common import save, show
from benchmarks.speed.encoder_models import make_encoder, tokens_of
from benchmarks.speed.turns import Bench
from codecsieve.encoder.concept_head import ConceptHead, ConceptOptions

ROWS = 16  # of patches; the columns follow from the tokens
LABELS = 10
TOKENS = (128, 256, 512)
CENTRES = (10_000, 100_000, 400_000)
WHOLE = (256, 100_000)
"""Tokens and centres of the step that is also taken as one."""
BANK = ("loss", "clipping", "AdamW", "fused AdamW")


@click.command(help=__doc__)
@click.option("--preset", default="tiny", show_default=True, help="Of the encoder.")
@click.option("--clips", default=32, show_default=True, help="Of a step.")
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda.")
@click.option("--repeats", default=7, show_default=True, help="Turns; medians are given.")
@click.option("--threads", default=1, show_default=True, help="Of torch, on a processor.")
def main(preset: str, clips: int, device: str, repeats: int, threads: int) -> None:
    """Time everything, print the tables, write the JSON."""
    torch.set_num_threads(threads)
    on_gpu = device != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise click.ClickException("no NVIDIA GPU that torch can use; run this on a machine that has one")
    bench = Bench(torch.device(device), torch.float32, repeats)
    passes: dict[str, Callable[[], object]] = {}
    for tokens in TOKENS:
        passes |= encoder_passes(bench, preset, tokens, clips)
    width = make_encoder(preset, bench).config.hidden_size
    for centres in CENTRES:
        passes |= bank_passes(bench, centres, width, clips)
    taken = bench.milliseconds(passes)
    about: dict[str, Any] = {
        "versions": {"torch": torch.__version__},
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "threads": threads,
        "repeats": repeats,
        "preset": preset,
        "clips": clips,
    }
    gpu = "".join(f"-{word}" for word in about["device"].lower().split()) if on_gpu else ""
    save("concept_loss" + gpu, {**about, **summary(taken)})


def encoder_passes(bench: Bench, preset: str, tokens: int, clips: int) -> dict[str, Callable[[], object]]:
    """The encoder's part of a step of so many tokens, and the whole step where it is that of `WHOLE`."""
    model = make_encoder(preset, bench).train()
    given = tokens_of((ROWS, tokens // ROWS), bench, clips)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0)

    def of_encoder() -> None:
        _step(optimiser, lambda: model(**given).pooler_output.square().sum())

    passes: dict[str, Callable[[], object]] = {f"encoder {tokens}": of_encoder}
    if tokens == WHOLE[0]:
        head, labels = _head(bench, WHOLE[1], model.config.hidden_size, clips)

        def whole() -> None:
            head.weight.grad = None
            _step(optimiser, lambda: head(model(**given).pooler_output, labels))

        passes["whole"] = whole
    return passes


def bank_passes(bench: Bench, centres: int, width: int, clips: int) -> dict[str, Callable[[], object]]:
    """A loss, and what is done with the gradient that it leaves."""
    head, labels = _head(bench, centres, width, clips)
    embeddings = torch.randn(clips, width, device=bench.device, requires_grad=True)

    def loss() -> None:
        head.weight.grad = embeddings.grad = None
        head(embeddings, labels).backward()

    passes: dict[str, Callable[[], object]] = {
        f"loss {centres}": loss,
        f"clipping {centres}": lambda: nn.utils.clip_grad_norm_([head.weight], 5.0),
        f"AdamW {centres}": torch.optim.AdamW([head.weight], lr=0.0).step,
        f"fused AdamW {centres}": torch.optim.AdamW([head.weight], lr=0.0, fused=True).step,
    }
    assert [name.rpartition(" ")[0] for name in passes] == list(BANK)
    return passes


def summary(taken: dict[str, list[float]]) -> dict[str, Any]:
    """Tables, shown and returned: medians in ms, and shares of the loss in a step in per cent."""
    median = {name: statistics.median(times) for name, times in taken.items()}
    bank = [{"centres": c, **{f"{name}_ms": median[f"{name} {c}"] for name in BANK}} for c in CENTRES]
    show("A bank of centres, ms", ["centres", *BANK], [[*row.values()] for row in bank])
    shares = [
        {
            "tokens": tokens,
            "encoder_ms": median[f"encoder {tokens}"],
            **{f"loss_{c}_percent": _share(taken[f"loss {c}"], taken[f"encoder {tokens}"]) for c in CENTRES},
        }
        for tokens in TOKENS
    ]
    columns = ["tokens", "encoder ms", *(f"{c} centres, %" for c in CENTRES)]
    show("The loss's part of encoder and loss", columns, [[*row.values()] for row in shares])
    parts = median[f"encoder {WHOLE[0]}"] + median[f"loss {WHOLE[1]}"]
    whole = {"tokens": WHOLE[0], "centres": WHOLE[1], "whole_ms": median["whole"], "parts_ms": parts}
    show("One whole step", list(whole), [[*whole.values()]])
    return {"bank": bank, "shares": shares, "whole": whole}


def _share(part: Sequence[float], rest: Sequence[float]) -> float:
    return statistics.median(100 * one / (one + other) for one, other in zip(part, rest, strict=True))


def _head(bench: Bench, centres: int, width: int, clips: int) -> tuple[ConceptHead, Tensor]:
    head = ConceptHead(centres, width, ConceptOptions()).to(bench.device)
    return head, torch.randint(centres, (clips, LABELS), device=bench.device)


def _step(optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
    optimiser.zero_grad()
    loss().backward()
    optimiser.step()


if __name__ == "__main__":
    main()
