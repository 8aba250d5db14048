"""The nearest centres of vectors, by faiss: on its GPUs where it has some, else on the processor."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from codecsieve.errors import ConfigError


def load_faiss() -> Any:
    """The package. Raises ConfigError, naming the extra, where it is not installed."""
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ConfigError(
            f"concepts need faiss, which cannot be imported ({error}); pip install 'codecsieve[train]'"
        ) from error


class Nearest:
    """Centres to be searched, all of them: nothing is approximated."""

    def __init__(self, centres: np.ndarray, metric: str) -> None:
        """centres: float32 [C, D], of which faiss makes a copy; metric: "cosine", of centres of length 1, or "l2"."""
        faiss = load_faiss()
        index = (faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2)(centres.shape[1])
        if getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
            index = faiss.index_cpu_to_all_gpus(index)
        index.add(np.ascontiguousarray(centres, np.float32))
        self._index = index

    def search(self, vectors: np.ndarray, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The nearest centres of vectors float32 [n, D], nearest first: numbers int64 [n, count], and float32 [n,
        count], their cosines or squared distances.
        """
        measures, numbers = self._index.search(np.ascontiguousarray(vectors, np.float32), count)
        return numbers, measures
