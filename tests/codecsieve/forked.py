"""Processes of tests, forked off one server, which has imported and begun what would take each of them seconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.codecsieve.forked_off"])


class Process(processes.Process):  # type: ignore[name-defined,misc]
    """A process that has this one's environment; the server that forks it may have been started with another."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._environment = dict(os.environ)

    def run(self) -> None:
        """Do what it is for."""
        os.environ.update(self._environment)
        super().run()


def killed(act: Callable[..., object], *arguments: Any) -> bool:
    """Have `act` done in a process of its own; whether that was killed."""
    process = Process(target=act, args=arguments)
    process.start()
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


def killed_copy(work: Callable[[], object]) -> bool:
    """The same of what cannot be pickled, such as a lambda: in a copy of this process."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL
