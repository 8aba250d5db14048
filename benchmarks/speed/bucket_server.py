"""A folder as a bucket, on this machine: the reading half of S3, as much as a cache asks of it.

    python -m benchmarks.speed.bucket_server FOLDER

Ranges of files go from the page cache to the socket by `sendfile`, and of a request only its first line and its range
are read, so that what is measured against it is the reader. Nothing is checked: neither keys nor signatures, nor
conditions. Tests have a server that is stricter.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_TIME = "%Y-%m-%dT%H:%M:%S.000Z"
_RANGE = re.compile(rb"\r\nrange: bytes=(\d*)-(\d*)\r\n", re.IGNORECASE)


class Reading(StreamRequestHandler):
    """`/BUCKET/KEY` is the file KEY of the folder, whatever the bucket is called."""

    disable_nagle_algorithm = True
    folder: Path
    latency = 0.0  # seconds before an answer

    def handle(self) -> None:
        """Answer requests until the client goes."""
        with contextlib.suppress(ConnectionError):
            while head := self._head():
                method, path, _ = head.split(b" ", 2)
                time.sleep(self.latency)
                self._get(method != b"HEAD", urlsplit(path.decode()), _RANGE.search(head))

    def _head(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return b"".join(lines)

    def _get(self, wanted: bool, place: SplitResult, asked: re.Match[bytes] | None) -> None:
        """An object, a range of one, or a list of them."""
        _, _, key = unquote(place.path).lstrip("/").partition("/")
        if not key:
            self._answer(200, wanted, self._list(parse_qs(place.query).get("prefix", [""])[0]))
            return
        try:
            with (self.folder / key).open("rb", buffering=0) as file:
                self._send(file.fileno(), wanted, asked)
        except FileNotFoundError:
            self._answer(404, wanted, b"<Error><Code>NoSuchKey</Code></Error>")

    def _send(self, file: int, wanted: bool, asked: re.Match[bytes] | None) -> None:
        stat = os.fstat(file)
        start, end = 0, stat.st_size
        if asked and asked[1]:
            start, end = int(asked[1]), min(end, int(asked[2]) + 1 if asked[2] else end)
        elif asked:
            start = max(0, end - int(asked[2]))
        head = [
            f'ETag: "{stat.st_mtime_ns}-{stat.st_size}"',
            f"Last-Modified: {formatdate(stat.st_mtime, usegmt=True)}",
        ]
        if asked:
            head.append(f"Content-Range: bytes {start}-{end - 1}/{stat.st_size}")
        self._begin(206 if asked else 200, end - start, head, more=wanted and start < end)
        while wanted and start < end:
            start += os.sendfile(self.connection.fileno(), file, start, end - start)

    def _list(self, prefix: str) -> bytes:
        entries = sorted((self.folder / prefix).iterdir()) if (self.folder / prefix).is_dir() else []
        found = [
            f"<Contents><Key>{escape(prefix + entry.name)}</Key><Size>{entry.stat().st_size}</Size>"
            f"<ETag>{entry.stat().st_mtime_ns}</ETag>"
            f"<LastModified>{time.strftime(_TIME, time.gmtime(entry.stat().st_mtime))}</LastModified></Contents>"
            for entry in entries if entry.is_file()
        ]  # fmt: skip
        return f"<ListBucketResult>{''.join(found)}</ListBucketResult>".encode()

    def _answer(self, status: int, wanted: bool, body: bytes) -> None:
        self._begin(status, len(body), [], more=wanted)
        if wanted:
            self.connection.sendall(body)

    def _begin(self, status: int, length: int, head: list[str], more: bool) -> None:
        lines = [f"HTTP/1.1 {status} OK", *head, f"Content-Length: {length}", "", ""]
        self.connection.send("\r\n".join(lines).encode(), socket.MSG_MORE if more else 0)


class Server(ThreadingTCPServer):
    """A thread a connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


@contextlib.contextmanager
def bucket_of(folder: Path, latency: float = 0.0) -> Iterator[str]:
    """The endpoint of a server of a folder, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", __name__, str(folder), str(port), str(latency)])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    Reading.folder = Path(sys.argv[1])
    Reading.latency = float(sys.argv[3]) if sys.argv[3:] else 0.0
    Server(("127.0.0.1", int(sys.argv[2]) if sys.argv[2:] else 9000), Reading).serve_forever()
