"""The concept head: tell each clip's concepts apart from a bank of class centres that is split over the processes.

A partial softmax (arXiv 2602.08683, section 3; Partial FC, arXiv 2203.15565): of each clip's labels some are drawn, and
for each of these columns the embedding is held against its own centre and a random part of all others. What is drawn is
a function of seed, step, row and class (`draws`), so that it is the same on any number of processes. The softmax and
its gradient are left to `partial_softmax`, optimisers and checkpoints to whoever trains; a bank's rows are classes in
order, of this process those from `first` on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from codecsieve.encoder.draws import draw, draw_normal
from codecsieve.encoder.partial_softmax import PartialSoftmax, distributed, find_column
from codecsieve.errors import EncoderError

BLOCK, MOST_BLOCKS = 512, 1024
"""A bank is cut into blocks of about so many classes, and no more of them: of each the same share is drawn, whichever
process owns it. A process has whole blocks; of a small bank there may be too few for all, and some have none.
"""
CO_LABELS = ("negative", "masked")
_LABEL_DRAWS, _CLASS_DRAWS, _CENTRES = 1, 2, 3  # streams of draws, apart by these


@dataclass(frozen=True)
class ConceptOptions:
    """How concepts are told apart; the published values. Raises EncoderError.

    drawn: labels of a clip that count in a step; rate: part of all classes that a column is held against; margin: is
    taken off the cosine with the clip's own centre; filter: cosines with others above it count as 0, since these may be
    the same concept under another name (0: none does); scale: of cosines; co_labels: a clip's other labels are
    negatives, as published, or masked out.
    """

    drawn: int = 8
    rate: float = 0.1
    margin: float = 0.3
    filter: float = 0.75
    scale: float = 64.0
    co_labels: str = "negative"

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        if self.drawn < 1:
            raise EncoderError(f"drawn ({self.drawn}) must be >= 1")
        if not 0 < self.rate <= 1:
            raise EncoderError(f"rate ({self.rate}) must be > 0 and <= 1")
        if not 0 <= self.filter <= 1 or not 0 <= self.margin < 1 or not self.scale > 0:
            values = f"filter ({self.filter}), margin ({self.margin}), scale ({self.scale})"
            raise EncoderError(f"{values} must be in 0..1, in 0..1 and > 0")
        if self.co_labels not in CO_LABELS:
            raise EncoderError(f"co_labels ({self.co_labels!r}) must be one of {', '.join(CO_LABELS)}")


@dataclass(frozen=True)
class Drawn:
    """What a step draws. labels: numbers [N, L], of which the smallest of each row are the labels that count;
    classes: numbers [columns, C of this process], of which the largest of each block are the negatives.
    """

    labels: Tensor
    classes: Tensor


class ConceptHead(nn.Module):
    """One data set's bank of centres and its loss.

    classes: in the whole bank; width: of embeddings; group: of processes that share the bank, the default one where
    torch.distributed is at work; blocks: None: see `BLOCK`; seed: of the centres and of all draws.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        options: ConceptOptions = ConceptOptions(),
        *,
        group: dist.ProcessGroup | None = None,
        blocks: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.options, self.group, self.seed = classes, options, group, seed
        self.rank, self.ranks = (dist.get_rank(group), dist.get_world_size(group)) if distributed() else (0, 1)
        if classes < 2:
            raise EncoderError(f"classes ({classes}) must be >= 2")
        bounds = split(classes, blocks or blocks_of(classes))
        mine = split(len(bounds) - 1, self.ranks)[self.rank : self.rank + 2]
        self.blocks = range(*mine)
        """Which blocks of the bank this process has."""
        self.bounds = bounds[mine[0] : mine[1] + 1]
        """First class of each block of this process, and the one behind the last."""
        self.first, self.last = self.bounds[0], self.bounds[-1]
        self.weight = nn.Parameter(torch.empty(self.last - self.first, width))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Centres from a normal distribution of deviation 0.01, the same on any number of processes."""
        ids = torch.arange(self.first, self.last, device=self.weight.device)[:, None]
        places = torch.arange(self.weight.shape[1], device=self.weight.device)
        self.weight.copy_(0.01 * draw_normal(self.seed, _CENTRES, ids, places, device=self.weight.device))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        step: int = 0,
        rows: Tensor | None = None,
        drawn: Drawn | None = None,
    ) -> Tensor:
        """The loss, the same on every process.

        Args:
            embeddings: [B, D] of this process's clips, of which there may be more or fewer than elsewhere.
            labels: int64 [B, L]: classes of each clip, 0..classes - 1, which may repeat.
            step: of the training, which the draws go by.
            rows: int64 [B], where in the step each clip is, over all processes; None: end to end, in their order.
            drawn: what is drawn, in place of that.

        Returns:
            The mean over columns and clips of -log p. Its gradient is that of the sum over columns of the mean over
            clips; of the embeddings times the number of processes, which DistributedDataParallel's mean undoes.

        Raises EncoderError for labels that are not in the bank, or shapes that do not fit.
        """
        self._check(embeddings, labels)
        told = labels if rows is None else torch.cat([labels, rows[:, None]], 1)
        everyone, targets = gather_rows(
            embeddings.to(self.weight.dtype), told, self.group
        )  # [N, D], [N, L] or [N, L + 1]
        if rows is None:
            rows = torch.arange(len(targets), device=targets.device)
        else:
            targets, rows = targets[:, :-1].contiguous(), targets[:, -1]
        drawn = drawn or self.draw(targets, step, rows)
        labels_of = draw_labels(targets, drawn.labels, self.options.drawn)  # [N, columns]
        chosen = choose_classes(labels_of, drawn.classes, self.bounds, self.options.rate)
        del drawn  # numbers of every class, for every column
        masked = targets - self.first if self.options.co_labels == "masked" else None
        columns = [find_column(ids, own - self.first, masked) for ids, own in zip(chosen, labels_of.T, strict=True)]
        unit = functional.normalize(everyone)
        options = self.options
        return PartialSoftmax.apply(
            unit, self.weight, columns, options.margin, options.filter, options.scale, self.group
        )

    def draw(self, labels: Tensor, step: int, rows: Tensor) -> Drawn:
        """What a step draws, of everybody's labels [N, L], in these rows [N] of it."""
        places = torch.arange(labels.shape[1], device=labels.device)
        columns = torch.arange(min(self.options.drawn, labels.shape[1]), device=labels.device)
        ids = torch.arange(self.first, self.last, device=labels.device)
        return Drawn(
            draw(self.seed, _LABEL_DRAWS, step, rows[:, None], places, device=labels.device),
            draw(self.seed, _CLASS_DRAWS, step, columns[:, None], ids, device=labels.device),
        )

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        if embeddings.dim() != 2 or embeddings.shape[1] != self.weight.shape[1]:
            raise EncoderError(f"embeddings ({list(embeddings.shape)}) must be [B, {self.weight.shape[1]}]")
        if labels.dim() != 2 or len(labels) != len(embeddings) or not labels.shape[1]:
            raise EncoderError(f"labels ({list(labels.shape)}) must be [{len(embeddings)}, L]")
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            wrong = labels[(labels < 0) | (labels >= self.classes)][0]
            raise EncoderError(f"label ({int(wrong)}) must be in 0..{self.classes - 1}, the classes of the bank")


