"""Routes of jobs: caches to be made, which takes longer than a request may."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ValidationError

from codecsieve.cache.layout import GROUP, config_difference
from codecsieve.cache.location import Location
from codecsieve.cache.metadata import read_group
from codecsieve.errors import CacheError
from codecsieve.pipelines.config import RunOptions, SieveConfig, decoder_fields_of
from codecsieve.pipelines.precompute.chosen import options_of_run
from codecsieve.text import quoted

from .access import Caller
from .fields import JobBody, ListingJobs
from .jobs import OPEN, Job
from .manifests import rows_of
from .receive import JSON, read_json
from .refusal import RefusedError
from .requests import JobMaker, Serving
from .service import Service

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_KEYED = uuid.UUID("6f5d3c1e-8a0b-4a44-9c53-1b7c7f0f5d21")
"""Makes ids of jobs, of their owners and `Idempotency-Key`s."""
_SIGN_SECONDS = 15.0
"""Of silence after which events have a line that says nothing: proxies and clients take silence for the end."""


async def job_body(request: Request, service: Serving, caller: JobMaker) -> JobBody:
    """What a job is to make: bounded as all JSON is, and read once it is known who asks."""
    try:
        return JobBody.model_validate(await read_json(request, service.limits))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


_BODY = {"requestBody": {"required": True, "content": {JSON: {"schema": JobBody.model_json_schema()}}}}


@router.post("", status_code=202, openapi_extra=_BODY)
async def make_job(
    body: Annotated[JobBody, Depends(job_body)], service: Serving, caller: JobMaker,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> JSONResponse:  # fmt: skip
    """Have a cache made, or gone on with. The answer's `Location` tells how far it is.

    Sent again with the same `Idempotency-Key`, a request is answered with the job that there is, and makes no other.
    """
    job_id = None if idempotency_key is None else uuid.uuid5(_KEYED, f"{caller.name}\n{idempotency_key}").hex
    known = job_id is not None and service.store.get(job_id) is not None
    if not known and sum(service.store.counts(caller.name)[state] for state in OPEN) >= service.limits.most_jobs:
        most = service.limits.most_jobs
        raise RefusedError(429, f"key {caller.name} has {most} jobs that wait or run; wait", {"Retry-After": "60"})
    wanted, job = await asyncio.to_thread(_add, service, caller.name, body, job_id)
    service.runner.come()
    if (job.cache, {**job.wanted, "run": None}) != (body.cache, {**wanted, "run": None}):
        raise RefusedError(422, f"Idempotency-Key ({quoted(idempotency_key)}) was another job's ({job.id}); give each "
                                "job its own")  # fmt: skip
    return JSONResponse(shown(job), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("")
async def list_jobs(query: ListingJobs, service: Serving, caller: JobMaker) -> dict[str, Any]:
    """One's own jobs, the newest first."""
    jobs = service.store.page(caller.name, query.state, query.limit, query.offset)
    return {"jobs": [shown(job) for job in jobs], "counts": service.store.counts(caller.name)}


@router.get("/{job_id}")
async def get_job(job_id: str, service: Serving, caller: JobMaker) -> dict[str, Any]:
    """A job: state, counts, failures, seconds that are left."""
    return shown(_own(service, caller, job_id))


