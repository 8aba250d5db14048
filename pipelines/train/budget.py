"""What a training will take, before it is begun: parameters, memory by part, operations a step, tokens a second.

What the encoder keeps for its backward pass is counted, not guessed: its forward pass is run on tensors that have
shapes and no memory. Parts whose size does not depend on the weights are arithmetic.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from codecsieve.encoder import EncoderConfig, OneVisionEncoder

from .config import TrainConfig

_PEAK = 0.4
"""Part of a processor's peak that a training is taken to reach, for the pace of the loader."""


@dataclass(frozen=True)
class HeadSize:
    """What a head is over: classes of its bank; tokens and labels of a clip; clips of a step, over all processes."""

    classes: int
    tokens: int
    labels: int
    batch_size: int


@dataclass(frozen=True)
class Budget:
    """Of one process. Counts, bytes, and operations of one step; parts: bytes by what they are for."""

    parameters: int
    centres: int
    parts: dict[str, int]
    operations: float
    tokens: int

    @property
    def nbytes(self) -> int:
        """All of it, at once."""
        return sum(self.parts.values())

    def tokens_per_second(self, peak: float) -> float:
        """Tokens that the loader must bring, for a device of so many operations a second at its best."""
        return self.tokens * peak * _PEAK / self.operations


def budget(config: TrainConfig, heads: Sequence[HeadSize], ranks: int = 1, bfloat16: bool = False) -> Budget:
    """What a process of so many takes. bfloat16: whether the encoder computes in it.

    Heads take their turns: what is kept for the backward pass is that of one, the largest.
    """
    encoder = EncoderConfig.preset(config.encoder)
    width = encoder.hidden_size
    with FakeTensorMode():
        model = OneVisionEncoder(encoder)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        kept, operations, tokens = [], 0.0, 0
        for head in heads:
            clips = head.batch_size // (ranks * config.accumulation)
            one = _kept(model, config, 1, head.tokens, bfloat16)
            two = _kept(model, config, 2, head.tokens, bfloat16)
            # What is kept once, whatever the number of clips, such as weights in bfloat16, and what each clip adds.
            kept.append(one + (clips - 1) * (two - one))
            # Forward, and twice as much backward.
            operations += (4 if config.recompute else 3) * _operations(model, clips, head.tokens)
            operations += _loss_operations(config, head, ranks, width)
            tokens += clips * head.tokens
    own, number = sum(-(-head.classes // ranks) for head in heads), _number(config)
    parts = {
        "weights": parameters * number,
        "gradients": parameters * number,
        "AdamW": 2 * parameters * number,
        "moving average": parameters * number if config.average else 0,
        "centres, their gradients and AdamW": 4 * own * width * number,
        "concept loss": max(_loss_bytes(config, head, ranks) for head in heads),
        "activations": max(kept) * number // 4,  # they were those of float32
    }
    return Budget(parameters, own * width, parts, operations * config.accumulation, tokens * config.accumulation)


def _number(config: TrainConfig) -> int:
    """Bytes of a weight."""
    return 8 if config.precision == "float64" else 4


def _loss_bytes(config: TrainConfig, head: HeadSize, ranks: int) -> int:
    """At its most: either while classes are drawn, or while they are told apart."""
    own = -(-head.classes // ranks)
    columns, everyone = min(config.drawn, head.labels), head.batch_size // config.accumulation
    number = _number(config)
    # Numbers for each column and class, twice, and whether it is chosen, twice.
    drawing = columns * own * 2 * (8 + 1)
    # Cosines, their slopes, which are filtered, and the chosen classes of each column with their part of it.
    telling = everyone * own * (2 * number + 1)
    telling += columns * int(config.concept_rate * own) * (everyone * number + 8)
    return max(drawing, telling)


def _loss_operations(config: TrainConfig, head: HeadSize, ranks: int, width: int) -> float:
    """Three products of embeddings and centres."""
    return 3 * 2 * (head.batch_size // config.accumulation) * -(-head.classes // ranks) * width


def kept_bytes(act: Callable[[], object], weights: nn.Module) -> int:
    """Bytes that what is done keeps for its backward pass, weights left out, each piece of memory counted once."""
    own = {parameter.untyped_storage()._cdata for parameter in weights.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that nothing else comes to lie where they are

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        act()
    return sum(kept.values())


def _kept(model: OneVisionEncoder, config: TrainConfig, clips: int, tokens: int, bfloat16: bool) -> int:
    """Of an encoder's forward pass."""
    patches, positions = _clips(model, clips, tokens)
    model.train()
    model.set_gradient_checkpointing(config.recompute)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is slow on a processor, where none of it is done
        return kept_bytes(lambda: model(patches=patches, positions=positions), model)


def _operations(model: OneVisionEncoder, clips: int, tokens: int) -> float:
    """Operations of a forward pass."""
    patches, positions = _clips(model, clips, tokens)
    # Attention in plain products: those of the processor's own kernel are not counted.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(patches=patches, positions=positions)
    return float(counter.get_total_flops())


def _clips(model: OneVisionEncoder, clips: int, tokens: int) -> tuple[Tensor, Tensor]:
    side = model.config.patch_size
    return torch.empty(clips, tokens, 3, side, side, dtype=torch.uint8), torch.zeros(
        clips, tokens, 3, dtype=torch.int64
    )
