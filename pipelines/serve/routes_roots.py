"""Routes that tell what there is to be named: the roots, and what lies in a folder below one."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from fastapi import APIRouter

from .fields import Listing
from .listing import page_of
from .requests import Namer, Serving

router = APIRouter(prefix="/v1/roots", tags=["roots"])


@router.get("")
async def list_roots(service: Serving, caller: Namer) -> dict[str, Any]:
    """The roots, by name."""
    return {"roots": list(service.roots.folders)}


@router.get("/{name}")
async def list_folder(name: str, query: Listing, service: Serving, caller: Namer) -> dict[str, Any]:
    """A page of the folders, videos and manifests in a root, or in a folder below it, in the order of their names.

    `next` is the offset of the page that follows; `whole` is false of a folder with more entries than are looked at.
    """
    folder = query.folder.strip("/")
    path = f"{name}/{folder}" if folder else name
    page = await asyncio.to_thread(page_of, service.roots, path, query.begins, query.offset, query.limit)
    return {"folder": path, **dataclasses.asdict(page)}
