"""What runs in processes of Ray's: workers that decode, the model, and the service itself, which answers requests.

Only these classes know that they are called from another process: what goes wrong is an answer, and no exception. How
many there are of each, and where, is left to `ray_server`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from codecsieve.errors import EncoderError, WorkerError
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.workforce import START_SECONDS

from .app import make_app
from .limits import Limits
from .local_parts import LocalCrew
from .parts import Embedded
from .ray_logs import log_to
from .ray_parts import Answered, Model, ray_parts
from .refusal import RefusedError
from .service import Service, Settings
from .tasks import Done, Refused, Task

_LOOK_SECONDS = 0.05
_ALWAYS = {"/healthz", "/readyz"}


class SieveReplica:
    """Worker processes: a file that crashes one costs its own request, and leaves this process as it is."""

    def __init__(self, limits: Limits, workers: int) -> None:
        # How many wait is Ray's to say; what has come this far is taken.
        self._crew = LocalCrew(dataclasses.replace(limits, decodes=workers, queue=10**9))
        self._given_up = ""
        deadline = time.monotonic() + START_SECONDS
        while not self._crew.ready and time.monotonic() < deadline:  # Ray takes it to be ready when this returns
            time.sleep(_LOOK_SECONDS)

    async def do(self, task: Task) -> Done | Refused | Lost:
        """As of `Crew`."""
        try:
            return await self._crew.do(task)
        except WorkerError as error:
            self._given_up = str(error)
            return Refused(503, str(error))

    def check_health(self) -> None:
        """For Ray, which replaces this where it raises."""
        if self._given_up:
            raise WorkerError(self._given_up)

    async def __del__(self) -> None:
        """Ray's way to say that this ends."""
        await self._crew.close()


class EmbedReplica:
    """A model. That it cannot be loaded is told by `about`: Ray would try it again and again."""

    def __init__(self, model: str, threads: int) -> None:
        import torch

        from .embedder import Embedder

        torch.set_num_threads(threads)  # Ray leaves it one
        self._batches: list[tuple[int, float]] = []
        self._embedder: Embedder | None = None
        self._error = ""
        try:
            self._embedder = Embedder(model, lambda *batch: self._batches.append(batch))
        except EncoderError as error:
            self._error = str(error)
        self._started = False

    async def embed(self, patches: np.ndarray, positions: np.ndarray) -> Answered:
        """Clips that come to this replica within a moment go through together."""
        assert self._embedder is not None
        if not self._started:
            self._started = True
            await self._embedder.start()
        try:
            answer: Embedded | Refused = await self._embedder.embed(patches, positions)
        except RefusedError as error:
            answer = Refused(error.status, str(error))
        batches, self._batches = self._batches, []
        return Answered(answer, batches)

    async def about(self) -> Model:
        """What is known of it."""
        return Model(self._error, [] if self._embedder is None else self._embedder.gpus())


@dataclass
class Gate:
    """Counts the requests that are inside, and lets no more in when it is closed."""

    app: ASGIApp
    open: bool = True
    inside: int = 0
    _left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)  # a stream's process would be none of Ray's
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not self.open and scope["path"] not in _ALWAYS:
            await JSONResponse({"error": "the service is ending; come again"}, 503)(scope, receive, send)
            return
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1
            self._left.set()

    async def close(self) -> None:
        """Let nobody in, and wait until nobody is inside."""
        self.open = False
        while self.inside:
            self._left.clear()
            await self._left.wait()


class Ingress:
    """The service: its jobs, keys and caches, and its application, which Ray's proxy passes requests to."""

    def __init__(self, settings: Settings, log: str, workers: int, sieve: Any, embed: Any | None) -> None:
        log_to(log)
        self._service = Service(settings, functools.partial(ray_parts, workers, sieve, embed))
        self._gate = Gate(make_app(self._service))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray asks for the application."""
        return self._gate

    async def drain(self, seconds: float) -> None:
        """Take nothing more, and finish what is here, if it takes no longer than that."""
        self._service.drain()
        await asyncio.wait([asyncio.ensure_future(self._gate.close())], timeout=seconds)
