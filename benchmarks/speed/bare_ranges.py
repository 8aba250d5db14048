"""What reading ranges costs without a cache: by bare sockets straight into a batch, and by obstore, thrown away.

The first is the most that HTTP gives on this machine, the second what is left of it by the library that signs,
encrypts and repeats. Both read the chunks of a batch's patches from `bucket_server`, a thread each for several.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import obstore
from obstore.store import from_url

from codecsieve.cache.layout import SHARD_CLIPS, ArrayLayout

_THREADS = 16  # as many as the cache's reader has


class BareRanges:
    """Patches of rows of the cache `cache` in a bucket, of which every row is filled."""

    def __init__(self, endpoint: str, array: ArrayLayout, options: dict[str, object]) -> None:
        """options: obstore's."""
        self._endpoint, self._array = endpoint, array
        self._store = from_url("s3://bucket/cache", client_options={"allow_http": True}, **options)  # type: ignore[arg-type]
        self._threads, self._mine = ThreadPoolExecutor(_THREADS), threading.local()

    def receive(self, rows: Sequence[int]) -> np.ndarray:
        """By sockets, uint8 [len(rows), bytes of a chunk]."""
        out = np.empty((len(rows), self._array.nbytes), np.uint8)
        list(self._threads.map(self._receive, rows, out))
        return out

    def throw_away(self, rows: Sequence[int]) -> None:
        """By obstore; nothing is made of it."""
        list(self._threads.map(self._drop, rows))

    def _receive(self, row: int, out: np.ndarray) -> None:
        connection = self._connection()
        first = row % SHARD_CLIPS * self._array.nbytes
        connection.sendall(
            f"GET /bucket/cache/{self._array.shard_key(row // SHARD_CLIPS)} HTTP/1.1\r\n"
            f"Range: bytes={first}-{first + len(out) - 1}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:  # looked at, and then taken to its end only
            head = connection.recv(1 << 12, socket.MSG_PEEK)
        connection.recv(head.index(b"\r\n\r\n") + 4)
        left = memoryview(out)
        while left:
            left = left[connection.recv_into(left) :]

    def _drop(self, row: int) -> None:
        first = row % SHARD_CLIPS * self._array.nbytes
        key = self._array.shard_key(row // SHARD_CLIPS)
        obstore.get(self._store, key, options={"range": (first, first + self._array.nbytes)}).bytes()

    def _connection(self) -> socket.socket:
        if not hasattr(self._mine, "connection"):
            host, _, port = self._endpoint.removeprefix("http://").partition(":")
            self._mine.connection = socket.create_connection((host, int(port)))
        connection: socket.socket = self._mine.connection
        return connection
