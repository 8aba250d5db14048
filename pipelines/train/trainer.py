"""One training step: clips through the encoder, concepts told apart, gradients summed, clipped, applied.

Everything is a function of what was before and of the step's number: a training that goes on takes the same steps.
Processes share a step's clips; the encoder is the same on all, banks of centres are split over them. Which clips is
left to `reader`, what of them to `inputs`, files to `checkpoint`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.encoder.concept_head import ConceptHead, ConceptOptions
from codecsieve.encoder.draws import draw
from codecsieve.errors import TrainingError
from codecsieve.pipelines.learn.checkpoint import part
from codecsieve.pipelines.learn.ranks import Ranks

from .config import TrainConfig
from .inputs import Group
from .schedule import rate_at

BETAS = (0.9, 0.999)
_HEAD_SEEDS = 7  # a stream of draws


@dataclass(frozen=True)
class Bank:
    """A head to be: its name, classes of its bank, weight of its loss, and how its concepts are told apart."""

    name: str
    classes: int
    weight: float = 1.0
    options: ConceptOptions = field(default_factory=ConceptOptions)


@dataclass(frozen=True)
class Part:
    """A process's part of a head's step, or of one of its accumulations. groups: clips by kind; labels: int64 [B, L];
    rows: int64 [B], where in the step each clip is; ids: of the clips.
    """

    head: str
    groups: Sequence[Group]
    labels: Tensor
    rows: Tensor
    ids: Sequence[str]


@dataclass(frozen=True)
class Stepped:
    """What a step came to. loss: mean over columns and clips, of all heads by their weights; losses: of each head;
    rate: learning rate; norms: of the gradients, before they were clipped, of the encoder and of each head's centres.
    """

    loss: float
    losses: dict[str, float]
    rate: float
    norms: dict[str, float]


class Trainer:
    """Encoder, centres of each head, optimiser, and the weights' moving average."""

    def __init__(
        self, config: TrainConfig, banks: Sequence[Bank], ranks: Ranks, model: OneVisionEncoder | None = None
    ) -> None:
        """Fresh weights, the same on all processes, or those of a model."""
        self.config, self.ranks = config, ranks
        if model is None:
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                model = OneVisionEncoder(EncoderConfig.preset(config.encoder))
        self.dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.model = model.to(ranks.device, self.dtype).train()
        self.model.set_gradient_checkpointing(config.recompute)
        width = self.model.config.hidden_size
        self.heads = {
            bank.name: ConceptHead(bank.classes, width, bank.options, seed=seed_of(config.seed, bank.name))
            for bank in banks
        }
        for head in self.heads.values():
            head.to(ranks.device, self.dtype)
        self._weights = {bank.name: bank.weight for bank in banks}
        self.optimiser = torch.optim.AdamW(
            self._groups(), lr=config.rate, betas=BETAS, fused=True
        )  # in one pass over a bank
        self.average: dict[str, Tensor] | None = None
        if config.average:
            self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._forward = torch.compile(self.model, dynamic=True) if config.compile else self.model

    def step(self, number: int, parts: Sequence[Part]) -> Stepped:
        """Take a step, counted from 0. Raises TrainingError where loss or gradients are no numbers."""
        torch.manual_seed(self.config.seed * 1_000_003 + number)  # of dropout, where the encoder has it
        rate = rate_at(number, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        losses = {name: torch.zeros((), dtype=self.dtype, device=self.ranks.device) for name in self.heads}
        for share in parts:
            embeddings = self.embed(share.groups, len(share.labels))
            labels, rows = share.labels.to(self.ranks.device), share.rows.to(self.ranks.device)
            found = self.heads[share.head](embeddings, labels, number, rows) / self.config.accumulation
            (found * self._weights[share.head]).backward()
            losses[share.head] += found.detach()
        own = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        grads = [parameter.grad for parameter in own if parameter.grad is not None]
        self.ranks.sum_(grads)
        for grad in grads:
            grad /= self.ranks.size  # the head's gradients are times the number of processes
        norms = {"encoder": float(nn.utils.clip_grad_norm_(own, self.config.clip_grad))}
        norms |= {name: self._clip_centres(head) for name, head in self.heads.items()}
        told = {name: found.item() for name, found in losses.items()}
        loss = sum(self._weights[name] * value for name, value in told.items())
        self._check(number, loss, norms, parts)
        self.optimiser.step()
        if self.average is not None:
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - self.config.average)
        return Stepped(loss, told, rate, norms)

    def embed(self, groups: Sequence[Group], clips: int) -> Tensor:
        """Embeddings [B, C] of a process's clips, in their order, of the type of the weights."""
        device = self.ranks.device
        pooled, places = [], []
        for group in groups:
            with self._precision():
                output = self._forward(patches=group.patches.to(device), positions=group.positions.to(device))
            pooled.append(output.pooler_output.to(self.dtype))
            places.append(group.places)
        if not pooled:  # a process that got no clip of the last step of an epoch takes part all the same
            return torch.zeros(0, self.model.config.hidden_size, dtype=self.dtype, device=device)
        order = torch.cat(places).argsort().to(device)
        return torch.cat(pooled)[order]

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters that decay, and those that do not: norms, biases, single vectors, centres."""
        decay: list[nn.Parameter] = []
        other: list[nn.Parameter] = []
        for parameter in self.model.parameters():
            (decay if parameter.dim() > 1 or self.config.decay_all else other).append(parameter)
        (decay if self.config.decay_all else other).extend(head.weight for head in self.heads.values())
        return [
            {"params": decay, "weight_decay": self.config.weight_decay},
            {"params": other, "weight_decay": 0.0},
        ]

    def _clip_centres(self, head: ConceptHead) -> float:
        """Clip the gradient of a whole bank by its norm, and return that."""
        grad = head.weight.grad
        assert grad is not None
        # By row first: float32 would lose digits in a whole bank's sum, and in float64 a bank is twice as large.
        square = torch.linalg.vector_norm(grad, dim=1).double().square().sum()
        if self.ranks.size > 1:
            dist.all_reduce(square)
        norm = float(square.sqrt())
        if norm > self.config.clip_grad:
            grad *= self.config.clip_grad / (norm + 1e-6)
        return norm

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        asked = self.config.precision
        on = asked == "bfloat16" or (asked == "auto" and self.ranks.has_bf16)
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=on):
            yield

    def _check(self, number: int, loss: float, norms: Mapping[str, float], parts: Sequence[Part]) -> None:
        if not all(map(_is_number, (loss, *norms.values()))):
            ids = [clip_id for share in parts for clip_id in share.ids]
            said = ", ".join(f"{name} {value}" for name, value in norms.items())
            raise TrainingError(
                f"step {number}: loss ({loss}) and gradients ({said}) must be numbers; clips {', '.join(ids[:8])}"
                f"{f' and {len(ids) - 8} more' if len(ids) > 8 else ''}; lower the rate, or leave out what is wrong"
            )

    # --- state

    def tensors(self) -> dict[str, Tensor]:
        """What of the encoder a training goes on with: weights, the optimiser's memory of each, their average."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        tensors = {f"weights.{name}": value for name, value in self.model.state_dict().items()}
        for parameter, memory in self.optimiser.state.items():
            if parameter in names:
                tensors |= {f"optimiser.{names[parameter]}.{what}": value for what, value in memory.items()}
        for name, value in (self.average or {}).items():
            tensors[f"average.{name}"] = value
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The other way round, bit for bit."""
        self.model.load_state_dict(part(tensors, "weights."))
        named = dict(self.model.named_parameters())
        for name, value in part(tensors, "optimiser.").items():
            of, _, what = name.rpartition(".")
            self._remember(named[of], what, value)
        average = part(tensors, "average.")
        if self.average is not None and average:
            self.average = {name: value.to(self.ranks.device, self.dtype) for name, value in average.items()}

    @property
    def blocks(self) -> list[tuple[str, int]]:
        """The blocks of banks that are this process's: head, and number over all."""
        return [(name, number) for name, head in self.heads.items() for number in head.blocks]

    def block_tensors(self, name: str, number: int) -> dict[str, Tensor]:
        """Centres of one of this process's blocks, with the optimiser's memory of them."""
        head = self.heads[name]
        start, end = _bounds(head, number)
        tensors = {"centres": head.weight.detach()[start:end]}
        for what, value in self.optimiser.state.get(head.weight, {}).items():
            tensors[what] = value.clone() if value.dim() == 0 else value[start:end]
        return tensors

    @torch.no_grad()
    def load_block(self, name: str, number: int, tensors: Mapping[str, Tensor]) -> None:
        """The other way round."""
        head = self.heads[name]
        start, end = _bounds(head, number)
        for what, value in tensors.items():
            if what == "centres":
                head.weight[start:end] = value.to(head.weight.device)
            elif value.dim() == 0:
                self._remember(head.weight, what, value)
            else:
                memory = self.optimiser.state[head.weight]
                whole = memory.setdefault(what, torch.zeros_like(head.weight))
                whole[start:end] = value.to(whole.device)

    def _remember(self, parameter: nn.Parameter, what: str, value: Tensor) -> None:
        """Set what the optimiser remembers of a parameter; a count is a tensor of its own, which counts up in place."""
        kept = value.to(parameter.device, copy=True) if value.dim() == 0 else value.to(parameter)
        self.optimiser.state[parameter][what] = kept


def _bounds(head: ConceptHead, block: int) -> tuple[int, int]:
    """Which of this process's centres are a block's."""
    here = block - head.blocks.start
    return head.bounds[here] - head.first, head.bounds[here + 1] - head.first


def seed_of(seed: int, head: str) -> int:
    """Of a head's centres and draws, apart from those of others."""
    return int(draw(seed, _HEAD_SEEDS, int.from_bytes(hashlib.blake2b(head.encode(), digest_size=7).digest())))


def _is_number(value: float) -> bool:
    return value == value and abs(value) != float("inf")
