"""A softmax over parts of a bank that is split over the processes: -log of each row's own class, and its gradient.

A column holds rows against classes of its own choice. Throughout, `margin` is taken off the cosine with a row's own
class, cosines with others above `filter` count as 0 (0: none does), and `scale` is that of all. Which classes a column
chooses is left to `concept_head`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

_LEAST = 1e-30  # probability, in what is reported
_SHORTEST = 1e-12  # length that a centre is taken to have, as `functional.normalize` does


@dataclass(frozen=True)
class Column:
    """What a column holds its rows against. ids: int64 [S], chosen classes of this process, ascending, counted from its
    first one; own: where among [S, N] each row's own class is; left_out: where those are that do not count.
    """

    ids: Tensor
    own: tuple[Tensor, Tensor]
    left_out: tuple[Tensor, Tensor] | None


def find_column(ids: Tensor, own: Tensor, masked: Tensor | None = None) -> Column:
    """A column of chosen classes: [S] as in `Column`; own: [N], each row's class, counted likewise, chosen or another
    process's; masked: [N, L], classes that do not count for a row, unless they are its own.
    """
    ended = functional.pad(ids, (0, 1), value=-(2**62))  # which is no class

    def places(classes: Tensor) -> tuple[Tensor, Tensor]:
        place = torch.searchsorted(ids, classes.contiguous())
        is_here = ended[place] == classes
        return place[is_here], is_here.nonzero()[:, 0]

    return Column(ids, places(own), None if masked is None else places(masked))


def to_logits(cosines: Tensor, filter: float, scale: float) -> tuple[Tensor, Tensor]:
    """Scaled cosines, those above the filter as 0, and which these are, of the shape of the cosines (at most 1)."""
    is_filtered = cosines > (filter or 1)
    return cosines.masked_fill(is_filtered, 0).mul_(scale), is_filtered


def column_logits(logits: Tensor, cosines: Tensor, column: Column, margin: float, scale: float) -> Tensor:
    """Of a column [S, N]: those [C, N] of the whole bank, with the margin at each row's own class, others left out."""
    place, row = column.own
    chosen = logits.index_select(0, column.ids)
    if column.left_out is not None:
        chosen[column.left_out] = -torch.inf
    chosen[column.own] = scale * (cosines[column.ids[place], row] - margin)
    return chosen


class PartialSoftmax(torch.autograd.Function):
    """The loss of all columns, with the gradient that `ConceptHead.forward` tells of.

    Cosines are those with the whole bank, once for all columns: one product of matrices, as are its gradients, costs
    less than to pick out and normalise each column's centres. Autograd's own gradients would be as large as the bank
    several times over; here they are made along with the loss, by cosine.
    """

    @staticmethod
    def forward(
        ctx: Any,
        unit: Tensor,
        weight: Tensor,
        columns: Sequence[Column],
        margin: float,
        filter: float,
        scale: float,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        """unit: [N, D], rows of length 1; weight: [C, D], of this process."""
        lengths = torch.linalg.vector_norm(weight, dim=1, keepdim=True).clamp_(min=_SHORTEST)  # [C, 1]
        cosines = (weight @ unit.T).div_(lengths).clamp_(-1, 1)  # [C, N]
        logits, is_filtered = to_logits(cosines, filter, scale)
        parts = [column_logits(logits, cosines, column, margin, scale) for column in columns]  # [S, N] each
        del logits
        most = torch.stack([functional.pad(part, (0, 0, 0, 1), value=-torch.inf).amax(0) for part in parts])
        if distributed():
            dist.all_reduce(most, dist.ReduceOp.MAX, group=group)
        own, sums = torch.zeros_like(most), torch.zeros_like(most)  # [columns, N]
        for number, (part, column) in enumerate(zip(parts, columns, strict=True)):
            own[number, column.own[1]] = part[column.own]
            sums[number] = part.sub_(most[number]).exp_().sum(0)
        if distributed():
            dist.all_reduce(sums, group=group)
            dist.all_reduce(own, group=group)
        losses = most + sums.log() - own

        slopes = _slopes(parts, sums, columns, is_filtered).mul_(scale / len(unit))  # of the loss, by each cosine
        # A centre's length has no part in its cosines: what of its gradient lies along it is taken out.
        along = cosines.mul_(slopes).sum(1, keepdim=True) / lengths**2
        ctx.save_for_backward(unit, weight, slopes.div_(lengths), along)
        return losses.clamp(max=-math.log(_LEAST)).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        unit, weight, slopes, along = ctx.saved_tensors
        of_unit = (slopes.T @ weight) * grads[0]
        of_weight = (weight * (-grads[0] * along)).addmm_(slopes, unit * grads[0])
        return of_unit, of_weight, None, None, None, None, None


def _slopes(parts: Sequence[Tensor], sums: Tensor, columns: Sequence[Column], is_filtered: Tensor) -> Tensor:
    """Probability less whether it is the row's own class, summed over columns; 0 where filtered: [C, N].

    parts: probabilities of each column, [S, N], times those of the sums [columns, N]; they are used up.
    """
    slopes = torch.zeros_like(is_filtered, dtype=sums.dtype)
    right = []  # probability of each row's own class, which no filter concerns
    for part, column, total in zip(parts, columns, sums, strict=True):
        right.append(part.div_(total)[column.own])
        part[column.own] = 0
        slopes.index_add_(0, column.ids, part)
    slopes.masked_fill_(is_filtered, 0)
    for column, probability in zip(columns, right, strict=True):
        place, row = column.own
        slopes[column.ids[place], row] += probability - 1
    return slopes


def distributed() -> bool:
    """Whether there are processes to share a bank with."""
    return dist.is_available() and dist.is_initialized()
