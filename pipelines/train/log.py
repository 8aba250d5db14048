"""What a training tells while it goes: a line of JSON an event, pictures of it, and the same for TensorBoard.

    OUT/log.jsonl          a line a step: loss, losses of each head, rate, norms, seconds, part of it waited; and a line
                           a validation: validated (steps taken), recall, neighbours
    OUT/loss.png           curves of that, drawn anew at every validation and at the end
    OUT/embeddings.png     the held-out clips as the encoder sees them, from above
    OUT/tensorboard/       where it is asked for

Written by the first process. A training that goes on cuts off what it does again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecsieve.files import cannot_write, publish

from .plots import draw_curves

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG, CURVES, EMBEDDINGS, BOARD = "log.jsonl", "loss.png", "embeddings.png", "tensorboard"


class Log:
    """A training's log, open from a step on; written if `here`."""

    def __init__(self, out: Path, start: int, here: bool, tensorboard: bool = False) -> None:
        """start: steps that have been taken. Raises ModuleNotFoundError where TensorBoard is asked for and missing."""
        self.path, self._here = out / LOG, here
        self._board: SummaryWriter | None = None
        if not here:
            return
        kept = [event for event in read_log(self.path) if _is_before(event, start)] if self.path.exists() else []
        publish(self.path, ["".join(f"{json.dumps(event)}\n" for event in kept).encode()])
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(out / BOARD, purge_step=start)
        self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._here:
            with contextlib.suppress(OSError):  # what could not be written, which has been told, is tried again
                self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, event: Mapping[str, Any]) -> None:
        """Write an event: of a step, or of a validation."""
        if not self._here:
            return
        try:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if self._board is not None:
            step = event["step"] if "step" in event else event["validated"]
            for name, value in _scalars(event):
                self._board.add_scalar(name, value, step)

    def draw(self) -> None:
        """Draw the curves of what has been written."""
        if self._here:
            draw_curves(list(read_log(self.path)), self.path.with_name(CURVES))


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log; a last line that a killed process left half written is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _is_before(event: Mapping[str, Any], start: int) -> bool:
    return bool(event.get("step", -1) < start and event.get("validated", 0) <= start)


def _scalars(event: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in event.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{of}", one) for of, one in value.items())
        elif name not in ("step", "steps", "validated", "clips") and value is not None:
            yield name, value
