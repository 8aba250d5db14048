"""Plain numpy: a file a clip, in folders of a shard each, and a table of all.

index.parquet               all that is known of each clip, and its `file`
clips/00000/KEY.npz         the arrays, and `metadata`: the table's row as JSON
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from codecsieve.cache.parquet import column, to_parquet
from codecsieve.files import make_folder, publish, publishing

from .names import keys_of
from .selection import Count, Selection, plain_json


def write_npz(selection: Selection, folder: Path, count: Count) -> None:
    """Write the files that are not in `folder` yet. count: told of clips as they are done."""
    keys = keys_of(column(selection.table, "id"))
    files = [f"clips/{number // selection.shard_clips:05d}/{key}.npz" for number, key in enumerate(keys)]
    for _, path, row, arrays in selection.missing([folder / name for name in files], Path.exists, count):
        make_folder(path.parent)
        with publishing(path) as file:
            # numpy's types take any name for one of savez's own arguments.
            np.savez(file, **arrays, metadata=np.array(plain_json(row)))  # type: ignore[arg-type]
    table = selection.table.append_column("file", pa.array(files, pa.string()))
    publish(folder / "index.parquet", [to_parquet(table)])
