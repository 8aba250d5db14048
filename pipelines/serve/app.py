"""The service as an ASGI application: routes, errors as one line of JSON, a log line and a time limit a request."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codecsieve.errors import CodecsieveError, ConfigError, ManifestError, OptionError
from codecsieve.text import one_line, quoted

from . import routes_caches, routes_clips, routes_jobs, routes_roots, routes_state, routes_stream
from .logs import LOGGER, event
from .refusal import RefusedError
from .service import Service
from .traces import request_span, tell

PAGE = Path(__file__).parent / "page"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""That are measured by their names: anybody may make up others, as many as he likes."""
_GONE = 499
"""What the log says where nobody waits for an answer any more; HTTP has no such status."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
     b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
]  # fmt: skip


def make_app(service: Service) -> FastAPI:
    """The application of a service, which starts and stops with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="codecsieve", version=version("codecsieve"), summary="Videos in, sparse tokens out.",
        lifespan=lifespan, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.service = service
    for routes in (routes_state, routes_clips, routes_stream, routes_roots, routes_caches, routes_jobs):
        app.include_router(routes.router)
    app.mount("/", _Page(directory=PAGE, html=True), name="page")
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(CodecsieveError, _refused_by_us)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Observed, service=service)
    return app


class _Page(StaticFiles):
    """Files of the page, asked for anew each time, so that those of two versions never meet."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """As of `StaticFiles`."""
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


def _two_lengths() -> JSONResponse:
    """Of such a request a proxy may have seen another end than is seen here, and what follows may be anything."""
    return _answer(400, "the request has both Content-Length and Transfer-Encoding; send one", {"Connection": "close"})


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return _answer(error.status, str(error), error.headers)


async def _refused_by_us(request: Request, error: Exception) -> JSONResponse:
    status = 422 if isinstance(error, ConfigError | ManifestError | OptionError) else 500
    service: Service = request.app.state.service
    return _answer(status, service.roots.shown(str(error)))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("query", "body", "path"))
    if first["type"] == "extra_forbidden":
        return _answer(422, one_line(f"{where}: there is no such field; /openapi.json lists those there are"))
    given = "" if first["type"] == "missing" else f" ({quoted(first.get('input'), 80)})"
    return _answer(422, one_line(f"{where or 'the request'}{given}: {first['msg']}"))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405) and request.url.path.startswith("/v1"):
        asked = f"{request.method} {request.url.path}"
        return _answer(
            error.status_code, f"{quoted(asked)}: there is no such request; /openapi.json lists those there are"
        )
    return _answer(error.status_code, one_line(str(error.detail)), dict(error.headers or {}))


class Listening:
    """What comes of a request, and whether its client goes away. on_gone: called then, once the request is whole."""

    def __init__(self, receive: Receive, on_gone: Callable[[], object]) -> None:
        self._receive, self._on_gone = receive, on_gone
        self._next: asyncio.Future[Message] | None = None
        self._done = self.gone = False

    async def __aenter__(self) -> None:
        """Nothing yet: what comes first is for whoever asks."""

    async def __aexit__(self, *_: object) -> None:
        """Listen no more."""
        self._done = True
        if self._next is not None:
            self._next.cancel()

    async def receive(self) -> Message:
        """The next message."""
        if self._next is not None:
            return await asyncio.shield(self._next)
        message = await self._receive()
        self.gone = message["type"] == "http.disconnect"
        if message["type"] == "http.request" and not message.get("more_body"):
            self._next = asyncio.ensure_future(self._receive())
            self._next.add_done_callback(self._heard)
        return message

    def _heard(self, told: asyncio.Future[Message]) -> None:
        if not told.cancelled() and told.exception() is None and not self._done:
            self.gone = True
            self._on_gone()


class Observed:
    """Around every request: an id, a log line, measures, headers; an end to what is too slow, or nobody waits for."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        with request_span(headers, {"codecsieve.request_id": request_id}):
            await self._pass_on(scope, receive, send, headers, request_id)

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes], request_id: str
    ) -> None:
        began, service = time.perf_counter(), self._service
        told: dict[str, Any] = {"status": 0, "bytes": 0}

        async def observe(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = _GONE if listening.gone else message["status"]
                added = [(b"x-request-id", request_id.encode()), *_HEADERS]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            elif message["type"] == "http.response.body":
                told["bytes"] += len(message.get("body", b""))
            await send(message)

        endless = scope["path"].endswith("/events")
        clock = asyncio.timeout(None if endless else service.limits.request_seconds)

        def end() -> None:
            if not told["status"]:
                clock.reschedule(asyncio.get_running_loop().time())

        listening = Listening(receive, end)
        try:
            async with clock, listening:
                answering = _two_lengths() if {b"content-length", b"transfer-encoding"} <= headers.keys() else self._app
                await answering(scope, listening.receive, observe)
        except TimeoutError:
            if told["status"]:
                raise
            if listening.gone:
                told["status"] = _GONE
                return
            await _answer(504, f"took longer than {service.limits.request_seconds:g} s; send less, or ask for a job")(
                scope, receive, observe)  # fmt: skip
        except Exception as error:
            LOGGER.exception("internal error", extra={"fields": {"request_id": request_id}})
            if told["status"]:
                raise
            await _answer(500, f"internal error: {type(error).__name__}; the log has it under {request_id}")(
                scope, receive, observe)  # fmt: skip
        finally:
            self._record(scope, request_id, told, time.perf_counter() - began)

    def _record(self, scope: Scope, request_id: str, told: dict[str, Any], seconds: float) -> None:
        measures = self._service.measures
        route = getattr(scope.get("route"), "path", "page")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        measures.requests.labels(route, method, str(told["status"])).inc()
        measures.seconds.labels("request").observe(seconds)
        measures.bytes.labels("out").inc(told["bytes"])
        tell(
            {"http.request.method": method, "http.route": route, "http.response.status_code": told["status"]},
            f"{method} {route}",
        )
        event(
            "request", request_id=request_id, method=scope["method"], path=scope["path"][:500], route=route,
            status=told["status"], seconds=round(seconds, 4), bytes=told["bytes"],
            key=scope.get("state", {}).get("caller"), peer=(scope.get("client") or ("",))[0],
        )  # fmt: skip
