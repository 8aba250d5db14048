"""Lance: one dataset, `clips.lance`, whose arrays are lists of a fixed length.

A clip's array is flat; the field's metadata say its shape. Each shard becomes a fragment, whose description is
published when its bytes are on the disk; when all are there, one commit makes a dataset of them. Lance names its files
at random, so two exports have the same rows, not the same files.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from codecsieve.errors import CacheError, ConfigError
from codecsieve.files import cannot_write, make_folder, publish, read_regular, sync_file, sync_folder
from codecsieve.text import quoted

from .selection import Count, Selection

DATASET = "clips.lance"
_DESCRIBED = ".fragments"
_LEAVES = {"uint8": pa.uint8(), "uint16": pa.uint16(), "int32": pa.int32()}


def check_lance(selection: Selection) -> None:
    """Raise ConfigError where pylance is not installed, or the columns cannot be Lance's."""
    if importlib.util.find_spec("lance") is None:
        raise ConfigError("--to lance needs pylance, which is not installed; pip install 'codecsieve[export]'")
    _schema(selection)


def write_lance(selection: Selection, folder: Path, count: Count) -> None:
    """Write the shards that are not in `folder` yet, and the dataset of all. count: told of clips as they are done.

    Raises CacheError where it cannot write.
    """
    import lance

    root, described = folder / DATASET, folder / _DESCRIBED
    make_folder(described)
    schema = _schema(selection)
    for shard in range(selection.shards):
        path = described / f"{shard:06d}.json"
        if path.exists():
            count(len(selection.rows(shard)), there=True)
        else:
            publish(path, [json.dumps(_write_fragments(selection, shard, root, schema, count)).encode()])
    told = [one for path in sorted(described.glob("*.json")) for one in json.loads(read_regular(path))]
    _remove_all_but(root, {file["path"] for one in told for file in one["files"]})
    fragments = [lance.FragmentMetadata.from_json(json.dumps(one)) for one in told]
    with _one_line(root):
        lance.LanceDataset.commit(str(root), lance.LanceOperation.Overwrite(schema, fragments))
    _sync(root)


def _write_fragments(
    selection: Selection, shard: int, root: Path, schema: pa.Schema, count: Count
) -> list[dict[str, Any]]:
    """Write a shard's rows, durably; what Lance needs to know of their files."""
    from lance.fragment import write_fragments

    trouble: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for rows, arrays in selection.batches(shard):
                columns = [*(rows[name].combine_chunks() for name in rows.column_names), *map(_flat, arrays.values())]
                yield pa.record_batch(columns, schema=schema)
                count(len(rows))
        except BaseException as error:  # of which Lance would keep only some words
            trouble.append(error)
            raise

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    try:
        with _one_line(root):
            made = write_fragments(
                reader, str(root), schema=schema, mode="create", max_rows_per_file=selection.shard_clips
            )
    except CacheError:
        if trouble:
            raise trouble[0] from None
        raise
    described = [fragment.to_json() for fragment in made]
    for file in (file for one in described for file in one["files"]):
        sync_file(root / "data" / file["path"])
    sync_folder(root / "data")
    return described


def _schema(selection: Selection) -> pa.Schema:
    """The columns, as Lance can have them: a dot in a name, which it would take for a path, becomes `_`."""
    fields = [
        pa.field(field.name.replace(".", "_"), field.type, metadata={"name": field.name} if "." in field.name else None)
        for field in selection.table.schema
    ]
    fields += [
        pa.field(name, pa.list_(_LEAVES[dtype], math.prod(shape)), metadata={"shape": json.dumps(shape)})
        for name, (dtype, shape) in selection.shapes.items()
    ]
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(
            f"two columns would be called {quoted(twice)} in Lance, which has no dots in names; rename one"
        )
    return pa.schema(fields, metadata={"codecsieve": json.dumps(selection.cache.config)})


def _flat(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)


def _remove_all_but(root: Path, files: set[str]) -> None:
    """Leave of an export that was interrupted what is finished: neither a shard's beginning nor an earlier commit."""
    for path in root.iterdir():
        if path.name != "data":
            shutil.rmtree(path)
    for path in (root / "data").iterdir():
        if path.name not in files:
            path.unlink()


@contextlib.contextmanager
def _one_line(root: Path) -> Iterator[None]:
    """What Lance says of a full disk and the like, as one line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise cannot_write(root, OSError(str(error).partition(", /")[0])) from error


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    sync_folder(folder)