@router.get("/{job_id}/events", response_class=StreamingResponse)
async def job_events(request: Request, job_id: str, service: Serving, caller: JobMaker) -> StreamingResponse:
    """The job after each change, as server-sent events, until it is done."""
    _own(service, caller, job_id)

    return StreamingResponse(
        _events(service.runner.follow(job_id)), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


@router.delete("/{job_id}")
async def cancel_job(job_id: str, service: Serving, caller: JobMaker) -> dict[str, Any]:
    """End a job. What it has made stays in the cache."""
    job = _own(service, caller, job_id)
    if job.state not in OPEN:
        raise RefusedError(409, f"job {job.id} is {job.state}; only one that waits or runs can be cancelled")
    await service.runner.cancel(job)
    return shown(_own(service, caller, job_id))


async def _events(jobs: AsyncIterator[Job]) -> AsyncIterator[str]:
    """A job's changes as server-sent events, with a comment where nothing has changed for a while."""
    coming = asyncio.ensure_future(anext(jobs, None))
    try:
        while True:
            if not (await asyncio.wait({coming}, timeout=_SIGN_SECONDS))[0]:
                yield ": nothing new\n\n"
                continue
            job = coming.result()
            if job is None:
                return
            yield f"event: job\ndata: {json.dumps(shown(job))}\n\n"
            coming = asyncio.ensure_future(anext(jobs, None))
    finally:
        coming.cancel()


def shown(job: Job) -> dict[str, Any]:
    """A job as users see it."""
    told = {name: value for name, value in vars(job).items() if name not in ("wanted", "summary", "owner")}
    return {**told, "eta": job.eta, "options": job.wanted["options"], "summary": job.summary or None}


def _own(service: Service, caller: Caller, job_id: str) -> Job:
    """A job of the caller's. Another's is not told from one that is not there."""
    job = service.store.get(job_id)
    if job is None or job.owner != caller.name:
        raise RefusedError(404, f"job ({quoted(job_id)}): there is none")
    return job


def _add(service: Service, owner: str, body: JobBody, job_id: str | None) -> tuple[dict[str, Any], Job]:
    """What a job is to do, and the job, queued; of an id that there is, that one, as it is."""
    wanted, manifest = _wanted(service, body)
    known = job_id is not None and service.store.get(job_id) is not None
    with service.manifests.kept(None if known else manifest):
        return wanted, service.store.add(owner, body.cache, wanted, job_id)


def _check_cache(folder: Path, body: JobBody, config: SieveConfig) -> None:
    """Raise RefusedError where a cache is there that was made otherwise. What `auto` stands for is found out later."""
    try:
        made = read_group(Location(folder)) if (folder / GROUP).is_file() else None
    except CacheError as error:
        raise RefusedError(409, f"cache {quoted(body.cache)} cannot be gone on with: it is damaged") from error
    if made is None:
        return
    there, said = {**made.config, "store": made.layout.store}, config.to_dict()
    own = {name: value for name, value in dataclasses.asdict(config).items() if name in there or name in said}
    fields, reader = own.pop("decoder_fields", "auto"), there.get("bitstream_reader")
    asked = {**there, **own, "store": body.store}
    if fields != "auto" and reader is not None and fields != decoder_fields_of(reader):
        asked["bitstream_reader"] = "decoder" if fields == "on" else "ffmpeg"
    if asked["signals"] == "auto":
        asked["signals"] = there.get("signals")
    if asked != there:
        difference = config_difference(there, asked)
        raise RefusedError(409, f"cache {quoted(body.cache)} {difference}; give the job another cache")


def _wanted(service: Service, body: JobBody) -> tuple[dict[str, Any], bytes | None]:
    """What the job's process is told, and the manifest that came with it; all that can be checked before is."""
    folder = service.roots.cache_folder(body.cache)
    if folder.exists() and not folder.is_dir():
        raise RefusedError(422, f"cache ({quoted(body.cache)}) must be a folder, or not be there yet")
    if sum(map(bool, (body.inputs, body.manifest, body.manifest_text))) != 1:
        raise RefusedError(422, "a job must have inputs, or a manifest, or manifest_text: one of them")
    config = options_of_run(folder, body.preset, **body.options)
    run = {"store": body.store, "device": body.device, "retry_failed": body.retry_failed, "prune": body.prune,
           "workers": service.limits.job_workers, "max_memory": service.limits.max_memory}  # fmt: skip
    RunOptions(**{**run, "prune": tuple(body.prune)})  # type: ignore[arg-type]
    _check_cache(folder, body, config)
    columns, manifest = body.columns, None
    if body.inputs:
        inputs = [str(service.roots.find(path)) for path in body.inputs]
    else:
        rows = body.manifest
        if body.manifest_text:
            rows, columns = rows_of(body.manifest_text, columns), {}
        manifest = service.manifests.lines_of(rows)
        inputs = [str(service.manifests.file_of(manifest))]
    return {
        "inputs": inputs,
        "columns": columns,
        "labels_from_folders": body.labels_from_folders,
        "preset": body.preset,
        "options": body.options,
        "run": run,
    }, manifest
