"""A folder for Hugging Face `datasets`: Arrow shards with declared features, and a card.

    README.md                             the card, see `card`: `load_dataset(OUT)` reads by it, and the Hub shows it
    data/train-00000-of-00007.arrow       a shard
    data/state.json, dataset_info.json    `load_from_disk(OUT/data)` maps the shards into memory, and copies nothing

Arrow, not Parquet: Parquet takes nested lists of small numbers apart value by value, at a twentieth of the speed
(`benchmarks/speed/export.py`), and cannot be mapped. What `datasets` itself would write is written here as plain Arrow
and JSON, so it need not be installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from codecsieve.files import make_folder, publish, publishing

from .card import dataset_card
from .selection import Count, Selection

_LEAVES = {"uint8": pa.uint8(), "uint16": pa.uint16(), "int32": pa.int32()}
_EXTENSION = "datasets.features.features.Array{}DExtensionType"


def write_huggingface(selection: Selection, folder: Path, count: Count) -> None:
    """Write the shards that are not in `folder` yet, and what stands beside them. count: told of clips done."""
    data = folder / "data"
    make_folder(data)
    names = [f"train-{shard:05d}-of-{selection.shards:05d}.arrow" for shard in range(selection.shards)]
    features = features_of(selection)
    schema = _schema(selection, features)
    for shard, name in enumerate(names):
        if (data / name).exists():
            count(len(selection.rows(shard)), there=True)
            continue
        with publishing(data / name) as file, pa.ipc.new_stream(file, schema) as stream:
            for rows, arrays in selection.batches(shard):
                columns = [*(rows[name].combine_chunks() for name in rows.column_names), *map(nested, arrays.values())]
                stream.write_batch(pa.record_batch(columns, schema=schema))
                count(len(rows))
    _publish_json(data / "dataset_info.json", {"features": features})
    _publish_json(data / "state.json", _state(names, selection.digest()))
    size = sum((data / name).stat().st_size for name in names)
    publish(folder / "README.md", [dataset_card(selection, features, size).encode()])


def features_of(selection: Selection) -> dict[str, dict[str, Any]]:
    """The columns as `datasets.Features.to_dict` has them."""
    features: dict[str, dict[str, Any]] = {
        field.name: {"dtype": {"double": "float64"}.get(str(field.type), str(field.type)), "_type": "Value"}
        for field in selection.table.schema
    }
    for name, (dtype, shape) in selection.shapes.items():
        if len(shape) == 1:  # "Sequence" is what old versions know, too; new ones call it List
            leaf = {"dtype": dtype, "_type": "Value"}
            features[name] = {"feature": leaf, "length": shape[0], "_type": "Sequence"}
        else:
            features[name] = {"shape": list(shape), "dtype": dtype, "_type": f"Array{len(shape)}D"}
    return features


def _schema(selection: Selection, features: dict[str, dict[str, Any]]) -> pa.Schema:
    fields = [*selection.table.schema.remove_metadata()]
    for name, (dtype, shape) in selection.shapes.items():
        kind, about = pa.list_(_LEAVES[dtype], shape[-1]), None
        if len(shape) > 1:
            kind = _LEAVES[dtype]
            for _ in shape:
                kind = pa.list_(kind)
            about = {
                "ARROW:extension:name": _EXTENSION.format(len(shape)),
                "ARROW:extension:metadata": json.dumps([shape, dtype]),
            }
        fields.append(pa.field(name, kind, metadata=about))
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def nested(values: np.ndarray) -> pa.Array:
    """Arrays as lists of lists; of numbers in one row, as lists of a fixed length."""
    lists = pa.array(values.reshape(-1))
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(lists, values.shape[1])
    for length in reversed(values.shape[1:]):
        lists = pa.ListArray.from_arrays(pa.array(np.arange(0, len(lists) + 1, length, dtype=np.int32)), lists)
    return lists


def _state(names: list[str], digest: str) -> dict[str, Any]:
    return {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": digest[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": "train",
    }


def _publish_json(path: Path, value: Any) -> None:
    publish(path, [json.dumps(value, indent=1).encode()])
