"""A forward pass and a training step: floating-point operations, memory, time.

Operations are counted, not measured, for the published size too. A step is a forward and a backward pass of the sum of
squares of the last hidden state; no optimiser. Kept is what the backward pass needs of the forward one, a peak what a
GPU holds on top of the weights, gradients included. flash-attn is left out where it cannot run,
and eager attention shows what kernels spare.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import show
from benchmarks.speed.encoder_models import Grid, make_encoder, make_vit, picture_of, tokens_of
from benchmarks.speed.turns import Bench

ROWS = 32  # of patches; the columns follow from the tokens


@dataclass(frozen=True)
class Shape:
    """A preset, tokens of a clip, clips of a batch."""

    preset: str
    tokens: int
    clips: int

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches. Raises ValueError for tokens that have none."""
        if self.tokens % ROWS:
            raise ValueError(f"tokens ({self.tokens}) must be a multiple of {ROWS}")
        return ROWS, self.tokens // ROWS


PUBLISHED = Shape("large", 2048, 1)
ON_GPU = Shape("large", 2048, 2)
ON_CPU = Shape("base", 512, 1)
"""A large step of 2048 tokens takes a processor minutes."""


def step(bench: Bench, shape: Shape) -> dict[str, Any]:
    """The section."""
    counted = [operations(PUBLISHED), operations(shape)]
    show(
        "Forward pass of a clip, 1e9 operations",
        ["size", "tokens", "encoder", "ViT"],
        [[*row.values()] for row in counted],
    )
    rows = _measured(bench, shape)
    columns = ["model", "attention", "forward ms", "forward peak MB", "step ms", "kept MB", "step peak MB"]
    title = f"{shape.preset}, {shape.clips} x {shape.tokens} tokens"
    show(title, columns, [[*row.values()] for row in rows])
    return {"operations": counted, "preset": shape.preset, "tokens": shape.tokens, "clips": shape.clips, "models": rows}


def operations(shape: Shape) -> dict[str, Any]:
    """Operations of a forward pass: every product and sum of its matrix products and convolutions."""
    nowhere = Bench(torch.device("meta"), torch.float32, 0)
    found = {}
    for name, run in _runs(nowhere, Shape(shape.preset, shape.tokens, 1), "sdpa").items():
        with FlopCounterMode(display=False) as counter:
            run[1]()
        found[name] = counter.get_total_flops() / 1e9
    return {"size": shape.preset, "tokens": shape.tokens, "encoder": found["encoder"], "vit": found["ViT"]}


def _measured(bench: Bench, shape: Shape) -> list[dict[str, Any]]:
    named = {
        (name, attention): run
        for attention in _attentions(bench.device)
        for name, run in _runs(bench, shape, attention).items()
    }
    forward = {" ".join(key): _without_gradients(run) for key, (_, run) in named.items()}
    steps = {" ".join(key): _with_gradients(model, run) for key, (model, run) in named.items()}
    forward_ms, step_ms = bench.medians(forward), bench.medians(steps)
    return [
        {
            "model": name,
            "attention": attention,
            "forward_ms": forward_ms[f"{name} {attention}"],
            "forward_peak_mb": bench.peak_mb(forward[f"{name} {attention}"]),
            "step_ms": step_ms[f"{name} {attention}"],
            "kept_mb": kept_mb(*named[name, attention]),
            "step_peak_mb": bench.peak_mb(steps[f"{name} {attention}"]),
        }
        for name, attention in named
    ]


def _runs(bench: Bench, shape: Shape, attention: str) -> dict[str, tuple[nn.Module, Callable[[], torch.Tensor]]]:
    """Both models, and what gives their last hidden state."""
    encoder = make_encoder(shape.preset, bench, attention, use_head=False)
    vit = make_vit(shape.preset, shape.grid, bench, attention)
    tokens = tokens_of(shape.grid, bench, shape.clips)
    picture = picture_of(shape.grid, bench, shape.clips)
    return {
        "encoder": (encoder, lambda: encoder(**tokens).last_hidden_state),
        "ViT": (vit, lambda: vit(pixel_values=picture).last_hidden_state),
    }


def kept_mb(model: nn.Module, run: Callable[[], torch.Tensor]) -> float:
    """What a forward pass keeps for the backward one, besides the weights; each storage once."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = run()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    del output  # until here, so that no storage's address was given out twice
    return sum(size for address, size in kept.items() if address not in weights) / 2**20


def _attentions(device: torch.device) -> list[str]:
    found = ["sdpa", "eager"]
    if device.type == "cuda":
        with contextlib.suppress(ImportError):
            import flash_attn  # noqa: F401

            found.insert(1, "flash_attention_2")
    return found


def _without_gradients(run: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def forward() -> None:
        with torch.inference_mode():
            run()

    return forward


def _with_gradients(model: nn.Module, run: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def forward_and_backward() -> None:
        run().square().sum().backward()
        model.zero_grad()  # so that the next one's memory counts them again

    return forward_and_backward
