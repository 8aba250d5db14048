"""A video that a request brings, streamed to disk: the body itself, or the file of a form; never more than is allowed.

Also JSON bodies, bounded likewise. What is in the file is not looked at here; a file is gone when its request is
answered.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from codecsieve.options import in_units
from codecsieve.text import quoted, shortened

from .limits import Limits
from .refusal import RefusedError

JSON = "application/json"
FORM = "multipart/form-data"
_MOST_PARTS = 100
"""Of a form."""
_RAW = re.compile(r"video/[\w.+-]+|application/octet-stream|application/mp4", re.ASCII)


@dataclass(frozen=True)
class Upload:
    """A file that a request brought. name: what it is called in messages; nbytes: of it."""

    path: Path
    name: str
    nbytes: int


def media_type(request: Request) -> str:
    """The request's content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def received(request: Request, folder: Path, limits: Limits) -> AsyncIterator[Upload]:
    """The request's video, in a file of `folder` for as long as the block runs.

    Raises RefusedError: 415 where the request is no video and no form, 413 where it is too large, 408 where it stops
    coming, 400 where it is broken or empty, 507 where there is no room.
    """
    kind = media_type(request)
    if kind != FORM and not _RAW.fullmatch(kind):
        raise RefusedError(415, f"Content-Type ({quoted(kind)}) must be video/*, application/octet-stream (the video "
                                f"itself), {FORM} (with a file), or {JSON} (with a path)")  # fmt: skip
    path = folder / f"{uuid.uuid4().hex}.upload"
    try:
        with writing(path) as file:
            sink = _FormFile(request, file) if kind == FORM else _Body(file)
            async for chunk in chunks(request, limits.max_upload, limits.patience):
                sink.write(chunk)
            name = sink.end()
            size = file.tell()
        if not size:
            raise RefusedError(400, "the request's body is empty; send a video")
        yield Upload(path, name, size)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write to. Raises RefusedError 507 where that cannot be."""
    try:
        with path.open("xb") as file:
            yield file
    except OSError as error:
        raise RefusedError(507, f"the video cannot be kept here ({error.strerror}); come again later") from error


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """The request's JSON object. Raises RefusedError 415, 413, 408 as `received`, 400 where it is none."""
    if media_type(request) != JSON:
        raise RefusedError(415, f"Content-Type ({quoted(media_type(request))}) must be {JSON}")
    data = b"".join([chunk async for chunk in chunks(request, limits.max_json, limits.patience)])
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body must be JSON: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return value


async def chunks(request: Request, most: int, patience: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises RefusedError: 413 past so many bytes, 408 after so many seconds of silence."""
    told = request.headers.get("content-length", "")
    over = RefusedError(413, f"the body is over the {in_units(most)} that this service takes")
    if told.isascii() and told.isdigit() and int(told[:20]) > most:
        raise over
    stream, nbytes = request.stream(), 0
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), patience)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RefusedError(408, f"nothing came for {patience:g} s; send it again") from None
        except ClientDisconnect:
            raise RefusedError(400, "the request was broken off") from None
        nbytes += len(chunk)
        if nbytes > most:
            raise over
        yield chunk


@dataclass
class _Body:
    """The body is the video."""

    file: IO[bytes]

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)

    def end(self) -> str:
        return "upload"


@dataclass
class _FormFile:
    """The first file of a form is the video; its other fields are passed over."""

    request: Request
    file: IO[bytes]
    _field: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _name: str | None = None
    _inside: bool = False
    _whole: bool = False
    _parts: int = 0

    def __post_init__(self) -> None:
        _, options = parse_options_header(self.request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if not boundary:
            raise RefusedError(400, f"{FORM} must say its boundary")
        with _readable():
            self._parser = MultipartParser(boundary, {
                "on_part_begin": self._part_begin,
                "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            })  # fmt: skip

    def write(self, chunk: bytes) -> None:
        with _readable():
            self._parser.write(chunk)

    def end(self) -> str:
        if not self._whole:
            raise RefusedError(400, "the form is broken off; send it again")
        if self._name is None:
            raise RefusedError(400, "the form has no file; send one, as `curl -F file=@video.mp4` does")
        return shortened(self._name, 100)

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise RefusedError(400, f"the form has more than {_MOST_PARTS} parts; send the video alone")

    def _header(self) -> None:
        name, value = bytes(self._field).lower(), bytes(self._value)
        self._field.clear()
        self._value.clear()
        if name == b"content-disposition" and self._name is None:
            _, options = parse_options_header(value)
            if b"filename" in options:
                self._name = options[b"filename"].decode("utf-8", "replace") or "upload"
                self._inside = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.file.write(data[start:end])

    def _part_end(self) -> None:
        self._inside = False

    def _end(self) -> None:
        self._whole = True


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise RefusedError(400, f"the form cannot be read: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")
