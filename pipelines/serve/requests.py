"""What routes have in common: the service, the caller, and the clip that a request brings or names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request

from .access import Caller
from .receive import JSON, media_type, read_json, received
from .refusal import RefusedError
from .service import Service
from .tasks import Clip


def service_of(request: Request) -> Service:
    """The service that a request is to."""
    service: Service = request.app.state.service
    return service


def needs(*roles: str) -> Callable[[Request], Caller]:
    """A dependency: whoever asks, who must have a role, or one of several."""

    def caller(request: Request) -> Caller:
        found = service_of(request).access.caller(request, *roles)
        request.state.caller = found.name
        return found

    return caller


Serving = Annotated[Service, Depends(service_of)]
Reader = Annotated[Caller, Depends(needs("read"))]
Siever = Annotated[Caller, Depends(needs("sieve"))]
JobMaker = Annotated[Caller, Depends(needs("jobs"))]
Namer = Annotated[Caller, Depends(needs("sieve", "jobs"))]
"""Whoever may name a file to the service."""

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "video/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            JSON: {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "path": {"type": "string", "description": "ROOT/sub/clip.mp4"},
                        "url": {"type": "string", "description": "of an allowed host"},
                    },
                }
            },
        },
    }
}
"""For OpenAPI: a video, or where it is."""


@asynccontextmanager
async def clip_of(
    request: Request,
    service: Service,
    start: float | None = None,
    end: float | None = None,
    body: dict[str, Any] | None = None,
) -> AsyncIterator[Clip]:
    """The clip that a request brings, or names, for as long as the block runs. Raises RefusedError.

    start, end: seconds; body: its JSON, where that has been read already.
    """
    if media_type(request) != JSON:
        async with received(request, service.uploads, service.limits) as upload:
            service.measures.bytes.labels("in").inc(upload.nbytes)
            yield Clip(str(upload.path), upload.name, start, end)
        return
    body = await read_json(request, service.limits) if body is None else body
    match body:
        case {"path": str(path)} if len(body) == 1:
            yield Clip(str(service.roots.find(path)), path, start, end)
        case {"url": str(url)} if len(body) == 1:
            async with service.fetcher.fetched(url, service.uploads) as upload:
                service.measures.bytes.labels("in").inc(upload.nbytes)
                yield Clip(str(upload.path), upload.name, start, end)
        case _:
            raise RefusedError(400, 'the body must be {"path": "ROOT/sub/clip.mp4"} or {"url": "https://..."}')
