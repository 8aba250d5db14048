"""Training attentive probes on tokens, several learning rates and seeds at once, and choosing among them.

AdamW (0.9, 0.999), linear decay step by step, gradients of each probe clipped by their norm, label smoothing; where
clips have several classes, a binary cross-entropy for each, without smoothing. One learning rate and one epoch are
chosen on a validation split, by the mean over seeds. A run that was cut off goes on at its last whole epoch and ends
with the same bits. Where tokens come from is the caller's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codecsieve.encoder.probe_head import ProbeBank
from codecsieve.errors import ConfigError
from codecsieve.files import make_folder, remove_partial_files
from codecsieve.options import declared
from codecsieve.pipelines.learn.checkpoint import (
    part,
    read_checkpoint,
    restore_training,
    training_tensors,
    write_checkpoint,
)
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.loading.order import ClipOrder
from codecsieve.pipelines.probe.config import ProbeConfig
from codecsieve.pipelines.probe.metrics import Ranking, Scores, Tally
from codecsieve.pipelines.probe.tokens import LabelledTokens, read_ahead
from codecsieve.text import quoted

LAST, BEST = "last.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    best: the probes of the chosen learning rate at the chosen epoch, one a seed; choice: that rate and epoch (from 1)
    and their mean validation scores; history: an entry for each look at the validation split.
    """

    best: ProbeBank
    choice: dict[str, Any]
    history: list[dict[str, Any]]


class Training:
    """Probes with their optimizer: steps, and the state between epochs."""

    def __init__(self, config: ProbeConfig, dim: int, classes: int, steps: int, ranks: Ranks) -> None:
        """Fresh probes. steps: of the whole training."""
        self.config, self.steps, self.ranks = config, steps, ranks
        self.bank = ProbeBank(dim, classes, [seed for _, seed in config.probes]).to(ranks.device)
        groups = [{"params": list(probe.parameters())} for probe in self.bank.probes]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=config.weight_decay)

    def step(self, number: int, tokens: Tensor, labels: Tensor, clips: int) -> None:
        """One step, from 0, on this process's clips of it: tokens [B, N, D], labels [B] or [B, C]; clips: of all."""
        for group, (rate, _) in zip(self.optimizer.param_groups, self.config.probes, strict=True):
            last = min(rate, self.config.min_rate)
            group["lr"] = last + (rate - last) * (1 - number / self.steps)
        # A sum over clips divided by those of all processes: the same gradient, however they are shared out.
        loss = summed_loss(predict(self.bank, tokens, self.ranks).float(), labels, self.config.smoothing)
        self.optimizer.zero_grad()
        (loss / clips).backward()
        self.ranks.sum_([p.grad for p in self.bank.parameters() if p.grad is not None])
        for probe in self.bank.probes:
            nn.utils.clip_grad_norm_(probe.parameters(), self.config.clip_grad)
        self.optimizer.step()


def summed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """The losses of logits [M, B, C] summed over probes and clips: cross-entropy with label smoothing of labels [B], or
    the mean over classes of binary cross-entropies of labels [B, C].
    """
    probes, _, classes = logits.shape
    if labels.dim() == 2:
        truth = labels.to(logits.dtype).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / classes
    return F.cross_entropy(logits.flatten(0, 1), labels.repeat(probes), label_smoothing=smoothing, reduction="sum")


def predict(bank: ProbeBank, tokens: Tensor, ranks: Ranks) -> Tensor:
    """Logits [M, B, C] of tokens, in bfloat16 where the device has it."""
    with torch.autocast(ranks.device.type, torch.bfloat16, enabled=ranks.has_bf16):
        return bank(tokens if ranks.has_bf16 else tokens.float())


