"""Killing what writes a cache or what is made of one, at every point where that makes a difference."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from forked import killed

CHANGES = ("mkdir", "replace", "unlink")  # between two of these a killed process leaves the same published files


@contextmanager
def each_call(functions: tuple[str, ...], act: Callable[[int], None]) -> Iterator[None]:
    """Before each call of these functions of `os`: `act` with the call's number, from 0 over all of them."""
    numbers = iter(range(1 << 30))

    def wrap(real: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object) -> object:
            act(next(numbers))
            return real(*arguments)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for name in functions:
            patch.setattr(os, name, wrap(getattr(os, name)))
        yield


def count_calls(functions: tuple[str, ...], act: Callable[..., object], *arguments: Any) -> int:
    """How often these functions of `os` are called where `act` is."""
    numbers: list[int] = []
    with each_call(functions, numbers.append):
        act(*arguments)
    return len(numbers)


def kill_at(call: int, act: Callable[..., object], *arguments: Any) -> None:
    """Have `act` done in a process that is killed before its change of that number."""
    assert killed(_die, call, act, arguments)


def _die(call: int, act: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    def die(number: int) -> None:
        if number == call:
            os.kill(os.getpid(), signal.SIGKILL)

    with each_call(CHANGES, die):
        act(*arguments)
