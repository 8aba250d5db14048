"""Which labels what is trained on has: of a bank of concepts, or of a Parquet file of ids and their labels.

Words of a picture are such labels, by their numbers. Centres are left to the training, which begins with its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codecsieve.cache.concepts import open_concepts
from codecsieve.errors import ConfigError
from codecsieve.text import one_line, shortened


@dataclass(frozen=True)
class BankLabels:
    """classes: of the bank; ids: of N clips or pictures; labels: int64 [N, L]."""

    classes: int
    ids: list[str]
    labels: np.ndarray


def concept_labels(folder: str | os.PathLike[str]) -> BankLabels:
    """The labels of a folder that `codecsieve concepts` made. Raises CacheError."""
    found = open_concepts(folder)
    return BankLabels(found.classes, found.ids, found.labels.astype(np.int64))


def file_labels(path: Path, classes: int, most: int) -> BankLabels:
    """The labels of a Parquet file: columns id and labels, lists of whole numbers 0..classes - 1.

    Each row has the first `most` of its list, repeated from the beginning where it is shorter. Raises ConfigError.
    """
    if classes < 2:
        raise ConfigError(f"{path}: classes ({classes}) must be >= 2; say how many labels there are")
    try:
        table = pq.read_table(path, columns=["id", "labels"], partitioning=None)
        ids = table["id"].cast(pa.string()).to_pylist()
        lists = table["labels"].cast(pa.list_(pa.int64())).combine_chunks()
        flat, lengths = lists.flatten().to_numpy(zero_copy_only=False), lists.value_lengths().to_numpy(False)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = shortened(one_line(str(error)))
        raise ConfigError(
            f"{path} must be a Parquet file of id and labels, a list of numbers each ({reason})"
        ) from error
    if not ids or None in ids or len(set(ids)) < len(ids):
        raise ConfigError(f"{path} must have ids, each once")
    if lists.null_count or not (lengths > 0).all() or flat.dtype.kind != "i":
        raise ConfigError(f"{path} must have a list of labels in every row; leave out ids that have none")
    if flat.min() < 0 or flat.max() >= classes:
        raise ConfigError(f"{path}: labels ({flat.min()}..{flat.max()}) must be in 0..{classes - 1}")
    starts = np.cumsum(lengths) - lengths
    places = np.arange(min(most, int(lengths.max())))
    labels = flat[starts[:, None] + places % lengths[:, None]]
    return BankLabels(classes, ids, labels)
