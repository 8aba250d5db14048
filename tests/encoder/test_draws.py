"""Draws are a function of their place: the same whoever makes them, even, and unlike their neighbours'."""

from __future__ import annotations

import torch

from codecsieve.encoder.draws import draw, draw_normal


def splitmix(seed: int, counters: list[int]) -> int:
    """The definition, in Python's whole numbers."""
    most = 2**64

    def mix(state: int) -> int:
        state = (state + 0x9E3779B97F4A7C15) % most
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % most
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % most
        return state ^ (state >> 31)

    state = mix(seed % most)
    for counter in counters:
        state = mix(state ^ mix(counter % most))
    return state % 2**63


def test_draws_are_those_of_the_definition() -> None:
    for seed in (0, 1, -5, 2**62):
        drawn = draw(seed, 7, torch.arange(20)[:, None], torch.arange(3))
        assert drawn.tolist() == [[splitmix(seed, [7, row, column]) for column in range(3)] for row in range(20)]


def test_a_part_of_the_draws_is_the_same_as_all_of_them() -> None:
    whole = draw(3, torch.arange(1000))
    assert torch.equal(draw(3, torch.arange(400, 600)), whole[400:600])


def test_draws_are_even_and_do_not_go_with_their_neighbours() -> None:
    drawn = draw(0, torch.arange(100_000)).double() / 2**63
    assert abs(float(drawn.mean()) - 0.5) < 0.005
    assert abs(float(drawn.var()) - 1 / 12) < 0.002
    pairs = torch.stack([drawn, draw(1, torch.arange(100_000)).double() / 2**63, drawn.roll(1)])
    assert float((torch.corrcoef(pairs) - torch.eye(3)).abs().max()) < 0.01
    assert len(torch.unique(draw(0, torch.arange(100_000)))) == 100_000


def test_normal_draws_have_mean_0_and_deviation_1() -> None:
    drawn = draw_normal(0, torch.arange(100_000))
    assert abs(float(drawn.mean())) < 0.01
    assert abs(float(drawn.std()) - 1) < 0.01
    assert torch.isfinite(drawn).all()
