"""The first centres of k-means: clips at random, or far apart from each other.

k-means ends where it is led: two first centres in one cluster can leave another cluster without one. Greedy k-means++
(Arthur and Vassilvitskii 2007, with several tries a centre) draws each centre by its distance to those before it. It
takes a look at a whole sample for each centre, which only few centres allow.
"""

from __future__ import annotations

import math

import numpy as np

from .config import ConceptsOptions
from .rows import Rows

SPREAD_UP_TO = 2048
"""Centres that `auto` spreads."""
_SAMPLE = 32  # vectors a centre
_LEAST_SAMPLE, _MOST_SAMPLE = 4096, 32_768


def is_spread(options: ConceptsOptions) -> bool:
    """Whether first centres are spread."""
    return options.start == "spread" or (options.start == "auto" and options.centres <= SPREAD_UP_TO)


def sample_size(clips: int, options: ConceptsOptions) -> int:
    """How many vectors first centres are drawn from, held in memory."""
    if not is_spread(options):
        return options.centres
    wanted = min(max(_SAMPLE * options.centres, _LEAST_SAMPLE), _MOST_SAMPLE)
    return min(clips, max(wanted, options.centres))


def first_centres(rows: Rows, options: ConceptsOptions) -> np.ndarray:
    """Of a seed always the same: float32 [C, D]."""
    random = np.random.default_rng([options.seed, 0])
    chosen = np.sort(random.choice(len(rows), sample_size(len(rows), options), replace=False))
    sample = rows.take(chosen.tolist())
    return sample[_spread(sample, options.centres, random)] if is_spread(options) else sample


def _spread(sample: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Numbers of `count` vectors of a sample that are far apart."""
    tries = 2 + int(math.log(count))
    chosen = [int(random.integers(len(sample)))]
    far = _distances(sample, sample[chosen])[:, 0]
    for _ in range(count - 1):
        reach = np.cumsum(far, dtype=np.float64)
        if reach[-1] <= 0:  # all that is left are copies of those that were chosen
            left = np.setdiff1d(np.arange(len(sample)), chosen)
            return np.array([*chosen, *left[: count - len(chosen)]])
        drawn = np.minimum(np.searchsorted(reach, random.random(tries) * reach[-1], side="right"), len(sample) - 1)
        then = np.minimum(far[:, None], _distances(sample, sample[drawn]))
        best = int(then.sum(axis=0, dtype=np.float64).argmin())
        far = np.ascontiguousarray(then[:, best])
        chosen.append(int(drawn[best]))
    return np.array(chosen)


def _distances(sample: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Half the squared distances of vectors of length 1; what rounding leaves of a copy's is 0."""
    half = 1 - sample @ others.T
    return np.where(half > 1e-6, half, 0)
