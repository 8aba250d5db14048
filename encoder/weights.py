"""Checkpoints: `model.safetensors`, in one piece or in shards, in a folder or on the Hugging Face hub.

A checkpoint fits its model or is an error: no weight is left untrained, left out or reshaped.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codecsieve.errors import EncoderError
from codecsieve.text import one_line, quoted

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NAMED = 4  # keys that an error names; the others are counted


def locate(name: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder of a checkpoint, downloaded first where `name` is a hub id (`owner/name`) and not a folder.

    Raises EncoderError where there is neither.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(str(name)):
        raise EncoderError(f"{name}: no such folder, and not a hub id, which is owner/name")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        what = "no such folder; to have it from the hub: pip install huggingface_hub"
        raise EncoderError(f"{name}: {what}") from None
    try:
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # its client's errors have no base class of their own
        reason = " ".join(str(error).split())
        raise EncoderError(f"{name}: no such folder, and the hub does not give it ({reason})") from error


def load_weights(
    model: nn.Module, folder: Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> None:
    """Give a model, on whatever device, the weights of a folder, in `dtype` (None: as they are stored) on `device`.

    Raises EncoderError, which names the folder, keys and shapes, unless they are exactly the model's.
    """
    found = _read(folder, str(device))
    _check_fit(folder, {name: value.shape for name, value in model.state_dict().items()}, found)
    model.load_state_dict({name: value.to(dtype) for name, value in found.items()}, assign=True)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write `model.safetensors` into a folder; a file of that name is replaced once the new one is whole."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    part = folder / f".{WEIGHTS}.part"
    save_file(state, part, metadata={"format": "pt"})
    part.replace(folder / WEIGHTS)


def _read(folder: Path, device: str) -> dict[str, Tensor]:
    if (folder / WEIGHTS).exists():
        return _read_file(folder / WEIGHTS, device)
    if not (folder / INDEX).exists():
        raise EncoderError(f"{folder}: holds neither {WEIGHTS} nor {INDEX}")
    try:
        shard_of = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(shard_of.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{folder / INDEX}: is not an index of shards ({quoted(error)})") from error
    found: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise EncoderError(f"{folder / INDEX}: a shard ({quoted(shard)}) must be a file beside it")
        found |= _read_file(folder / shard, device)
    return found


def _read_file(path: Path, device: str) -> dict[str, Tensor]:
    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{path}: cannot be read ({one_line(str(error))}); get the file again") from error


def _check_fit(folder: Path, wanted: Mapping[str, torch.Size], found: Mapping[str, Tensor]) -> None:
    wrong = [
        f"{name} is {list(found[name].shape)} and must be {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name].shape != shape
    ]
    faults = [
        f"{what}: {_some(names)}"
        for what, names in (
            ("missing", [name for name in wanted if name not in found]),
            ("not known", [name for name in found if name not in wanted]),
            ("of another shape", wrong),
        )
        if names
    ]
    if faults:
        raise EncoderError(f"{folder}: the weights are not those of its config.json; {'; '.join(faults)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
