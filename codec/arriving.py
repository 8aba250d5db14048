"""A video that is still coming: opened out of a pipe, a file that grows, an address on the network, or what reads so.

Where a source falls silent is told from where it ends: bytes that do not come in time are an error, once all that did
come has been used. Files that are complete are opened as everywhere else (`facts`); pictures are left to `live`.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from typing import Protocol
from urllib.parse import urlsplit

import av

from codecsieve.codec.containers import FORMATS_ONLY, SELF_CONTAINED
from codecsieve.codec.facts import open_container, video_stream
from codecsieve.errors import ConfigError, VideoError
from codecsieve.text import shortened

STANDARD_INPUT = "-"
PROTOCOLS = {
    "http": "http,tcp,httpproxy",
    "https": "https,http,tls,tcp,httpproxy",
    "rtsp": "rtsp,rtp,tcp,udp",
    "rtsps": "rtsps,rtsp,rtp,tls,tcp,udp",
    "tcp": "tcp",
    "udp": "udp",
}
"""Schemes of addresses that are read from, and the protocols that FFmpeg may use for one: no file, no other scheme."""
_LOOK_AGAIN = 0.02  # seconds between two looks at a file that has not grown


class Bytes(Protocol):
    """What `open_arriving` is given in place of a path. Each read waits for some bytes, and b"" is the end."""

    def read(self, size: int, /) -> bytes:
        """At least one byte, at most `size`."""


class Arriving:
    """Bytes as they come; what goes wrong is kept, and ends them, since it must not go through FFmpeg."""

    def __init__(self, source: Bytes | int, name: str, patience: float, follow: bool = False) -> None:
        """source: a descriptor of a pipe, or of a file that grows (`follow`), or what reads; name: for messages."""
        self._source, self._name, self._patience, self._follow = source, name, patience, follow
        self._taken = 0
        self.failure: VideoError | None = None

    def read(self, size: int) -> bytes:
        """As FFmpeg asks for them."""
        if self.failure is not None:
            return b""
        try:
            data = self._source.read(size) if not isinstance(self._source, int) else self._next(self._source, size)
            if not isinstance(data, bytes | bytearray | memoryview):  # None, of what does not wait, is no end
                raise TypeError(f"its read gave {type(data).__name__}, not bytes")
        except VideoError as error:
            self.failure = error
        except Exception as error:  # what reads may raise whatever it likes
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".removesuffix(": ")
            self.failure = VideoError(f"{self._name}: cannot be read on ({reason}); what came before was used")
            self.failure.__cause__ = error
        else:
            self._taken += len(data)
            return bytes(data)
        return b""

    def _next(self, descriptor: int, size: int) -> bytes:
        if self._follow:
            return self._grown(descriptor, size)
        if hasattr(select, "poll"):
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            if not waiting.poll(self._patience * 1000):
                raise silent(self._name, self._patience)
        return os.read(descriptor, size)

    def _grown(self, descriptor: int, size: int) -> bytes:
        until = time.monotonic() + self._patience
        while True:
            data = os.read(descriptor, size)
            if data:
                return data
            if os.fstat(descriptor).st_size < self._taken:
                raise VideoError(f"{self._name}: has become shorter while it was read; is another file written there?")
            if time.monotonic() > until:
                raise silent(self._name, self._patience)
            time.sleep(_LOOK_AGAIN)


def silent(name: str, patience: float) -> VideoError:
    """What is said of a source from which nothing comes."""
    return VideoError(
        f"{name}: nothing came for {patience:g} s; has its sender stopped? patience says how long to wait"
    )


class Opened:
    """A source that was opened: its container, its name in messages, and the bytes it is read from where we read them.

    Use as a context manager.
    """

    def __init__(self, container: av.container.InputContainer, name: str, patience: float,
                 arriving: Arriving | None = None, descriptor: int | None = None) -> None:  # fmt: skip
        self.container, self.name, self.patience = container, name, patience
        self.arriving, self._descriptor = arriving, descriptor

    def close(self) -> None:
        """Let it go; standard input and what reads are the caller's."""
        self.container.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_arriving(source: str | os.PathLike[str] | Bytes, follow: bool, patience: float) -> Opened:
    """Open a source for demuxing its first video stream.

    Args:
        source: a path (of a FIFO, too), "-" for standard input, an address of one of PROTOCOLS, or what reads.
        follow: a file is still written to: its end is waited at.
        patience: seconds that nothing may come.

    Raises:
        VideoError: it is no video, not there, or silent.
        ConfigError: `follow` of what is no file, or a source that is none of these.
    """
    if not isinstance(source, str | os.PathLike):
        if not callable(getattr(source, "read", None)):
            raise ConfigError(f"source ({shortened(repr(source))}) must be a path, an address, or have read(size)")
        if follow:
            raise ConfigError("follow is for files that grow, not for what reads")
        return _of_bytes(Arriving(source, "stream", patience), "stream", None)
    name = os.fspath(source)
    if follow and (name == STANDARD_INPUT or "://" in name):
        raise ConfigError(f"follow is for files that grow, not for {shortened(shown_address(name))}")
    if name == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise VideoError("standard input: is no video; pipe one in, or name a file")
        return _of_bytes(Arriving(sys.stdin.fileno(), "standard input", patience), "standard input", None)
    if urlsplit(name).scheme in PROTOCOLS and "://" in name:
        return _of_address(name, patience)
    if follow or _is_pipe(name):
        return _of_descriptor(name, follow, patience)
    return Opened(open_container(name), name, patience)


