"""Fine-tuning in stages, as LLaVA does: first the projector alone, then all parts, each at a rate of its own.

    ALIGN = Stage(500, {"projector": 1e-3})
    TUNE = Stage(2000, {"projector": 1e-5, "language_model": 1e-5, "tower": 2e-6})
    for stage in (ALIGN, TUNE):
        losses = run_stage(model, stage, batches)

For one process, and models that fit its memory: what more there is to training (many GPUs, checkpoints, mixed
precision) transformers' Trainer does, which takes `VideoLanguageModel` and the batches of `collate` as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codecsieve.errors import ConfigError, TrainingError
from codecsieve.pipelines.language.collate import NOT_LEARNED
from codecsieve.pipelines.language.model import VideoLanguageModel

PARTS = ("projector", "places", "language_model", "tower")


@dataclass(frozen=True)
class Stage:
    """steps: batches; rates: the highest learning rate of each part that is trained, of `PARTS`; warm_up: part of the
    steps in which rates rise, from when on they fall as a cosine does; weight_decay: AdamW's; most: norm that gradients
    are cut to.
    """

    steps: int
    rates: Mapping[str, float]
    warm_up: float = 0.03
    weight_decay: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        wrong = sorted(set(self.rates) - set(PARTS))
        if wrong or not self.rates:
            raise ConfigError(f"rates (of {', '.join(wrong) or 'nothing'}) must be of {', '.join(PARTS)}")
        if self.steps <= 0:
            raise ConfigError(f"steps ({self.steps}) must be > 0")

    def part_of_rate(self, step: int) -> float:
        """What a rate is of its highest in a step, 0 to 1."""
        rising = math.ceil(self.warm_up * self.steps)
        if step < rising:
            return (step + 1) / rising
        return (1 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising))) / 2


def run_stage(
    model: VideoLanguageModel,
    stage: Stage,
    batches: Iterable[dict[str, Tensor]],
    told: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
    """Train the parts that a stage names, and no other; the loss of each step.

    batches: as `collate` makes them, on the model's device, as many as steps or more; told: called after each step.
    Raises TrainingError where the loss is no number any more, ConfigError where there are too few batches, one without
    an answer, or for a part that the model does not have.
    """
    optimiser = _optimiser(model, stage)
    trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    losses, left = [], iter(batches)
    for step in range(stage.steps):
        for group, rate in zip(optimiser.param_groups, stage.rates.values(), strict=True):
            group["lr"] = rate * stage.part_of_rate(step)
        batch = next(left, None)
        if batch is None:
            raise ConfigError(f"batches end after {step} of {stage.steps} steps; repeat them")
        loss = model(**batch).loss
        if not torch.isfinite(loss):
            if (batch["labels"] == NOT_LEARNED).all():
                raise ConfigError(f"step {step}: nothing in the batch is an answer to learn; leave such samples out")
            raise TrainingError(f"step {step}: the loss is {loss.item()}; take a lower rate")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, stage.most)
        optimiser.step()
        losses.append(loss.item())
        told(step, losses[-1])
    return losses


def _optimiser(model: VideoLanguageModel, stage: Stage) -> torch.optim.AdamW:
    """AdamW with a group for each part of a stage; all else of the model takes no gradient and keeps no dropout."""
    model.requires_grad_(False).eval()
    groups = []
    for name in stage.rates:
        part = getattr(model, name)
        if part is None:
            raise ConfigError(f"rates name {name}, which this model does not have")
        part.requires_grad_(True).train()
        groups.append({"params": list(part.parameters())})
    return torch.optim.AdamW(groups, weight_decay=stage.weight_decay)
