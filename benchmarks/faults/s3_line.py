"""An S3 server on this machine, moto's or one that runs already, and a line to it that may be made to fail.

The line counts what passes, and answers 500, waits, or breaks off as it is told. moto looks whether an object is there
and puts it in two steps of Python, which two threads may take at once; S3 does not, and so the line lets one
conditional put through to it at a time. Other servers get them as they come.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["", "500", "late 500", "slow", "cut", "lost", "denied", "full", "unconditional"]
"""What becomes of a request: passed on; 500; passed on, and then 500; passed on late; its answer broken off in the
middle; passed on, and then broken off before any answer; 403; 507; passed on without what it was to depend on."""

KEYS = {"AWS_ACCESS_KEY_ID": "key-that-tells", "AWS_SECRET_ACCESS_KEY": "secret-that-tells", "AWS_REGION": "us-east-1"}
_SLOW = 0.4  # seconds
_ERRORS = {
    "500": (500, "InternalError"), "late 500": (500, "InternalError"), "denied": (403, "AccessDenied"),
    "full": (507, "XMinioStorageFull"),
}  # fmt: skip
_CONDITIONS = ("if-match", "if-none-match")


class Line(ThreadingHTTPServer):
    """What stands between clients and the server: `fault` is asked for each request, by its method and path."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behind: str, atomic: bool) -> None:
        """Behind: the server's host and port; atomic: whether its conditional puts are."""
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind
        self.putting: AbstractContextManager[Any] = nullcontext() if atomic else threading.Lock()
        self.fault: Callable[[str, str], Fault] = lambda method, path: ""
        self.seen: Counter[str] = Counter()
        self.log: list[tuple[str, str, str]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed break off."""


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # which waits 40 ms between an answer's head and its body
    wbufsize = -1
    server: Line

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault(self.command, self.path)
        self.server.seen[self.command] += 1
        self.server.log.append((self.command, self.path, self.headers.get("Range") or ""))
        if fault in _ERRORS and fault != "late 500":
            self._refuse(fault)
            return
        if fault == "slow":
            time.sleep(_SLOW)
        conditional = any(name in self.headers for name in _CONDITIONS)
        with self.server.putting if self.command == "PUT" and conditional else nullcontext():
            status, headers, data = self._ask(body, () if fault != "unconditional" else _CONDITIONS)
        if fault == "late 500":
            self._refuse(fault)
            return
        if fault == "lost":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(status, headers, data, cut=fault == "cut")

    def _refuse(self, fault: str) -> None:
        code, name = _ERRORS[fault]
        self._answer(code, {}, f"<Error><Code>{name}</Code></Error>".encode())

    def _ask(self, body: bytes, without: tuple[str, ...]) -> tuple[int, dict[str, str], bytes]:
        server = HTTPConnection(self.server.behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", *without)}
        server.request(self.command, self.path, body, headers)
        answer: HTTPResponse = server.getresponse()
        data = answer.read()
        kept = {n: v for n, v in answer.getheaders() if n.lower() not in ("connection", "transfer-encoding", "date")}
        server.close()
        return answer.status, kept, data

    def _answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response(status)
        length = headers.pop("Content-Length", headers.pop("content-length", str(len(data))))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if cut:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - http.server's names

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(behind: str | None = None) -> Iterator[Line]:
    """A line to a server: to an empty one of moto's, or to one that runs already at this host and port."""
    with ExitStack() as running:
        line = Line(behind or running.enter_context(_moto()), atomic=behind is not None)
        threading.Thread(target=line.serve_forever, daemon=True).start()
        running.callback(line.server_close)
        running.callback(line.shutdown)
        yield line


@contextmanager
def _moto() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(process, port)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def make_bucket(line: Line, name: str) -> None:
    """Make one in moto's server, which asks for no keys."""
    request = urllib.request.Request(f"http://{line.behind}/{name}", method="PUT")
    urllib.request.urlopen(request).close()


def environment(line: Line) -> dict[str, str]:
    """What a process must have in its environment to find the server."""
    return {**KEYS, "AWS_ENDPOINT_URL": line.endpoint}


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "the S3 server has ended"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    raise TimeoutError("the S3 server does not answer")


if __name__ == "__main__":  # to try things by hand
    with serving() as by_hand:
        make_bucket(by_hand, "bucket")
        print(" ".join(f"{name}={value}" for name, value in environment(by_hand).items()), flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
