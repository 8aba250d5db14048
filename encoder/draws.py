"""Random numbers that are a function of where they are used: seed, step, row, column; not of who draws, or how often.

So a training goes on after a restart, or on another number of processes, with the very same draws. The function is
SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), one round a counter, the same
bits on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, as a signed number
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def draw(seed: int, *counters: int | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Numbers 0..2^63 - 1, even over that range: int64, of the shape that the counters broadcast to.

    counters: whole numbers, each a place, such as step, row, column; of equal ones come equal draws.
    """
    state = _mix(torch.tensor(seed, dtype=torch.int64, device=device))
    for counter in counters:
        state = _mix(state ^ _mix(torch.as_tensor(counter, dtype=torch.int64, device=device)))
    return state & (2**63 - 1)


def draw_normal(seed: int, *counters: int | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Numbers of a standard normal distribution, float32, by the method of Box and Muller."""
    first, second = (draw(seed, *counters, which, device=device) for which in (0, 1))
    radius = torch.sqrt(-2 * torch.log((first.double() + 1) / 2**63))
    return (radius * torch.cos(second.double() * (2 * torch.pi / 2**63))).float()


def _mix(state: Tensor) -> Tensor:
    state = state + _GOLDEN  # a copy, and in place from here on: these are tables as large as a bank of centres
    state ^= _shifted(state, 30)
    state *= _FIRST
    state ^= _shifted(state, 27)
    state *= _SECOND
    state ^= _shifted(state, 31)
    return state


def _shifted(state: Tensor, bits: int) -> Tensor:
    """To the right by so many bits, zeros coming in, which torch has for signed numbers only with the sign's bit."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)