def blocks_of(classes: int) -> int:
    """How many blocks a bank is cut into."""
    return min(max(1, classes // BLOCK), MOST_BLOCKS)


def split(count: int, parts: int) -> list[int]:
    """Where each of so many even parts of a range begins, the first ones one longer where it does not come out even;
    then the end.
    """
    size, more = divmod(count, parts)
    return [part * size + min(part, more) for part in range(parts + 1)]


def draw_labels(labels: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Labels of the `count` smallest numbers of each row, by rising number: [N, min(count, L)]."""
    order = numbers.argsort(dim=1, stable=True)[:, :count]
    return labels.gather(1, order)


def choose_classes(positives: Tensor, numbers: Tensor, bounds: Sequence[int], rate: float) -> list[Tensor]:
    """The classes of this process that each column is held against, ascending, counted from its first one: [S] each.

    Of each block, the positives in it and those of the largest numbers, int(rate x size) in all; where there are more
    positives than that, only these.

    positives: [N, columns], of anybody's range; numbers: [columns, C of this process], none below 0; bounds: of its
    blocks.
    """
    first, last = bounds[0], bounds[-1]
    row, column = ((positives >= first) & (positives < last)).nonzero(as_tuple=True)
    chosen = torch.zeros_like(numbers, dtype=torch.bool)
    chosen[column, positives[row, column] - first] = True
    others = numbers.masked_fill(chosen, -1)
    sizes = [end - start for start, end in itertools.pairwise(bounds)]
    start = 0
    for size, run in itertools.groupby(sizes):  # blocks of one size, which are tables
        end, budget = start + size * len(list(run)), int(rate * size)
        if budget:
            blocks = others[:, start:end].unflatten(1, (-1, size))  # [columns, blocks, size]
            taken = chosen[:, start:end].unflatten(1, (-1, size))
            wanted = budget - taken.sum(2, keepdim=True)  # below 0 where there are more positives
            least = blocks.topk(budget, dim=2).values.gather(2, (wanted - 1).clamp(min=0))
            taken |= (blocks >= least) & (wanted > 0)
        start = end
    return [of_column.nonzero()[:, 0] for of_column in chosen]


def gather_rows(embeddings: Tensor, labels: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor]:
    """Everybody's embeddings [N, D] and labels [N, L], in the order of the processes, however many each has."""
    if not distributed():
        return embeddings, labels
    ranks = dist.get_world_size(group)
    own = torch.tensor([len(labels)], device=labels.device)
    counts = [torch.empty_like(own) for _ in range(ranks)]
    dist.all_gather(counts, own, group=group)
    sizes = [int(count) for count in counts]
    padded = functional.pad(labels, (0, 0, 0, max(sizes) - len(labels)))
    gathered = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(gathered, padded, group=group)
    everyone = torch.cat([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])
    return _GatherRows.apply(embeddings, sizes, group), everyone


class _GatherRows(torch.autograd.Function):
    """All processes' rows end to end; the gradient of one's own comes back summed, times their number."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int], group: dist.ProcessGroup | None) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        padded = functional.pad(rows, (0, 0, 0, max(sizes) - len(rows)))
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded, group=group)
        return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        grad = grads[0].contiguous()
        dist.all_reduce(grad, group=ctx.group)
        rank = dist.get_rank(ctx.group)
        start = sum(ctx.sizes[:rank])
        return grad[start : start + ctx.sizes[rank]] * len(ctx.sizes), None, None
