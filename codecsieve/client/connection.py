"""Requests of a service: tried again where that may help, and bounded in tries, in time and in bytes.

What is asked and what is made of answers is left to others. A video is sent as it is read, and from its beginning each
time; nothing is read from the environment; redirects are not followed.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx

from codecsieve.errors import ConfigError, ServiceError, VideoError
from codecsieve.files import open_regular
from codecsieve.text import quoted, shortened

JSON = "application/json"
MOST_JSON = 64 * 10**6
_MOST_ERROR = 64 * 1024
_MOST_LINE = 16 * 10**6
_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds
_CONNECT_SECONDS = 10.0
_PART = 1 << 20
_KEY = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True)
class Answer:
    """What a service said to a request. kind: its media type."""

    kind: str
    body: bytearray


class TryAgainError(Exception):
    """What failed in a way that another try may mend. wait: seconds that the service asked for. Never leaves here."""

    def __init__(self, error: ServiceError, wait: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.wait = error, wait


class Patience:
    """How often, and until when, something is tried: pauses double, and are drawn so that many clients spread."""

    def __init__(self, retries: int, seconds: float) -> None:
        self._left, self._pause = retries, _FIRST_PAUSE
        self.deadline = time.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """That are left."""
        return max(0.001, self.deadline - time.monotonic())

    def wait(self, failed: TryAgainError) -> None:
        """Wait before the next try. Raises the failure's ServiceError where there is none."""
        pause = max(self._pause * random.uniform(0.5, 1), failed.wait)
        if self._left <= 0 or pause >= self.deadline - time.monotonic():
            raise failed.error from None
        self._left -= 1
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        time.sleep(pause)


class Connection:
    """To one service, from any thread.

    url: of the service; key: its secret; retries: further tries of a request; timeout: seconds that all its tries may
    take; most_bytes: of an answer; transport: what sends, in place of the network. Raises ConfigError.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        retries: int,
        timeout: float,
        most_bytes: int,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = _checked_url(url)
        if key is not None and not _KEY.fullmatch(key):
            raise ConfigError("key must be the printable characters that `codecsieve serve keys add` wrote")
        if retries < 0 or not timeout > 0 or most_bytes < 1:
            raise ConfigError(f"retries ({retries}), timeout ({timeout}) and most_bytes ({most_bytes}) must be > 0")
        self.retries, self.timeout, self.most_bytes = retries, timeout, most_bytes
        self.headers = {"Accept-Encoding": "identity"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        """That every request has."""
        self.on_network = transport is None
        """Whether requests go over the network as it is."""
        self._client = httpx.Client(headers=self.headers, trust_env=False, follow_redirects=False, transport=transport)

    def close(self) -> None:
        """Let connections go."""
        self._client.close()

    def patience(self) -> Patience:
        """For one call."""
        return Patience(self.retries, self.timeout)

    def ask(
        self,
        method: str,
        path: str,
        accept: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        video: str | os.PathLike[str] | None = None,
        headers: Mapping[str, str] | None = None,
        expected: frozenset[int] = frozenset(),
    ) -> Answer:
        """The answer to a request.

        accept: its media type; body: JSON; video: a file that is sent; expected: error statuses that are answers.
        Raises ServiceError, VideoError where the video cannot be read.
        """
        patience = self.patience()
        most = min(MOST_JSON, self.most_bytes) if accept == JSON else self.most_bytes
        while True:
            sent: dict[str, Any] = {"headers": {"Accept": accept, **(headers or {})}}
            if video is not None:
                sent["content"] = _parts(video, patience.deadline)
                sent["headers"] |= {"Content-Type": "application/octet-stream", "Content-Length": str(_size(video))}
            elif body is not None:
                sent["json"] = body
            try:
                with self.opened(method, path, patience.seconds, query, sent, expected, video) as response:
                    return self._read(response, accept, most, patience.deadline)
            except TryAgainError as failed:
                patience.wait(failed)

    def ask_json(self, method: str, path: str, **asked: Any) -> dict[str, Any]:
        """The JSON object that is the answer to a request, as `ask`."""
        answer = self.ask(method, path, JSON, **asked)
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self.strange(f"JSON that cannot be read ({error})") from None
        if not isinstance(value, dict):
            raise self.strange("JSON that is no object")
        return value

    def lines(self, path: str, silence: float) -> Iterator[str]:
        """The lines of an endless answer, until it ends.

        Raises ServiceError; TryAgainError where the connection is lost, or nothing comes for so many seconds.
        """
        sent = {"headers": {"Accept": "text/event-stream"}}
        with self.opened("GET", path, silence, None, sent) as response:
            rest = bytearray()
            for part in response.iter_bytes():
                rest += part
                *lines, rest = rest.split(b"\n")
                yield from (line.rstrip(b"\r").decode("utf-8", "replace") for line in lines)
                if len(rest) > _MOST_LINE:
                    raise self.strange("a line without an end")

    @contextmanager
    def opened(
        self,
        method: str,
        path: str,
        seconds: float,
        query: Mapping[str, Any] | None,
        sent: Mapping[str, Any],
        expected: frozenset[int] = frozenset(),
        video: str | os.PathLike[str] | None = None,
    ) -> Iterator[httpx.Response]:
        """A response whose body is still to be read. Raises ServiceError, TryAgainError."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        timeout = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        try:
            request = self._client.build_request(method, self.url + path, params=given, timeout=timeout, **sent)
            response = self._client.send(request, stream=True)
            try:
                if response.status_code >= 400 and response.status_code not in expected:
                    self.refuse(response, None if video is None else shortened(os.fspath(video)))
                if not (200 <= response.status_code < 300 or response.status_code in expected):
                    raise ServiceError(
                        f"{self.url} answered {response.status_code}; is that a codecsieve service?",
                        response.status_code,
                    )
                if _is_encoded(response):
                    raise self.strange("what is compressed, and was not asked for so")
                yield response
            finally:
                response.close()
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ServiceError(f"{self.url}: cannot be asked ({error})") from None
        except httpx.TransportError as error:
            raise self.unreachable(error) from None

    def unreachable(self, error: Exception) -> TryAgainError:
        """What is raised where no connection comes about, or one is lost."""
        reason = shortened(str(error) or type(error).__name__)
        return TryAgainError(
            ServiceError(f"{self.url}: no answer ({reason}); is the service running, and the network there?")
        )

    def strange(self, what: str) -> ServiceError:
        """The error that an answer is which no service gives."""
        return ServiceError(f"{self.url} answered {what}; is that a codecsieve service?", 200)

    def _read(self, response: httpx.Response, accept: str, most: int, deadline: float) -> Answer:
        kind = _kind(response)
        if kind != accept:
            raise self.strange(f"{quoted(kind, 80)} where {accept} was asked for")
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > most:
                raise ServiceError(
                    f"{self.url}: the answer is over the {most} bytes that are taken; ask for less, or set most_bytes",
                    response.status_code,
                )
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.url}: took longer than {self.timeout:g} s; ask for less, or set timeout")
        return Answer(kind, body)

    def refuse(self, response: httpx.Response, name: str | None = None) -> NoReturn:
        """Raise what an error status means, ServiceError or TryAgainError; name: of the video that is sent."""
        status, body = response.status_code, bytearray()
        for part in () if _is_encoded(response) else response.iter_bytes():
            body += part
            if len(body) > _MOST_ERROR:
                break
        line = _line_of(body[:_MOST_ERROR])
        message = line or f"{self.url} answered {status} ({quoted(_kind(response), 80)})"
        if name is not None and message.startswith("upload: "):  # the service was not told the file's name
            message = f"{name}: {message.removeprefix('upload: ')}"
        error = ServiceError(message, status)
        # The service's own 504 says that the clip takes too long, and it would again; a proxy's may be an accident.
        if status in _AGAIN and not (status == 504 and line):
            raise TryAgainError(error, _retry_after(response.headers.get("retry-after", "")))
        raise error


