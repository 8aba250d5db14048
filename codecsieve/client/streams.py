"""A stream of a service's, from outside: a video is sent, or named, and its windows come back as they are made.

How bytes cross is left to `websocket`. Windows depend on nothing but the video, so that one which can be sent from its
beginning again outlives a lost connection: windows that were given are not given twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
import numpy as np

from codecsieve.client.connection import Connection, TryAgainError, unreadable
from codecsieve.client.tokens import SievedTokens, sieved_window
from codecsieve.client.websocket import WebSocket
from codecsieve.errors import ServiceError, VideoError
from codecsieve.files import open_regular
from codecsieve.text import shortened

_PART = 1 << 18
_LOOK_AGAIN = 200  # milliseconds between two looks at whether a silent pipe is still wanted
_MOST_TOLD = 1 << 20


class Bytes(Protocol):
    """What may be sent in place of a path. Each read waits for some bytes, and b"" is the end."""

    def read(self, size: int, /) -> bytes:
        """At least one byte, at most `size`."""


@dataclass(frozen=True, repr=False)
class RemoteWindow:
    """A selection of consecutive frames of a stream, as a service gives it."""

    number: int
    """0 for a stream's first window."""
    times: np.ndarray
    """float64 [T]: presentation time of each slot's frame, seconds by the source's own clock; NaN where it has none."""
    selection: SievedTokens
    """What `codecsieve.sieve` gives of these frames; `frame_ids` count from the stream's first frame."""
    notes: Sequence[str]
    """What was not as it should be, a line each."""

    def __repr__(self) -> str:
        ids = self.selection.frame_ids
        notes = "".join(f"\n  {note}" for note in self.notes)
        return f"RemoteWindow {self.number}: frames {ids[0]} to {ids[-1]}{notes}\n{self.selection!r}"


class RemoteStream(Iterator[RemoteWindow]):
    """The windows of a stream, one after the other, each as soon as the service has it.

    An iterator, of one thread, that is closed at its end; `close` or a `with` block ends it before.
    """

    def __init__(
        self, connection: Connection, query: Mapping[str, Any], video: str | os.PathLike[str] | Bytes | None
    ) -> None:
        """video: what is sent; None where `query` names what the service has. Nothing is asked yet."""
        self.frames: int | None = None
        """Frames of the whole stream, once it has ended."""
        self._connection = connection
        given = {name: value for name, value in query.items() if value is not None}
        self._path = f"/v1/stream?{httpx.QueryParams(given)}"
        self._source = None if video is None else _Source(video)
        self._windows = self._give()

    def __next__(self) -> RemoteWindow:
        """The next window, waited for.

        Raises:
            StopIteration: the stream has ended.
            ServiceError: the service's own line, all windows before that having been given; or the connection is lost,
                and what is sent cannot be sent again.
            VideoError: the video cannot be read.
        """
        return next(self._windows)

    def close(self) -> None:
        """Let the stream go, at both ends; a second time does nothing."""
        self._windows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _give(self) -> Generator[RemoteWindow, None, None]:
        """Windows, each once, over as many connections as it takes."""
        given, patience = 0, self._connection.patience()
        while True:
            try:
                for window in self._windows_of_one():
                    if window.number == given:
                        given, patience = given + 1, self._connection.patience()
                        yield window
                return
            except TryAgainError as failed:
                if self._source is not None and not self._source.can_begin_again:
                    raise failed.error from None
                patience.wait(failed)

    def _windows_of_one(self) -> Generator[RemoteWindow, None, None]:
        """The windows that come over one connection. Raises TryAgainError where it ends before the stream does."""
        source = self._source
        name = None if source is None else source.name
        with contextlib.closing(WebSocket(self._connection, self._path, name)) as socket:
            sending = None if source is None else _Sending(source, socket)
            try:
                while "end" not in (told := self._told(socket.receive())):
                    yield self._window(told, socket.receive())
                self.frames = told["frames"]
            except TryAgainError:
                if sending is not None and sending.failure is not None:
                    raise sending.failure from None
                raise
            finally:
                if sending is not None:
                    sending.stop()

    def _told(self, message: str | bytes) -> dict[str, Any]:
        """What a text message says. Raises ServiceError for one that tells an error, or cannot be."""
        told: Any
        try:
            told = json.loads(message) if isinstance(message, str) and len(message) <= _MOST_TOLD else None
        except (ValueError, RecursionError):
            told = None
        match told:
            case {"error": str(line), "status": int(status)}:
                if self._source is not None and line.startswith("upload: "):
                    line = f"{self._source.name}: {line.removeprefix('upload: ')}"
                raise ServiceError(line, status)
            case {"end": True, "frames": int()} | {"window": int(), "notes": list()}:
                return dict(told)
        raise self._connection.strange("no word of a window")

    def _window(self, told: Mapping[str, Any], message: str | bytes) -> RemoteWindow:
        try:
            if not isinstance(message, bytes):
                raise ValueError("its arrays are missing")
            selection, times = sieved_window(bytearray(message))
        except ValueError as error:
            raise self._connection.strange(f"no window ({error})") from None
        return RemoteWindow(told["window"], times, selection, tuple(map(str, told["notes"])))


class _Source:
    """What is sent: a file, from its beginning each time; or a FIFO, or what reads, once."""

    def __init__(self, video: str | os.PathLike[str] | Bytes) -> None:
        self._video = video
        self._taken = False
        self._path = os.fspath(video) if isinstance(video, str | os.PathLike) else None
        self.name = "stream" if self._path is None else shortened(self._path)
        try:
            self._is_pipe = self._path is not None and stat.S_ISFIFO(os.stat(self._path).st_mode)
        except (OSError, ValueError) as error:
            raise unreadable(self.name, error) from None

    @property
    def can_begin_again(self) -> bool:
        """Whether nothing that was read is lost."""
        return not self._taken or (self._path is not None and not self._is_pipe)

    def parts(self, stopped: threading.Event) -> Iterator[bytes]:
        """Its bytes as they come, to their end or until it is stopped. Raises VideoError."""
        self._taken = True
        try:
            if self._path is None:
                read = getattr(self._video, "read1", None) or self._video.read  # type: ignore[union-attr]
                while not stopped.is_set() and (part := read(_PART)):
                    yield part
                return
            descriptor = self._opened(self._path)
            try:
                while _comes(descriptor, stopped) and (part := os.read(descriptor, _PART)):
                    yield part
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unreadable(self.name, error) from None

    def _opened(self, path: str) -> int:
        if self._is_pipe:  # so that one that nobody writes to yet is not waited for here
            return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        return open_regular(path)


def _comes(descriptor: int, stopped: threading.Event) -> bool:
    """Whether there is something to read, or the end, waited for until it is stopped."""
    if hasattr(select, "poll"):
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while not stopped.is_set():
            if waiting.poll(_LOOK_AGAIN):
                return True
    return not stopped.is_set()


class _Sending:
    """Sends a source in a thread of its own, no faster than it is taken."""

    def __init__(self, source: _Source, socket: WebSocket) -> None:
        self.failure: VideoError | None = None
        self._source, self._socket, self._stopped = source, socket, threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Send no more; a read that waits is not waited for."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            with contextlib.suppress(TryAgainError):  # why it was lost, whoever receives is told
                for part in self._source.parts(self._stopped):
                    self._socket.send(part)
                if not self._stopped.is_set():
                    self._socket.send(b"")
        except VideoError as error:
            self.failure = error
            self._socket.close()
        except Exception as error:  # of what reads
            self.failure = VideoError(f"{self._source.name}: cannot be read on ({type(error).__name__}: {error})")
            self._socket.close()