def _is_pipe(name: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False  # which `open_container` says


def _of_descriptor(name: str, follow: bool, patience: float) -> Opened:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(name, flags)  # so not even a FIFO without a writer waits here
    except (OSError, ValueError) as error:
        raise VideoError(f"{name}: cannot be opened ({getattr(error, 'strerror', error)}); check the path") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) if follow else stat.S_ISFIFO(mode)):
            raise VideoError(f"{name}: is no {'file' if follow else 'FIFO'}; name a video")
        return _of_bytes(Arriving(descriptor, name, patience, follow), name, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _of_bytes(arriving: Arriving, name: str, descriptor: int | None) -> Opened:
    try:
        container = av.open(arriving, "r", options=FORMATS_ONLY, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise arriving.failure or unreadable(name, error) from error
    return _checked(Opened(container, name, arriving._patience, arriving, descriptor))


def _of_address(address: str, patience: float) -> Opened:
    scheme, name = urlsplit(address).scheme, shown_address(address)
    formats = SELF_CONTAINED | ({"rtsp"} if scheme.startswith("rtsp") else set())
    options = {"protocol_whitelist": PROTOCOLS[scheme], "format_whitelist": ",".join(sorted(formats))}
    if scheme.startswith("rtsp"):
        options["rtsp_flags"] = "prefer_tcp"  # of datagrams some are lost
    began = time.monotonic()
    try:
        container = av.open(address, "r", options=options, metadata_errors="replace", timeout=patience)
    except (av.FFmpegError, OSError, ValueError) as error:
        if (
            isinstance(error, av.error.ExitError) or time.monotonic() - began >= patience
        ):  # RTSP has another word for it
            raise silent(name, patience) from error
        raise unreadable(name, error, _OF_ADDRESSES) from error
    return _checked(Opened(container, name, patience))


def _checked(opened: Opened) -> Opened:
    if video_stream(opened.container) is None:
        opened.container.close()
        raise VideoError(f"{opened.name}: has no video stream")
    return opened


_OF_PIPES = (
    "a pipe must carry one that can be read from its beginning on, such as MPEG-TS, Matroska, FLV, fragmented MP4 or "
    "raw H.264; of an MP4 whose index comes last, name the file"
)
_OF_ADDRESSES = "check the address; playlists are not followed: have ffmpeg follow one, and pipe what it gives"


def unreadable(name: str, error: Exception, hint: str = _OF_PIPES) -> VideoError:
    """What is said of a source of which not one packet can be read."""
    reason = getattr(error, "strerror", None) or str(error)
    return VideoError(f"{name}: not a readable video ({reason}); {hint}")


def shown_address(address: str) -> str:
    """An address as messages may show it: without a user, a password, or what follows a question mark."""
    head, separator, rest = address.partition("://")
    if not separator:
        return address
    host, slash, path = rest.partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
