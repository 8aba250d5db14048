"""A WebSocket to a service, for plain threads: one may send while another waits for what comes.

Both directions are an event loop's, in a thread of its own, so that neither holds the other up when the service takes
nothing for a while; how much is held is bounded, and whoever sends or answers too fast waits. What messages mean is
left to others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.frames import CloseCode

from codecsieve.client.connection import Connection, TryAgainError
from codecsieve.errors import ServiceError
from codecsieve.text import quoted, shortened

_OPEN_SECONDS, _CLOSE_SECONDS = 10.0, 2.0
_HELD = 4  # messages that have come and were not asked for
_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 4}  # seconds, seconds, times


class WebSocket:
    """Open from the beginning; `close` from any thread ends whatever waits."""

    def __init__(self, connection: Connection, path: str, name: str | None) -> None:
        """Open one. name: of what will be sent, for messages.

        Raises ServiceError where it is refused, TryAgainError where another try may help.
        """
        self._connection, self._ended = connection, False
        self._asking, self._closing = threading.Lock(), threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._socket = self._wait(self._open(path, name))
        except BaseException:
            self._end()
            raise

    def send(self, data: bytes) -> None:
        """Send a binary message, once there is room for it. Raises TryAgainError where the connection is lost."""
        self._wait(self._socket.send(data))

    def receive(self) -> str | bytes:
        """The next message, waited for. Raises as `send`; ServiceError for one that is too large."""
        message: str | bytes = self._wait(self._socket.recv())
        return message

    def close(self) -> None:
        """Let it go; a second time does nothing."""
        with self._closing:
            if not self._ended:
                self._wait(self._close())
                self._end()

    async def _open(self, path: str, name: str | None) -> ClientConnection:
        link = self._connection
        address = urlsplit(link.url)
        secure = address.scheme == "https"
        try:
            opened = _connected(str(address.hostname), address.port or (443 if secure else 80))
            return await connect(
                f"{'wss' if secure else 'ws'}://{address.netloc}{address.path}{path}",
                sock=opened,  # so that neither proxies nor redirects are followed
                server_hostname=address.hostname if secure else None,
                additional_headers=link.headers,
                compression=None,
                open_timeout=_OPEN_SECONDS,
                ping_interval=None,  # an answer waits behind all that was sent, and says nothing
                max_size=link.most_bytes,
                max_queue=_HELD,
                logger=_SILENT,
            )
        except InvalidStatus as error:
            told = error.response
            kept = {head: told.headers[head] for head in ("content-type", "retry-after") if head in told.headers}
            if told.status_code >= 400:
                link.refuse(httpx.Response(told.status_code, headers=kept, content=bytes(told.body or b"")), name)
            raise link.strange(f"{told.status_code}") from None
        except (OSError, EOFError, InvalidMessage) as error:
            raise link.unreachable(error) from None
        except (InvalidHandshake, ValueError) as error:
            raise link.strange(f"no WebSocket ({shortened(str(error))})") from None

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(self._socket.close(), _CLOSE_SECONDS)
        except TimeoutError:  # it takes nothing more, not even a word of the end
            self._socket.transport.abort()

    def _wait(self, action: Coroutine[Any, Any, Any]) -> Any:
        try:
            with self._asking:  # so that what was asked before the end is cancelled by it, and nothing is after
                if self._ended:
                    raise CancelledError
                answer = asyncio.run_coroutine_threadsafe(action, self._loop)
            return answer.result()
        except ConnectionClosed as error:
            link = self._connection
            if error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
                raise ServiceError(f"{link.url}: a window is over the {link.most_bytes} bytes that are taken; ask for "
                                   "less, or set most_bytes") from None  # fmt: skip
            reason = quoted(error.rcvd.reason or str(error.rcvd.code), 80) if error.rcvd else "the connection broke"
            raise TryAgainError(ServiceError(f"{link.url}: the stream was cut off ({reason})")) from None
        except CancelledError:  # closed meanwhile
            action.close()
            raise TryAgainError(ServiceError(f"{self._connection.url}: the stream was closed")) from None

    def _end(self) -> None:
        def cancel() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_soon(self._loop.stop)

        with self._asking:
            self._ended = True
            self._loop.call_soon_threadsafe(cancel)
        self._thread.join()
        self._loop.close()


_SILENT = logging.Logger("codecsieve.client.websocket", logging.CRITICAL + 1)
"""What goes wrong is said by exceptions, once."""


def _connected(host: str, port: int) -> socket.socket:
    """A socket that finds out within a minute, while nothing is sent, that nobody is there any more."""
    opened = socket.create_connection((host, port), _OPEN_SECONDS)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # Linux's; elsewhere the system's own times hold
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    opened.setblocking(False)
    return opened
