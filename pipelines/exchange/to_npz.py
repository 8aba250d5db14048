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
    for shard in range(selection.shards):
        first = shard * selection.shard_clips
        paths = [folder / name for name in files[first : first + selection.shard_clips]]
        if all(path.exists() for path in paths):
            count(len(paths), there=True)
            continue
        make_folder(paths[0].parent)
        for path, (row, arrays) in zip(paths, selection.clips(shard), strict=True):
            there = path.exists()
            if not there:
                with publishing(path) as file:
                    # numpy's types take any name for one of savez's own arguments.
                    np.savez(file, **arrays, metadata=np.array(plain_json(row)))  # type: ignore[arg-type]
            count(1, there)
    table = selection.table.append_column("file", pa.array(files, pa.string()))
    publish(folder / "index.parquet", [to_parquet(table)])
