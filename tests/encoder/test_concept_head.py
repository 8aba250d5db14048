"""The concept head: the published loss, on any number of processes, and what it refuses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo import on_processes
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from codecsieve.encoder.concept_head import (
    ConceptHead,
    ConceptOptions,
    Drawn,
    blocks_of,
    choose_classes,
    draw_labels,
    split,
)
from codecsieve.encoder.partial_softmax import column_logits, find_column, to_logits
from codecsieve.errors import EncoderError

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "concept_loss"
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@dataclass(frozen=True)
class Gradients:
    """What comes of a step. loss: reported; embeddings: of one process's; weight: of its centres."""

    loss: float
    embeddings: Tensor
    weight: Tensor


def golden(name: str) -> Mapping[str, np.ndarray]:
    file = GOLDEN / f"{name}.npz"
    if not file.exists():
        pytest.skip(f"golden losses are not at {file}")
    return dict(np.load(file))


def step(
    head: ConceptHead, embeddings: Tensor, labels: Tensor, drawn: Drawn | None = None, rows: Tensor | None = None
) -> Gradients:
    """A step's loss and gradients."""
    embeddings = embeddings.clone().requires_grad_()
    loss = head(embeddings, labels, 3, rows, drawn)
    loss.backward()
    assert embeddings.grad is not None
    assert head.weight.grad is not None
    return Gradients(loss.item(), embeddings.grad, head.weight.grad)


def golden_step(case: Mapping[str, np.ndarray], rank: int, ranks: int) -> Gradients:
    """The step of a golden case, as one of its processes."""
    options = ConceptOptions(
        rate=float(case["rate"]), margin=float(case["margin"]), filter=float(case["filter"]), scale=float(case["scale"])
    )
    classes, width = case["weight"].shape
    head = ConceptHead(classes, width, options, blocks=ranks)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(case["weight"][head.first : head.last]))
    noise = np.concatenate([case[f"r{number}_label_noise"] for number in range(ranks)])
    drawn = Drawn(torch.from_numpy(noise), torch.from_numpy(case[f"r{rank}_perm"]))
    return step(head, torch.from_numpy(case[f"r{rank}_embeddings"]), torch.from_numpy(case[f"r{rank}_labels"]), drawn)


@pytest.mark.parametrize("name", ["one_rank_all_classes", "one_rank_no_filter", "one_rank_sampled"])
def test_the_loss_and_its_gradients_are_the_published_ones(name: str) -> None:
    case = golden(name)
    made = golden_step(case, 0, 1)
    np.testing.assert_allclose(made.loss, case["r0_loss"], **CLOSE)
    _close(made.embeddings, case["r0_grad_embeddings"])
    _close(made.weight, case["grad_weight"])


@pytest.mark.slow
def test_two_processes_with_batches_of_their_own_give_the_published_loss(tmp_path: Path) -> None:
    case = golden("two_ranks_uneven")
    first, second = (Gradients(**made) for made in on_processes(2, partial(_golden_on, case), tmp_path))
    for rank, made in enumerate((first, second)):
        np.testing.assert_allclose(made.loss, case[f"r{rank}_loss"], **CLOSE)
        _close(made.embeddings, case[f"r{rank}_grad_embeddings"])
    _close(torch.cat([first.weight, second.weight]), case["grad_weight"])


def _golden_on(case: Mapping[str, np.ndarray], rank: int, ranks: int) -> dict[str, Any]:
    return vars(golden_step(case, rank, ranks))


def _close(made: Tensor, truth: np.ndarray) -> None:
    """To 1e-5 of the largest: single gradients are sums in which much cancels."""
    np.testing.assert_allclose(made.numpy(), truth, rtol=1e-5, atol=1e-5 * float(np.abs(truth).max()))


