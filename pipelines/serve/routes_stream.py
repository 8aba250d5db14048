"""The route of streams, `/v1/stream`: a WebSocket, by which a video comes as it is made and its windows go back.

Who may open one, and how many there may be, is told before it is accepted, with the statuses that HTTP has; a process
of its own sieves it (`stream_process`), and goes with the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, WebSocket
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from codecsieve.errors import CodecsieveError, ConfigError
from codecsieve.pipelines.stream.config import StreamOptions, window_config
from codecsieve.text import one_line, quoted

from .encodings import choose
from .fields import StreamQuery
from .logs import event
from .refusal import RefusedError
from .service import Service
from .stream_process import HEAD, TEXT, UPLOADED

router = APIRouter()
_DONE, _REFUSED, _LATE = 1000, 1008, 1013
"""Why a WebSocket is closed (RFC 6455 7.4.1): it has ended; it cannot be; it may come again."""


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """A video in, as binary messages of which an empty one is the end, or of `path`; windows out, two messages each."""
    service: Service = websocket.app.state.service
    told: dict[str, Any] = {"status": 101, "windows": 0, "caller": None}
    began = time.perf_counter()
    try:
        caller = service.access.caller(websocket, "sieve")
        told["caller"] = caller.name
        wanted = _wanted(websocket, service)
        with _counted(service):
            await websocket.accept()
            async with _process(wanted) as process:
                await _relay(websocket, process, service.limits.stream_seconds, wanted["path"] is None, told)
    except RefusedError as error:
        told["status"] = error.status
        await websocket.send_denial_response(JSONResponse({"error": str(error)}, error.status, error.headers))
    finally:
        event("stream", status=told["status"], windows=told["windows"], key=told["caller"],
              seconds=round(time.perf_counter() - began, 4),
              peer=websocket.client.host if websocket.client else "")  # fmt: skip


def _wanted(websocket: WebSocket, service: Service) -> dict[str, Any]:
    """What the process is told. Raises RefusedError."""
    limits = service.limits
    try:
        query = StreamQuery.model_validate(dict(websocket.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        raise RefusedError(422, one_line(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")) from None
    try:
        options = StreamOptions(query.window, query.stride, query.every, query.follow, limits.patience,
                                limits.max_memory)  # fmt: skip
        config = window_config(options, query.preset, query.given())
        if query.follow and query.path is None:
            raise ConfigError("follow is for a path: what is sent ends with an empty message")
    except CodecsieveError as error:
        raise RefusedError(422, str(error)) from None
    return {
        "path": None if query.path is None else str(service.roots.find(query.path)),
        "name": query.path or UPLOADED,
        "config": dataclasses.asdict(config),
        "options": dataclasses.asdict(options),
        "kind": choose(None, query.format),
        "pixels": query.pixels,
        "max_side": limits.max_side,
    }


@contextlib.contextmanager
def _counted(service: Service) -> Any:
    """One of the streams that may be open. Raises RefusedError 429, or 503 where the service is ending."""
    if service.draining:
        raise RefusedError(503, "this service is ending; come again")
    if service.streams >= service.limits.streams:
        raise RefusedError(429, f"{service.streams} streams are open, as many as may be; come again",
                           {"Retry-After": "10"})  # fmt: skip
    service.streams += 1
    service.measures.streams.set(service.streams)
    try:
        yield
    finally:
        service.streams -= 1
        service.measures.streams.set(service.streams)


@asynccontextmanager
async def _process(wanted: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "codecsieve.pipelines.serve.stream_process", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(wanted).encode() + b"\n")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _relay(
    websocket: WebSocket, process: asyncio.subprocess.Process, seconds: float, fed: bool, told: dict[str, Any]
) -> None:
    """Pass messages on until the process has said its last, the client has gone, or the time is over."""
    listening = asyncio.ensure_future(_feed(websocket, process, fed))
    telling = asyncio.ensure_future(_tell(websocket, process, told))
    try:
        done, _ = await asyncio.wait({listening, telling}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (listening, telling):
            task.cancel()
        await asyncio.gather(listening, telling, return_exceptions=True)
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone
        if not done:
            told["status"] = 504
            await websocket.send_json({"error": f"lasted longer than {seconds:g} s; open another", "status": 504})
            await websocket.close(_LATE)
        elif telling in done:
            telling.result()
            await websocket.close(_DONE if told["status"] == 101 else _REFUSED)


async def _feed(websocket: WebSocket, process: asyncio.subprocess.Process, fed: bool) -> None:
    """Hand the client's messages to the process, no faster than it takes them; returns when the client has gone."""
    assert process.stdin is not None
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        if not fed or data is None or process.stdin.is_closing():
            continue
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # why it has ended, it says itself
            if data:
                process.stdin.write(data)
                await process.stdin.drain()
            else:
                process.stdin.close()


async def _tell(websocket: WebSocket, process: asyncio.subprocess.Process, told: dict[str, Any]) -> None:
    """Send what the process says; returns when it has ended."""
    assert process.stdout is not None
    last = b"{}"
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            letter, length = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
            data = await process.stdout.readexactly(length)
            if letter == TEXT:
                last = data
                await websocket.send_text(data.decode())
            else:
                told["windows"] += 1
                await websocket.send_bytes(data)
    said = json.loads(last)
    told["status"] = said.get("status", 101)
    if "end" not in said and "error" not in said:
        code = await process.wait()
        told["status"] = 422
        reason = quoted(f"signal {-code}" if code < 0 else f"exit status {code}")
        error = f"its process ended ({reason}); the video may be damaged, or too large"
        await websocket.send_json({"error": error, "status": 422})