def train_probes(
    train: LabelledTokens,
    validation: LabelledTokens,
    classes: int,
    config: ProbeConfig,
    out: Path,
    identity: dict[str, Any] | None = None,
    ranks: Ranks | None = None,
    progress: Callable[[int, int], None] | None = None,
    looked: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train probes, choose, and leave `last.safetensors` and `best.safetensors` in a folder.

    Args:
        train: clips to learn from.
        validation: clips to choose by.
        classes: labels are 0..classes-1.
        config: how.
        out: the folder; a training there that was cut off goes on.
        identity: plain JSON that says what the tokens are; a training of something else is not gone on with.
        ranks: the processes that share the clips.
        progress: called with the steps done and to be done.
        looked: called with each entry of the history, as it comes.

    Raises:
        ConfigError: a split is empty, or `out` holds a training of something else.
        CacheError: a checkpoint is damaged or cannot be written, or tokens cannot be read.
        EncoderError: the tokens' channels are no multiple of 64.
    """
    ranks = ranks or Ranks()
    for name, split in (("train", train), ("validation", validation)):
        if not len(split):
            raise ConfigError(f"{name} clips (0) must be > 0; check the manifests and which clips failed")
    order = ClipOrder(len(train), config.batch_size, config.seeds[0], rank=ranks.rank, world_size=ranks.size)
    epochs = config.epochs_for(len(train))
    dim = train.read([0]).shape[2]
    training = Training(config, dim, classes, epochs * len(order), ranks)
    described = _identity(config, epochs, dim, classes, train, validation, ranks) | (identity or {})
    state: dict[str, Any] = {"identity": described, "epoch": 0, "history": [], "choice": None}
    if ranks.first:
        make_folder(out)
        remove_partial_files(out)
    ranks.wait()
    if (out / LAST).exists():
        tensors, state = read_checkpoint(out / LAST)
        _check_identity(out, state["identity"], described)
        restore_training(tensors, training.bank, training.optimizer)
    for epoch in range(state["epoch"], epochs):
        _train_epoch(training, train, order, epoch, progress)
        state["epoch"] = epoch + 1
        if state["epoch"] % config.eval_freq == 0 or state["epoch"] == epochs:
            scores = evaluate(training.bank, validation, config.batch_size, ranks).scores()
            state = _look(state, training, scores, out)
            if looked:
                looked(state["history"][-1])
        if ranks.first:
            write_checkpoint(out / LAST, training_tensors(training.bank, training.optimizer), state)
    ranks.wait()
    return Trained(load_probes(out / BEST).to(ranks.device), state["choice"], state["history"])


def load_probes(path: Path) -> ProbeBank:
    """The probes of a `best.safetensors`, one a seed. Raises CacheError where it is damaged."""
    tensors, state = read_checkpoint(path)
    identity = state["identity"]
    bank = ProbeBank(identity["dim"], identity["classes"], identity["seeds"])
    bank.load_state_dict(tensors)
    return bank


def evaluate(bank: ProbeBank, split: LabelledTokens, batch_size: int, ranks: Ranks) -> Tally | Ranking:
    """Count what probes get right of a split, over all processes; logits are the mean over its samplings."""
    order = ClipOrder(len(split), batch_size, shuffle=False, rank=ranks.rank, world_size=ranks.size)
    tally = Tally.empty(len(bank), bank.classes, ranks.device)
    ranking = Ranking.empty(len(bank), split.labels.to(ranks.device)) if split.labels.dim() == 2 else None
    with torch.no_grad():
        for clips, views in read_ahead(split.views, list(order), ranks.device):
            logits = torch.stack([predict(bank, tokens, ranks).float() for tokens in views]).mean(0)
            if ranking is None:
                tally.add(logits, split.labels[clips].to(ranks.device))
            else:
                ranking.add(logits, clips.to(ranks.device))
    counted = ranking or tally
    counted.sum_(ranks)
    return counted


def _train_epoch(
    training: Training,
    train: LabelledTokens,
    order: ClipOrder,
    epoch: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    order.epoch, order.done = epoch, 0
    share = training.config.batch_size * training.ranks.size
    device, view = training.ranks.device, train.views[epoch % len(train.views)]
    for at, (clips, (tokens,)) in enumerate(read_ahead([view], list(order), device)):
        number = epoch * len(order) + at
        training.step(number, tokens, train.labels[clips].to(device), min(share, len(train) - at * share))
        if progress:
            progress(number + 1, training.steps)


def _look(state: dict[str, Any], training: Training, scores: Sequence[Scores], out: Path) -> dict[str, Any]:
    """The state after a look at the validation split; the probes of the best rate so far are written."""
    config, first = training.config, training.ranks.first
    choice = state["choice"]
    for number, rate in enumerate(config.learning_rates):
        at = number * len(config.seeds)
        seeds = scores[at : at + len(config.seeds)]
        mean = mean_scores(seeds)
        found = {"learning_rate": rate, "epoch": state["epoch"], **dataclasses.asdict(mean)}
        del found["clips"]
        if choice is not None and (mean.judged, -mean.loss) <= (judged(choice), -choice["loss"]):
            continue
        choice = found
        if first:
            weights = training.bank.state_dict()
            tensors = {
                f"probes.{place}.{name}": value
                for place in range(len(config.seeds))
                for name, value in part(weights, f"probes.{at + place}.").items()
            }
            write_checkpoint(out / BEST, tensors, {"identity": state["identity"], "choice": choice})
    look = [
        {"learning_rate": rate, "seed": seed, **dataclasses.asdict(one)}
        for (rate, seed), one in zip(config.probes, scores, strict=True)
    ]
    return {**state, "choice": choice, "history": [*state["history"], {"epoch": state["epoch"], "probes": look}]}


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Of several probes on one split."""
    return dataclasses.replace(
        scores[0],
        **{
            name: sum(getattr(one, name) for one in scores) / len(scores)
            for name in ("top1", "top5", "loss", "mean_ap")
            if getattr(scores[0], name) is not None
        },
    )


def judged(look: dict[str, Any]) -> float:
    """Of an entry of the history, see `Scores.judged`; those written before there was a mean_ap have none."""
    found: float = look["top1"] if look.get("mean_ap") is None else look["mean_ap"]
    return found


def _identity(
    config: ProbeConfig,
    epochs: int,
    dim: int,
    classes: int,
    train: LabelledTokens,
    validation: LabelledTokens,
    ranks: Ranks,
) -> dict[str, Any]:
    """What the numbers of a training depend on: clips of a step count, not how many processes share them."""
    values = dataclasses.asdict(config) | {"learning_rates": list(config.learning_rates), "seeds": list(config.seeds)}
    del values["batch_size"]
    return values | {
        "epochs": epochs,
        "clips of a step": config.batch_size * ranks.size,
        "bfloat16": ranks.has_bf16,
        "dim": dim,
        "classes": classes,
        "train clips": len(train),
        "validation clips": len(validation),
    }


def _check_identity(out: Path, made: dict[str, Any], asked: dict[str, Any]) -> None:
    made = {own.name: own.default for own in declared(ProbeConfig) if own.metadata["added"]} | made
    for name in [*asked, *made]:
        if made.get(name) != asked.get(name):
            raise ConfigError(
                f"{out / LAST} is of a training with {name} {quoted(made.get(name))}, you asked "
                f"{quoted(asked.get(name))}; use another --out, or delete it"
            )
