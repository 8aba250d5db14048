"""The log of a service whose requests are answered in a process of Ray's, which has a standard error that nobody reads.

Lines go through a socket of this machine to the process that was started, and come out there as if they were its own.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from .logs import JsonLines, log_to_stderr

_MOST = 1 << 17
_PATIENCE = 1.0


@contextlib.contextmanager
def listening() -> Iterator[str]:
    """Write what comes to standard error, for as long as the block runs; the address to send it to."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-") as folder, contextlib.ExitStack() as stack:
        address = str(Path(folder) / "log")  # in a folder that is this user's alone
        inbox = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        inbox.bind(address)
        thread = threading.Thread(target=_copy, args=(inbox,), daemon=True)
        thread.start()
        yield address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", address)
        thread.join(_PATIENCE)


def log_to(address: str) -> None:
    """Have everything that this process logs sent there."""
    log_to_stderr()
    handler = _Sending(address)
    handler.setFormatter(JsonLines())
    logging.getLogger().handlers[:] = [handler]


def _copy(inbox: socket.socket) -> None:
    while line := inbox.recv(_MOST):
        sys.stderr.write(line.decode(errors="replace") + "\n")
        sys.stderr.flush()


class _Sending(logging.Handler):
    """A datagram a line. One that cannot be sent is lost: no request waits for its log."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_PATIENCE)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        with contextlib.suppress(OSError):
            self._socket.sendto(self.format(record).encode()[:_MOST], self._address)
