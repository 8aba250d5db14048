"""Routes that tell how the service is: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from .measures import TEXT
from .requests import Reader, Serving
from .service import Service

router = APIRouter(tags=["state"])


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
async def healthz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
@router.head("/readyz", include_in_schema=False)
async def readyz(service: Serving) -> JSONResponse:
    """Whether requests can be taken: workers have started, kernels are compiled, disk is free, it is not ending."""
    wrong = service.lacks()
    return JSONResponse({"status": "not ready" if wrong else "ready", "lacks": wrong, "gpus": _gpus(service)},
                        503 if wrong else 200)  # fmt: skip


@router.get("/metrics", response_class=Response)
async def metrics(service: Serving, caller: Reader) -> Response:
    """What is measured, for Prometheus."""
    _gpus(service)
    return Response(await asyncio.to_thread(service.measures.text), media_type=TEXT)


def _gpus(service: Service) -> list[dict[str, Any]]:
    """The GPUs that the model sees, and their memory in use; none where there is no model."""
    found = [] if service.embedder is None else service.embedder.gpus()
    for number, gpu in enumerate(found):
        service.measures.gpu.labels(str(number)).set(gpu["memory"] - gpu["free"])
    return found
