"""A training on disk: one safetensors file holds the tensors and, as JSON in its header, all the rest.

So a checkpoint is written whole or not at all, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from codecsieve.errors import CacheError
from codecsieve.files import publish
from codecsieve.text import one_line

_STATE = "codecsieve_probe"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Publish tensors and plain JSON; a file of that name is replaced once the new one is whole."""
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    publish(path, [save(kept, metadata={_STATE: json.dumps(state)})])


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of a checkpoint. Raises CacheError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()[_STATE])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118  # it is no dict
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"checkpoint {path} cannot be read ({one_line(str(error))}); delete it and run probe again"
        ) from error


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