def test_margin_and_filter_are_the_published_ones() -> None:
    case = golden("margin")
    cosines, labels = torch.from_numpy(case["cosines"]), torch.from_numpy(case["labels"])
    cosines = cosines.T.contiguous()  # [C, N]
    column = find_column(torch.arange(len(cosines)), labels[:, 0])
    logits = column_logits(to_logits(cosines, 0.75, 64)[0], cosines, column, 0.3, 64)
    np.testing.assert_allclose(logits.T.numpy(), case["logits"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("co_labels", ["negative", "masked"])
def test_any_number_of_processes_takes_the_same_step(tmp_path: Path, co_labels: str) -> None:
    torch.manual_seed(1)
    embeddings, labels = torch.randn(12, 8), torch.randint(0, 300, (12, 10))
    whole = step(ConceptHead(300, 8, ConceptOptions(co_labels=co_labels), seed=5), embeddings, labels)
    for ranks, ends in ((2, [0, 5, 12]), (3, [0, 1, 9, 12])):
        act = partial(_part, embeddings, labels, ends, co_labels)
        parts = [Gradients(**made) for made in on_processes(ranks, act, tmp_path / str(ranks))]
        for made in parts:
            np.testing.assert_allclose(made.loss, whole.loss, rtol=1e-5)
        gathered = torch.cat([made.embeddings for made in parts]) / ranks
        _close(gathered, whole.embeddings.numpy())
        _close(torch.cat([made.weight for made in parts]), whole.weight.numpy())


@pytest.mark.slow
def test_clips_that_are_dealt_out_in_turn_take_the_same_step(tmp_path: Path) -> None:
    torch.manual_seed(2)
    embeddings, labels = torch.randn(9, 8), torch.randint(0, 300, (9, 10))
    whole = step(ConceptHead(300, 8, seed=5), embeddings, labels)
    for made in on_processes(2, partial(_dealt, embeddings, labels), tmp_path):
        np.testing.assert_allclose(made["loss"], whole.loss, rtol=1e-5)


def _dealt(embeddings: Tensor, labels: Tensor, rank: int, ranks: int) -> dict[str, Any]:
    rows = torch.arange(len(labels))[rank::ranks]
    return vars(step(ConceptHead(300, 8, seed=5), embeddings[rows], labels[rows], rows=rows))


def _part(embeddings: Tensor, labels: Tensor, ends: list[int], co_labels: str, rank: int, ranks: int) -> dict[str, Any]:
    here = slice(ends[rank], ends[rank + 1])
    head = ConceptHead(300, 8, ConceptOptions(co_labels=co_labels), seed=5)
    return vars(step(head, embeddings[here], labels[here]))


def by_hand(head: ConceptHead, embeddings: Tensor, labels: Tensor, drawn: Drawn) -> Tensor:
    """The sum of the columns' losses, class by class and row by row, in float64."""
    options, total = head.options, torch.zeros((), dtype=torch.float64)
    weight = head.weight.double()
    columns = draw_labels(labels, drawn.labels, options.drawn)
    every = choose_classes(columns, drawn.classes, head.bounds, options.rate)
    for k in range(columns.shape[1]):
        chosen = every[k].tolist()
        for i in range(len(labels)):
            own = int(columns[i, k])
            terms, mine = [], torch.zeros((), dtype=torch.float64)
            for j in chosen:
                cosine = torch.nn.functional.cosine_similarity(embeddings[i].double(), weight[j], dim=0)
                if j == own:
                    mine = options.scale * (cosine - options.margin)
                    terms.append(mine)
                elif options.co_labels == "masked" and j in labels[i].tolist():
                    continue
                else:
                    filtered = 0 * cosine if options.filter and cosine > options.filter else cosine
                    terms.append(options.scale * filtered)
            total = total + (torch.logsumexp(torch.stack(terms), 0) - mine) / len(labels)
    return total


@pytest.mark.parametrize("co_labels", ["negative", "masked"])
@pytest.mark.parametrize("filter", [0, 0.5])
def test_co_labels_are_negatives_or_are_left_out(co_labels: str, filter: float) -> None:
    torch.manual_seed(0)
    labels = torch.tensor([[0, 1, 2, 2], [3, 3, 3, 3], [5, 0, 9, 1]])
    options = ConceptOptions(co_labels=co_labels, filter=filter, rate=0.7, drawn=3, scale=4)
    head = ConceptHead(12, 4, options, blocks=3)
    embeddings = torch.randn(3, 4, requires_grad=True)
    drawn = head.draw(labels, 0, torch.arange(3))
    truth = by_hand(head, embeddings, labels, drawn)
    of_embeddings, of_weight = torch.autograd.grad(truth, [embeddings, head.weight])
    loss = head(embeddings, labels, 0)
    (2 * loss).backward()
    columns = 3
    assert loss.item() == pytest.approx(truth.item() / columns, rel=1e-5)
    assert embeddings.grad is not None
    assert head.weight.grad is not None
    _close(embeddings.grad, 2 * of_embeddings.numpy())
    _close(head.weight.grad, 2 * of_weight.numpy())


@given(
    st.integers(2, 200),
    st.integers(1, 9),
    st.integers(0, 3),
    st.floats(0.01, 1.0),
    st.lists(st.tuples(st.integers(0, 199), st.integers(0, 199)), max_size=30),
    st.integers(0, 5),
)
def test_the_chosen_classes_are_the_positives_and_the_largest_draws_of_each_block(
    classes: int, blocks: int, left: int, rate: float, positives: list[tuple[int, int]], seed: int
) -> None:
    bounds = split(classes, min(blocks, classes))
    bounds = bounds[min(left, len(bounds) - 2) :]  # as of a process that has not the first ones
    first = bounds[0]
    wanted = torch.tensor(positives, dtype=torch.int64).view(-1, 2).clamp(max=classes - 1)
    numbers = torch.rand(2, classes - first, generator=torch.Generator().manual_seed(seed))
    found = choose_classes(wanted, numbers, bounds, rate)
    for column, chosen in enumerate(found):
        truth: list[int] = []
        for start, end in itertools.pairwise(bounds):
            here = sorted({one for one in wanted[:, column].tolist() if start <= one < end})
            others = (c for c in range(start, end) if c not in here)
            by_number = sorted(others, key=lambda c: -float(numbers[column, c - first]))
            truth += here + by_number[: max(0, int(rate * (end - start)) - len(here))]
        assert (chosen + first).tolist() == sorted(truth)


def test_centres_and_draws_do_not_depend_on_the_number_of_blocks_that_a_process_has() -> None:
    head = ConceptHead(1000, 4, seed=9)
    again = ConceptHead(1000, 4, seed=9)
    assert torch.equal(head.weight, again.weight)
    assert abs(float(head.weight.detach().std()) - 0.01) < 0.001
    labels = torch.arange(20).view(2, 10)
    rows = torch.arange(2)
    assert not torch.equal(head.draw(labels, 1, rows).labels, head.draw(labels, 2, rows).labels)
    assert not torch.equal(ConceptHead(1000, 4, seed=8).weight, head.weight)


@pytest.mark.parametrize(("classes", "blocks"), [(2, 1), (1023, 1), (1024, 2), (2_000_000, 1024)])
def test_a_bank_is_cut_into_blocks_by_its_size(classes: int, blocks: int) -> None:
    sizes = np.diff(split(classes, blocks_of(classes)))
    assert len(sizes) == blocks
    assert sizes.max() - sizes.min() <= 1


def test_it_learns() -> None:
    torch.manual_seed(0)
    head = ConceptHead(50, 16, ConceptOptions(rate=1.0, drawn=1))
    embeddings = torch.nn.Parameter(torch.randn(20, 16))
    labels = torch.arange(20)[:, None]
    optimiser = torch.optim.AdamW([embeddings, head.weight], lr=0.05)
    losses = []
    for number in range(60):
        optimiser.zero_grad()
        loss = head(embeddings, labels, number)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0], [12]]), r"label \(12\) must be in 0\.\.11, the classes of the bank"),
        (torch.tensor([[-1], [0]]), r"label \(-1\) must be in 0\.\.11"),
        (torch.zeros(3, 1, dtype=torch.int64), r"labels \(\[3, 1\]\) must be \[2, L\]"),
        (torch.zeros(2, 0, dtype=torch.int64), r"labels \(\[2, 0\]\) must be \[2, L\]"),
    ],
)
def test_labels_that_cannot_be_are_one_line(labels: Tensor, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        ConceptHead(12, 4)(torch.randn(2, 4), labels)


def test_options_that_cannot_be_are_one_line() -> None:
    for wrong in ({"drawn": 0}, {"rate": 0}, {"rate": 1.1}, {"margin": 1}, {"scale": 0}, {"co_labels": "none"}):
        with pytest.raises(EncoderError, match="must be"):
            ConceptOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(EncoderError, match=r"embeddings \(\[2, 5\]\) must be \[B, 4\]"):
        ConceptHead(12, 4)(torch.randn(2, 5), torch.zeros(2, 1, dtype=torch.int64))
