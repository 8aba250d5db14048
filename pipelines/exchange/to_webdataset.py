"""WebDataset: tar files of samples, each a few files of one key.

    clips-000000.tar:  KEY.json  KEY.patches.npy  KEY.positions.npy  KEY.scores.npy  KEY.frame_ids.npy

The JSON holds all that is known of the clip, its true id too. Nothing in a shard depends on when or where it was made.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from codecsieve.cache.parquet import column
from codecsieve.files import publishing

from .names import keys_of
from .selection import Count, Selection, npy, plain_json

_COPIED = 1 << 20  # bytes at a time


def write_webdataset(selection: Selection, folder: Path, count: Count) -> None:
    """Write the shards that are not in `folder` yet. count: told of clips as they are done."""
    keys = keys_of(column(selection.table, "id"))
    for shard in range(selection.shards):
        path = folder / f"clips-{shard:06d}.tar"
        if path.exists():
            count(len(selection.rows(shard)), there=True)
            continue
        first = shard * selection.shard_clips
        with publishing(path) as file, tarfile.TarFile(fileobj=file, mode="w", copybufsize=_COPIED) as tar:
            for key, (row, arrays) in zip(keys[first:], selection.clips(shard), strict=False):
                _add(tar, f"{key}.json", io.BytesIO(plain_json(row).encode()))
                for name, values in arrays.items():
                    _add(tar, f"{key}.{name}.npy", io.BytesIO(npy(values)))
                count(1)


def _add(tar: tarfile.TarFile, name: str, file: io.BytesIO) -> None:
    about = tarfile.TarInfo(name)
    about.size = file.getbuffer().nbytes
    file.seek(0)
    tar.addfile(about, file)
