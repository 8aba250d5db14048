"""k-means (Lloyd's) over vectors that need not fit in memory, exactly: nothing is sampled or approximated.

In memory are the centres, faiss's copy of them, and the sums of a pass: 12 bytes for each number of the centres. Each
pass reads all vectors, so that more memory makes it faster where they fit in, and changes no bit.
Centres that no vector is nearest to take half of the largest clusters before the next pass, as faiss has it. Every draw
is a function of seed and pass, so that a clustering that goes on ends with the same centres.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial

import numpy as np

from .config import ConceptsOptions
from .halfway import Halfway
from .nearest import Nearest
from .rows import Rows, make_unit, slabs, unit
from .start import first_centres

_APART = 1 / 1024  # how far two halves of a cluster are set apart, of each number


def find_centres(
    rows: Rows,
    options: ConceptsOptions,
    halfway: Halfway | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Centres float32 [C, D]; with the metric "cosine", of length 1.

    halfway: where centres are kept after each pass; what it has is gone on from. progress: told of vectors assigned,
    over all passes.
    """
    report = progress or (lambda done, total: None)
    total = options.iterations * len(rows)
    passes, centres = (halfway.read() if halfway else None) or (0, first_centres(rows, options))
    while passes < options.iterations:
        before = centres
        centres, sizes = _pass(rows, centres, options.metric, partial(_of_all, report, passes, options.iterations))
        passes += 1
        settled = np.array_equal(before, centres)
        if passes < options.iterations and not settled:
            changed = fill_empty(centres, sizes, np.random.default_rng([options.seed, passes]))
            if options.metric == "cosine":
                centres[changed] = unit(centres[changed])  # no others: twice to length 1 may be another last bit
        if settled:
            passes = options.iterations  # from here on nothing moves
        if halfway is not None:
            halfway.write(passes, centres)
    report(total, total)
    return centres


def _of_all(report: Callable[[int, int], None], passes: int, of: int, done: int, rows: int) -> None:
    """Tell of one pass as part of all."""
    report(passes * rows + done, of * rows)


def _pass(
    rows: Rows, centres: np.ndarray, metric: str, report: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """The means of the vectors that each centre is nearest to, and how many these are: [C, D], int64 [C]."""
    report(0, len(rows))
    nearest = Nearest(centres, metric)
    sums, sizes = np.zeros_like(centres), np.zeros(len(centres), np.int64)
    for first, vectors in slabs(rows):
        numbers = nearest.search(vectors)[0][:, 0]
        add_up(vectors, numbers, sums, sizes)
        report(first + len(vectors), len(rows))
    return means(sums, sizes, centres, metric), sizes


def add_up(vectors: np.ndarray, numbers: np.ndarray, sums: np.ndarray, sizes: np.ndarray) -> None:
    """Add each vector to the sum of its number, always in the same order."""
    order = np.argsort(numbers, kind="stable")
    present, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    sums[present] += np.add.reduceat(vectors[order], starts, axis=0)
    sizes[present] += counts


def means(sums: np.ndarray, sizes: np.ndarray, before: np.ndarray, metric: str) -> np.ndarray:
    """Means in place of sums; a cluster without vectors, or whose mean points nowhere, stays where it was."""
    sums /= np.maximum(sizes, 1, dtype=np.float32)[:, None]
    stay = sizes == 0
    if metric == "cosine":
        make_unit(sums)
        stay |= ~sums.any(1)
    sums[stay] = before[stay]
    return sums


def fill_empty(centres: np.ndarray, sizes: np.ndarray, random: np.random.Generator) -> list[int]:
    """Have each empty cluster take half of the one that is largest then; those of one vector are not shared.

    The numbers of the centres that are others after it.
    """
    changed: list[int] = []
    largest = [(-int(size), number) for number, size in enumerate(sizes) if size > 1]
    heapq.heapify(largest)
    for empty in np.flatnonzero(sizes == 0):
        if not largest:
            break
        size, donor = heapq.heappop(largest)
        apart = _APART * random.choice(np.array([-1, 1], np.float32), centres.shape[1])
        centres[empty] = centres[donor] * (1 + apart)
        centres[donor] *= 1 - apart
        changed += [donor, int(empty)]
        for share, number in ((-size // 2, donor), (-size - (-size // 2), int(empty))):
            if share > 1:
                heapq.heappush(largest, (-share, number))
    return changed
