"""Routes that take a clip: `/v1/sieve`, `/v1/embed`, `/v1/describe`, `/v1/inspect`, and the page's `/v1/studies`."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from codecsieve.pipelines.config import PRESET_OPTIONS, SieveConfig
from codecsieve.pipelines.look.study import COLUMNS, DIFFERENCE, Study, select_kept
from codecsieve.pipelines.look.tiles import heat_of
from codecsieve.pipelines.sieve.kept import SievedClip, select_by_sampling

from .encodings import choose, encode, facts_of
from .fields import Describing, Embedding, Inspecting, Selecting, Sieving, Studying
from .receive import JSON, media_type, read_json
from .refusal import RefusedError
from .requests import BODY, Serving, Siever, clip_of
from .service import Service
from .tasks import DescribeTask, DrawTask, SieveTask, StudyTask
from .traces import stage_span

router = APIRouter(prefix="/v1", tags=["clips"])
_PICTURES = {"png": "image/png", "gif": "image/gif", "mp4": "video/mp4"}
_MOST_CLIPS = 256


@router.post("/sieve", openapi_extra=BODY, response_class=Response)
async def sieve(request: Request, query: Sieving, service: Serving, caller: Siever) -> Response:
    """Sparse tokens of a clip: patches, positions, scores, frame_ids; Arrow, npz or safetensors."""
    config, kind = query.config(), choose(request.headers.get("accept"), query.format)
    async with clip_of(request, service, query.start, query.end) as clip:
        sieved: SievedClip = await service.desk.do(SieveTask(clip, config, query.pixels))
    rows = {"patches": sieved.patches} if query.pixels else {}
    rows |= {"positions": sieved.positions, "scores": sieved.scores}
    facts = {**facts_of(sieved), "config": config.to_dict(), "grid": config.grid}
    return Response(encode(kind, rows, {"frame_ids": sieved.frame_ids}, facts), media_type=kind)


@router.post("/embed", openapi_extra=BODY, response_class=Response)
async def embed(request: Request, query: Embedding, service: Serving, caller: Siever) -> Response:
    """Embeddings of a clip, or of clips of a cache (`{"cache": NAME, "clips": [ID, ...]}`), and their token states."""
    if service.embedder is None:
        raise RefusedError(501, "this service has no model; start it with --model FOLDER_OR_HUB_ID")
    config = query.config()
    kind = _kind_of_embeddings(request.headers.get("accept"), query.format)
    ids, clips = await _clips_to_embed(request, query, service, config)
    with stage_span("embed"):
        made = await asyncio.gather(*(service.embedder.embed(patches, positions) for patches, positions in clips))
    rows = {"embedding": np.stack([one.embedding for one in made])}
    if query.tokens:
        if len({one.tokens.shape for one in made}) > 1:
            raise RefusedError(422, "clips have different numbers of tokens; ask for their token states one by one")
        rows["tokens"] = np.stack([one.tokens for one in made])
    facts = {"ids": ids, "model": service.embedder.name}
    if kind == JSON:
        plain = {name: array.tolist() for name, array in rows.items()}
        return JSONResponse({**facts, **plain})
    return Response(encode(kind, rows, {}, facts), media_type=kind)


@router.post("/describe", openapi_extra=BODY)
async def describe(request: Request, query: Describing, service: Serving, caller: Siever) -> dict[str, Any]:
    """What a video offers the sieve, as `codecsieve describe` tells it."""
    async with clip_of(request, service) as clip:
        return dataclasses.asdict(await service.desk.do(DescribeTask(clip, query.num_frames)))


@router.post("/inspect", openapi_extra=BODY, response_class=Response)
async def inspect(request: Request, query: Inspecting, service: Serving, caller: Siever) -> Response:
    """A picture of what is kept of a clip: a still, or every slot in turn."""
    config = query.config()
    async with clip_of(request, service, query.start, query.end) as clip:
        picture = await service.desk.do(DrawTask(clip, config, f".{query.format}", query.slots))
    return Response(picture, media_type=_PICTURES[query.format])


@router.post("/studies", openapi_extra=BODY, status_code=201)
async def study(request: Request, query: Studying, service: Serving, caller: Siever) -> dict[str, Any]:
    """A clip scored in every way that `selection` can ask for, and kept at hand for a while."""
    config = query.model_copy(update={"k_keep": 1, "anchors": 0}).config()  # which each selection says anew
    async with clip_of(request, service, query.start, query.end) as clip:
        made: Study = await service.desk.do(StudyTask(clip, config))
    study_id = service.studies.add(caller.name, made)
    return {
        "id": study_id,
        "name": clip.name,
        "facts": made.facts,
        "num_frames": config.num_frames,
        "grid": config.grid,
        "size": config.input_size,
        "columns": COLUMNS,
        "frames": f"/v1/studies/{study_id}/frames",
        "presets": list(made.presets),
        "preset_options": PRESET_OPTIONS,
        "cameras": sorted({camera for _, camera in made.scores}),
    }


@router.get("/studies/{study_id}/frames", response_class=Response)
async def study_frames(study_id: str, service: Serving, caller: Siever) -> Response:
    """All slots' pictures of a study, in rows of `columns`, as one JPEG."""
    return Response(service.studies.get(caller.name, study_id).frames, media_type="image/jpeg")