def _checked_url(url: str) -> str:
    try:
        read = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        read = httpx.URL()
    if read.scheme not in ("http", "https") or not read.host or read.userinfo or read.query or read.fragment:
        raise ConfigError(f"url ({quoted(url)}) must be http://HOST:PORT or https://HOST, without a password")
    return str(read).rstrip("/")


def _kind(response: httpx.Response) -> str:
    kind: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind


def _is_encoded(response: httpx.Response) -> bool:
    """Whether what comes is compressed, and might be more than it looks."""
    return bool(response.headers.get("content-encoding", "identity").strip().lower() != "identity")


def _line_of(body: bytearray) -> str:
    """The line that a service's error is; "" where it is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    line = value.get("error") if isinstance(value, dict) else None
    return line if isinstance(line, str) else ""


def _retry_after(text: str) -> float:
    """Seconds that a `Retry-After` header asks for, as a number or a date; 0 where it says nothing that can be."""
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _size(video: str | os.PathLike[str]) -> int:
    """Bytes of a file. Raises VideoError."""
    try:
        descriptor = open_regular(video)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(video, error) from None


def _parts(video: str | os.PathLike[str], deadline: float) -> Iterator[bytes]:
    """A file's bytes, as many as it had when it was opened. Raises VideoError, ServiceError after the deadline."""
    try:
        with os.fdopen(open_regular(video), "rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left and (part := file.read(min(left, _PART))):
                if time.monotonic() > deadline:
                    raise ServiceError(f"{shortened(os.fspath(video))}: could not be sent in time; set timeout")
                left -= len(part)
                yield part
    except OSError as error:
        raise unreadable(video, error) from None


def unreadable(video: str | os.PathLike[str], error: OSError | ValueError) -> VideoError:
    """That a file cannot be read, and why."""
    told = getattr(error, "strerror", None) or type(error).__name__
    reason = "no such file" if isinstance(error, FileNotFoundError) else told
    return VideoError(f"{shortened(os.fspath(video))}: {reason}")
