"""Checkpoints of a training: folders that are whole, or not there, and that any number of processes can go on with.

    checkpoints/step-00000100/
      encoder.safetensors            weights, AdamW's memory of them, their moving average
      centres-00000.safetensors ...  blocks of each head's bank, by number, with AdamW's memory: a file a process
      state.json                     step, what was trained on, what validation found; last of all

A folder is written under another name and renamed when all is on the disk. Nothing in it is pickled. What the files
hold is the `Trainer`'s to say.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from codecsieve.errors import CacheError
from codecsieve.files import PARTIAL, make_folder, publish, sync_folder
from codecsieve.pipelines.learn.checkpoint import all_tensors, opened, some_tensors, write_tensors
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.text import one_line

from .trainer import Trainer

FOLDER, ENCODER, STATE = "checkpoints", "encoder.safetensors", "state.json"
_NAME = re.compile(r"step-(\d{8})")


def checkpoints(out: Path) -> dict[int, Path]:
    """The whole checkpoints of a training, by step."""
    folder = out / FOLDER
    if not folder.is_dir():
        return {}
    found = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return {step: found[step] for step in sorted(found)}


def write_checkpoint(trainer: Trainer, out: Path, step: int, state: Mapping[str, Any], ranks: Ranks) -> Path:
    """Write a checkpoint after so many steps; every process its blocks of the banks, the first one the rest."""
    path = out / FOLDER / f"step-{step:08d}"
    partial = path.with_name(path.name + PARTIAL)
    if ranks.first:
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(partial)
    ranks.wait()
    blocks = {
        f"{head}.{number}.{name}": value
        for head, number in trainer.blocks
        for name, value in trainer.block_tensors(head, number).items()
    }
    write_tensors(partial / f"centres-{ranks.rank:05d}.safetensors", blocks)
    if ranks.first:
        write_tensors(partial / ENCODER, trainer.tensors())
        publish(partial / STATE, [json.dumps({**state, "step": step}, indent=1).encode()])
    ranks.wait()
    if ranks.first:
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
        sync_folder(path.parent)
    ranks.wait()
    return path


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint's `state.json` says. Raises CacheError where it is damaged."""
    try:
        state: dict[str, Any] = json.loads((path / STATE).read_bytes())
        if not isinstance(state["step"], int):
            raise ValueError("it says no step")
        if not isinstance(state.get("identity", {}), dict):
            raise ValueError("it does not say what was trained")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path / STATE, path, error) from error
    return state


def read_checkpoint(trainer: Trainer, path: Path) -> dict[str, Any]:
    """Take a trainer to where a checkpoint is, and return its state. Raises CacheError where it is damaged."""
    state = read_state(path)
    try:
        trainer.load_tensors(read_encoder(path))
        found = _read_blocks(path, trainer.blocks)
        for name, number in trainer.blocks:
            if (name, number) not in found:
                raise KeyError(f"block {number} of the centres of {name} is missing")
            trainer.load_block(name, number, found[name, number])
    except (KeyError, ValueError, RuntimeError) as error:  # of another encoder, or another bank
        raise _damaged(path, path, error) from error
    return state


def clear_partial(out: Path) -> None:
    """Remove what killed processes left half written, or half removed."""
    for path in (out / FOLDER).glob("*" + PARTIAL):
        shutil.rmtree(path)


def keep_only(out: Path, keep: int, best: int | None) -> None:
    """Remove all checkpoints but the last few and the best one."""
    found = checkpoints(out)
    for step in list(found)[:-keep]:
        if step != best:
            # Renamed first: what a killed process leaves of it is no checkpoint.
            gone = found[step].with_name(found[step].name + PARTIAL)
            found[step].rename(gone)
            shutil.rmtree(gone)


def read_encoder(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's encoder. Raises CacheError where they are damaged."""
    with opened(path / ENCODER, _advice(path)) as file:
        return all_tensors(file)


def _read_blocks(path: Path, blocks: Collection[tuple[str, int]]) -> dict[tuple[str, int], dict[str, Tensor]]:
    """Some of the banks' blocks, by head and number, whichever process wrote them."""
    wanted = set(blocks)
    found: dict[tuple[str, int], dict[str, Tensor]] = {}
    for file in sorted(path.glob("centres-*.safetensors")):
        with opened(file, _advice(path)) as tensors:
            for name, tensor in some_tensors(tensors, lambda name: _block_of(name) in wanted):
                found.setdefault(_block_of(name), {})[name.rpartition(".")[2]] = tensor
    return found


def _block_of(name: str) -> tuple[str, int]:
    """Whose a tensor is: `clips.7.centres` is of block 7 of the clips' bank."""
    head, number, _ = name.split(".")
    return head, int(number)


def _damaged(file: Path, checkpoint: Path, error: Exception) -> CacheError:
    return CacheError(f"checkpoint {file} cannot be read ({one_line(str(error))}); {_advice(checkpoint)}")


def _advice(checkpoint: Path) -> str:
    return f"remove {checkpoint}, and the training goes on from the one before"