@router.get("/studies/{study_id}/selection")
async def study_selection(study_id: str, query: Selecting, service: Serving, caller: Siever) -> dict[str, Any]:
    """What is kept of a studied clip: a bit a patch, [T, gh, gw] in C order, most significant first, in base64.

    `kept` by these options; `sampling`: whole slots, uniformly spaced; `difference`: by a plain frame difference;
    `heat`: the scores, 0..255, a byte a patch.
    """
    made = service.studies.get(caller.name, study_id)
    preset = query.preset or next(iter(made.presets))
    if preset not in made.presets:
        raise RefusedError(422, f"preset must be one of {', '.join(made.presets)}")
    config = dataclasses.replace(
        made.presets[preset],
        mv_compensate=query.mv_compensate,
        k_keep=query.k_keep,
        anchors=query.anchors,
        policy="saliency",
    )
    scores = made.scores[preset, query.mv_compensate]
    plain = select_kept(made, preset, dataclasses.replace(config, signals=DIFFERENCE))
    return {
        "kept": _bits(select_kept(made, preset, config), scores.size),
        "sampling": _bits(select_by_sampling(scores, config), scores.size),
        "difference": _bits(plain, scores.size),
        "heat": base64.b64encode(_heat(scores).tobytes()).decode(),
    }


def _bits(indices: np.ndarray, count: int) -> str:
    kept = np.zeros(count, bool)
    kept[indices] = True
    return base64.b64encode(np.packbits(kept).tobytes()).decode()


def _heat(scores: np.ndarray) -> np.ndarray:
    return (heat_of(scores) * 255).round().astype(np.uint8)


def _kind_of_embeddings(accept: str | None, name: str | None) -> str:
    if name == "json" or (name is None and (accept is None or "*/*" in accept or JSON in accept)):
        return JSON
    return choose(accept, name)


async def _clips_to_embed(
    request: Request, query: Any, service: Service, config: SieveConfig
) -> tuple[list[str], list[tuple[np.ndarray, np.ndarray]]]:
    """Ids and (patches, positions) of the clips that a request brings or names."""
    body = await read_json(request, service.limits) if media_type(request) == JSON else None
    match body:
        case {"cache": str(name), "clips": [_, *_] as clips} if body is not None and len(body) == 2:
            if len(clips) > _MOST_CLIPS or not all(isinstance(clip, str) for clip in clips):
                raise RefusedError(400, f"clips must be at most {_MOST_CLIPS} ids")
            batch = await asyncio.to_thread(service.shelf.read, name, clips)
            return list(batch.clip_ids), list(zip(batch.patches, batch.positions, strict=True))
    async with clip_of(request, service, query.start, query.end, body) as clip:
        sieved: SievedClip = await service.desk.do(SieveTask(clip, config))
    return [clip.name], [(sieved.patches, sieved.positions)]
