"""The life of a worker, in its own process: jobs in, answers out, until the other end of the pipe is gone.

Which jobs it gets, and what follows from its end, is left to `local`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any


def serve(connection: Connection, begun: Any, function: bytes, depth: int) -> None:
    """Do jobs as they come, up to `depth` at once, a thread each.

    Comes in: (number, pickled job), numbers rising. Goes out: None once, when `function`, which comes pickled, is
    ready; then (number, answer). begun: shared, its value is the last number begun, before its job is even unpickled.
    """
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interrupt, signal.SIG_IGN)
    _end_with_the_run()
    one_at_a_time = threading.Lock()

    def send(message: Any) -> None:
        data = ForkingPickler.dumps(message)
        with one_at_a_time, contextlib.suppress(OSError):  # the other end has gone: nobody wants to know
            connection.send_bytes(data)

    def answer(number: int, job: bytes) -> None:
        begun.value = number
        send((number, do(pickle.loads(job))))

    do: Callable[[Any], Any] = pickle.loads(function)
    send(None)
    if depth == 1:
        for number, job in _jobs(connection):
            answer(number, job)
    else:
        threads = ThreadPoolExecutor(depth)
        for number, job in _jobs(connection):
            threads.submit(answer, number, job).add_done_callback(_end_if_raised)
    os._exit(0)  # nobody wants what the threads are at


def _jobs(connection: Connection) -> Iterator[tuple[int, bytes]]:
    with contextlib.suppress(EOFError, OSError):
        while True:
            yield connection.recv()


def _end_with_the_run() -> None:
    """Have this process end when the one that started it does; also in the middle of a job, which may hang.

    A thread waits for that; where a job holds Python's lock, and no thread runs, Linux sends a signal that ends it: the
    sentinel is a pipe that nobody writes to, and of which the other end closes.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    if sys.platform == "linux":
        import fcntl  # which Windows has not

        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)


def _end_if_raised(answer: Future[None]) -> None:
    """A job whose function raises ends its worker, as it does where there is one thread."""
    error = answer.exception()
    if error is not None:
        traceback.print_exception(error)
        os._exit(1)
