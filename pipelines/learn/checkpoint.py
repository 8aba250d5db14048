"""A training on disk: one safetensors file holds the tensors and, as JSON in its header, all the rest.

So a checkpoint is written whole or not at all, and nothing is ever unpickled. Each tensor has a checksum there, too, so
that none is gone on with whose bytes have changed since; checkpoints made before that have none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from codecsieve.errors import CacheError
from codecsieve.files import publish
from codecsieve.text import one_line

_STATE = "codecsieve_probe"
_SUMS = "crc32c"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Publish tensors and plain JSON; a file of that name is replaced once the new one is whole."""
    write_tensors(path, tensors, {_STATE: json.dumps(state)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of a checkpoint. Raises CacheError where it is damaged."""
    with opened(path, "delete it and run probe again") as file:
        state: dict[str, Any] = json.loads(file.metadata()[_STATE])
        return all_tensors(file), state


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Publish tensors, wherever they lie, as a safetensors file."""
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    sums = json.dumps({name: _checksum(kept[name]) for name in sorted(kept)})  # whatever order they came in
    publish(path, [save(kept, metadata={**(metadata or {}), _SUMS: sums})])


@contextmanager
def opened(path: Path, advice: str) -> Iterator[Any]:
    """A safetensors file to read from. Whatever is wrong with it, or with what it says, becomes a CacheError."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"checkpoint {path} cannot be read ({one_line(str(error))}); {advice}") from error


def all_tensors(file: Any) -> dict[str, Tensor]:
    """The tensors of an opened file, by name."""
    return dict(some_tensors(file, lambda _: True))


def some_tensors(file: Any, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """Those tensors of an opened file whose names are wanted."""
    sums = (file.metadata() or {}).get(_SUMS)
    told: dict[str, int] | None = None if sums is None else json.loads(sums)
    for name in file.keys():  # noqa: SIM118  # it is no dict
        if wanted(name):
            tensor = file.get_tensor(name)
            if told is not None and told.get(name) != _checksum(tensor):
                raise ValueError(f"{name} is not what was written")
            yield name, tensor


def _checksum(tensor: Tensor) -> int:
    """Of kind, shape and bytes of a tensor that lies on the processor, in one piece."""
    kind = google_crc32c.value(f"{tensor.dtype} {list(tensor.shape)}".encode())
    checksum: int = google_crc32c.extend(kind, tensor.reshape(-1).view(torch.uint8).numpy())
    return checksum


def training_tensors(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """Weights, and what the optimizer remembers of each."""
    tensors = {f"weights.{name}": value for name, value in model.state_dict().items()}
    for number, memory in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in memory.items()}
    return tensors


def restore_training(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: optim.Optimizer) -> None:
    """The other way round: weights and memory as they were, bit for bit."""
    model.load_state_dict(part(tensors, "weights."))
    memory: dict[int, dict[str, Tensor]] = {}
    for name, value in part(tensors, "optimizer.").items():
        number, _, what = name.partition(".")
        memory.setdefault(int(number), {})[what] = value
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
