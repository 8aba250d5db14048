"""Which clips make which batch: one shuffle an epoch, dealt out to the ranks, to be taken up again at any batch.

Clips are numbers here. How they are read is left to `dataset`, in which processes to `loader`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from codecsieve.errors import ConfigError

PADDING = -1
"""Stands for no clip, where another rank's batch has one more."""


class ClipOrder(Sampler[list[int]]):
    """One rank's batches of clip numbers, from its position to the end of the epoch: a `batch_sampler`.

    An epoch is an order of all clips that depends on seed and epoch only. A step takes the next batch_size x
    world_size of them and deals them to the ranks in turn, so that the clips of a step do not depend on how many
    ranks share them. The last step has what is left; a rank that gets one clip fewer than others then has
    `PADDING` in its place. So over all ranks every clip comes once, and all ranks have steps and batches of the
    same size.

    Batches are asked for ahead of their use, so iterating does not move the position: `advance` does.

    epoch: the current one, from 0; done: how many of its clips are done, over all ranks.
    """

    def __init__(
        self, clips: int, batch_size: int, seed: int = 0, shuffle: bool = True, rank: int = 0, world_size: int = 1
    ) -> None:
        """Order `clips` clips; batch_size: clips of one rank in one step. Raises ConfigError."""
        for name, value in (("clips", clips), ("batch_size", batch_size), ("world_size", world_size)):
            if value < 1:
                raise ConfigError(f"{name} ({value}) must be > 0")
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank ({rank}) must be in 0..{world_size - 1}: world_size is {world_size}")
        if seed < 0:
            raise ConfigError(f"seed ({seed}) must be >= 0")
        self.clips, self.batch_size, self.seed, self.shuffle = clips, batch_size, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch, self.done = 0, 0

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return -(-self.clips // self._step_clips)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, done = self.epoch, self.done
        while done < self.clips:
            yield self.batch(epoch, done)
            done += self._step_clips

    def batch(self, epoch: int, done: int) -> list[int]:
        """What this rank has of the step after the first `done` clips of an epoch; [] at its end."""
        order = _order(self.clips, (self.seed, epoch) if self.shuffle else None)
        step = order[done : done + self._step_clips]
        mine: list[int] = step[self.rank :: self.world_size].tolist()
        return mine + [PADDING] * (-(-len(step) // self.world_size) - len(mine))

    def following(self) -> tuple[int, int]:
        """`epoch` and `done` after one more step."""
        done = self.done + self._step_clips
        return (self.epoch, done) if done < self.clips else (self.epoch + 1, 0)

    def advance(self) -> None:
        """One more step is done."""
        self.epoch, self.done = self.following()

    def state_dict(self) -> dict[str, Any]:
        """The position, alike on all ranks, and the order that it belongs to: plain JSON."""
        return {"epoch": self.epoch, "done": self.done, **self._order_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position. Ranks and batch size may have changed since: what was left is left.

        Raises ConfigError where the state is another order's.
        """
        for name, value in self._order_state().items():
            if state[name] != value:
                raise ConfigError(
                    f"{name} ({value}) must be the saved state's ({state[name]}); "
                    "resume on the same clips with the same options, or start afresh"
                )
        self.epoch, self.done = state["epoch"], state["done"]

    def _order_state(self) -> dict[str, Any]:
        return {"clips": self.clips, "seed": self.seed, "shuffle": self.shuffle}

    @property
    def _step_clips(self) -> int:
        return self.batch_size * self.world_size


@lru_cache(maxsize=4)
def _order(clips: int, seed: tuple[int, int] | None) -> np.ndarray:
    """int64 [clips]: every number once, shuffled where there is a seed. Not to be written to."""
    return np.arange(clips) if seed is None else np.random.default_rng(seed).permutation(clips)
