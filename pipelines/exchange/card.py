"""The card of an exported dataset: what the Hub and `load_dataset` read of it, and what people do."""

from __future__ import annotations

import json
from typing import Any

from codecsieve.options import in_units
from codecsieve.text import printable

from .selection import Selection

_MEANING = {
    "id": "of the clip, by its content and range, or as it was given",
    "uri": "where the video was",
    "crc32c": "of the bytes of the clip's arrays, in the order in which they are listed here",
    "patches": "pixels of the patches that were kept, RGB: patch, channel, row, column",
    "positions": "of each patch: slot, row, column, in units of patches",
    "scores": "of each patch: energy (0..255) summed over its pixels",
    "frame_ids": "of each slot: the display index of its frame in the video",
}
_TEXT = """
# Sparse tokens of {clips} video clips

The patches of each clip that carry its motion and its surprise, chosen by codecsieve from what the video's codec knows
([the method](https://arxiv.org/abs/2602.08683)). A row is a clip.

```python
from datasets import load_dataset, load_from_disk

clips = load_from_disk("THIS_FOLDER/data")                # in place: the shards are mapped into memory
clips = load_dataset("THIS_FOLDER", split="train")        # or through the cache of datasets; from the Hub, by its name
patches = clips.with_format("numpy", columns=["patches"], dtype="uint8")[0]["patches"]   # without dtype, int64
```

{counts}

## Features

{features}

## How it was made

The options of the selection:

```json
{config}
```

## Licence

None is stated: it is yours to say, by what the videos allow, as `license:` in the head of this file.
"""


def dataset_card(selection: Selection, features: dict[str, dict[str, Any]], size: int) -> str:
    """README.md of a dataset. features: as `datasets.Features.to_dict` has them; size: bytes of its shards."""
    labels = set(selection.table["label"].to_pylist()) - {None}
    counts = [
        f"- clips: {len(selection)}",
        f"- labels: {len(labels)}",
        f"- shards: {selection.shards}, {in_units(size)}",
    ]
    listed = [
        f"- `{printable(name)}`: {_kind(feature)}{f', {_MEANING[name]}' if name in _MEANING else ''}"
        for name, feature in features.items()
    ]
    text = _TEXT.format(
        clips=len(selection),
        counts="\n".join(counts),
        features="\n".join(listed),
        config=json.dumps(selection.cache.config, indent=1),
    )
    return f"---\n{_head(len(selection), features, size)}---\n{text}"


def _head(clips: int, features: dict[str, dict[str, Any]], size: int) -> str:
    """The card's YAML. What is JSON in it is YAML, too, but for characters that JSON escapes as two halves each."""
    lines = [
        "tags:",
        "- video",
        "- codecsieve",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.arrow",
        "dataset_info:",
        "  features:",
    ]
    for name, feature in features.items():
        lines.append(f"  - name: {json.dumps(name, ensure_ascii=False)}")
        lines += [f"    {line}" for line in _declared(feature)]
    lines += ["  splits:", "  - name: train", f"    num_bytes: {size}", f"    num_examples: {clips}"]
    lines += [f"  download_size: {size}", f"  dataset_size: {size}"]
    return "\n".join(lines) + "\n"


def _declared(feature: dict[str, Any]) -> list[str]:
    if feature["_type"] == "Value":
        return [f"dtype: {feature['dtype']}"]
    if feature["_type"] == "Sequence":
        return [f"sequence: {feature['feature']['dtype']}", f"length: {feature['length']}"]
    name = f"array{len(feature['shape'])}_d"
    return ["dtype:", f"  {name}:", f"    shape: {json.dumps(feature['shape'])}", f"    dtype: {feature['dtype']}"]


def _kind(feature: dict[str, Any]) -> str:
    if feature["_type"] == "Value":
        return str(feature["dtype"])
    shape = feature["shape"] if "shape" in feature else [feature["length"]]
    dtype = feature["dtype"] if "dtype" in feature else feature["feature"]["dtype"]
    return f"{dtype} {shape}"
