"""Runs a service under uvicorn: what it may be bound to, how it ends, how long it waits for a request's headers."""

from __future__ import annotations

import asyncio
import json
import signal
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from codecsieve.errors import ConfigError

from .access import is_loopback
from .app import make_app
from .keys import Keys
from .logs import event, log_to_stderr
from .service import Service, Settings

_HEADERS_BYTES = 1 << 16
MOST_CONNECTIONS = 1000
MOST_MESSAGE = 1 << 20
"""Bytes of one of a stream's messages to us."""
DRAIN_SECONDS = 60


class Server(uvicorn.Server):
    """Says that it is ending as soon as it is told to."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM or SIGINT: finish what is here, take nothing more."""
        event("ending", signal=signal.Signals(sig).name)
        self._service.drain()
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # which uvicorn raises again at the end: to be told to end is no failure


class PatientProtocol(H11Protocol):
    """Ends a connection whose request's headers do not come: one that sends a byte a minute holds nobody up.

    patience: seconds that they are waited for.
    """

    patience = 20.0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._deadline = asyncio.get_running_loop().call_later(self.patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The headers have come, and what comes now is another's."""
        self._deadline.cancel()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Say in one line, as all else is said, that this is no HTTP; and no more of it."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": f"{msg.rstrip('.').lower()}; it must be HTTP/1.1, its headers of at most "
                                        f"{_HEADERS_BYTES >> 10} KB"}).encode()  # fmt: skip
            told = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            head = h11.Response(status_code=400, headers=list(told.items()))
            for part in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _look(self) -> None:
        begun = self.cycle is not None and not self.cycle.response_complete
        if not begun and (self.cycle is None or self.conn.trailing_data[0]) and not self.transport.is_closing():
            self.transport.close()  # nothing has come, or some of the headers and not all
        elif not self.transport.is_closing():
            self._deadline = asyncio.get_running_loop().call_later(self.patience, self._look)


def check_binding(settings: Settings, host: str) -> None:
    """Raise ConfigError where a service would be open to others without keys."""
    if not is_loopback(host) and not settings.insecure and not Keys(settings.data).all():
        raise ConfigError(
            f"host ({host}) must be loopback where there are no keys: make one with `codecsieve serve keys add NAME`, "
            "or say --insecure"
        )


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM. Raises ConfigError, CacheError, EncoderError where it cannot start."""
    check_binding(settings, host)
    log_to_stderr()
    service = Service(settings)
    protocol = type("Protocol", (PatientProtocol,), {"patience": settings.limits.patience})
    config = uvicorn.Config(
        make_app(service), host=host, port=port, http=protocol, ws="websockets-sansio", ws_max_size=MOST_MESSAGE,
        ws_max_queue=4, ws_per_message_deflate=False, lifespan="on", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30, h11_max_incomplete_event_size=_HEADERS_BYTES, timeout_graceful_shutdown=DRAIN_SECONDS,
    )  # fmt: skip
    event("serving", host=host, port=port, roots=list(settings.roots.folders), model=settings.model,
          workers=service.desk.workers, keys=len(service.access.keys.all()))  # fmt: skip
    Server(config, service).run()
