"""Routes that read caches: which there are, what is in one, one clip's arrays, its picture."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Request, Response

from codecsieve.cache import SparseCache
from codecsieve.mosaic import png_of
from codecsieve.pipelines.config import options_in

from .encodings import choose, encode
from .fields import Paging
from .refusal import RefusedError
from .requests import Reader, Serving
from .service import Service
from .tasks import Clip, QueryTask

router = APIRouter(prefix="/v1/caches", tags=["caches"])


@router.get("")
async def list_caches(service: Serving, caller: Reader) -> dict[str, Any]:
    """The caches of all roots, by name."""
    return {"caches": await asyncio.to_thread(service.shelf.names)}


@router.get("/{name}")
async def cache_facts(name: str, query: Paging, service: Serving, caller: Reader) -> dict[str, Any]:
    """What is in a cache, and a page of its index; of those clips that meet a condition, where there is one."""
    ids = None
    if query.where is not None:
        folder = await asyncio.to_thread(service.shelf.folder, name)
        ids = await service.desk.do(QueryTask(Clip(str(folder), name), query.where))
    return await asyncio.to_thread(_facts, service, name, query, ids)


@router.get("/{name}/clips/{clip:path}/picture", response_class=Response)
async def clip_picture(name: str, clip: str, service: Serving, caller: Reader, slots: int = 8) -> Response:
    """The kept patches of a clip in their places, as a PNG."""
    if not 1 <= slots <= 64:
        raise RefusedError(422, f"slots ({slots}) must be in 1..64")
    found = await asyncio.to_thread(service.shelf.clip, name, clip)
    return Response(await asyncio.to_thread(lambda: png_of(found.show(slots))), media_type="image/png")


@router.get("/{name}/clips/{clip:path}", response_class=Response)
async def clip_arrays(
    request: Request, name: str, clip: str, service: Serving, caller: Reader, format: str | None = None
) -> Response:
    """A clip's arrays: Arrow, npz or safetensors."""
    kind = choose(request.headers.get("accept"), format)
    found = await asyncio.to_thread(service.shelf.clip, name, clip)
    rows = {} if found.pixels is None else {"patches": found.pixels}
    rows |= {"positions": found.positions, "scores": found.scores}
    facts = {"id": found.clip_id, "label": found.label, "uri": service.roots.shown(found.uri), "grid": found.grid,
             "metadata": _plain(dict(found.metadata))}  # fmt: skip
    return Response(encode(kind, rows, {"frame_ids": np.asarray(found.frame_ids)}, facts), media_type=kind)


def _facts(service: Service, name: str, query: Any, ids: list[str] | None) -> dict[str, Any]:
    cache = service.shelf.open(name)
    table = cache.table
    if ids is not None:
        table = table.filter(pc.is_in(table["id"], value_set=pa.array(ids, pa.string())))
    page = table.slice(query.offset, query.limit)
    return {
        "name": name,
        **_counts(cache, table),
        "offset": query.offset,
        "rows": [_plain(row, service) for row in page.to_pylist()],
    }


def _counts(cache: SparseCache, table: pa.Table) -> dict[str, Any]:
    clips = int(pc.sum(pc.equal(table["status"], "ok")).as_py() or 0)
    return {
        "clips": clips,
        "failed": table.num_rows - clips,
        "total": table.num_rows,
        "labels": sorted(set(table["label"].to_pylist()) - {None})[:1000],
        "columns": table.column_names,
        "clip_bytes": cache.layout.clip_bytes,
        "config": cache.config,
        "options": options_in(cache.config),
    }


def _plain(row: dict[str, Any], service: Service | None = None) -> dict[str, Any]:
    """A row as JSON has it: no number that is none, and files under their roots' names."""
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
    if service is not None:
        for column in ("uri", "error"):
            if plain.get(column):
                plain[column] = service.roots.shown(str(plain[column]))
    return plain
