"""Embeddings of clips that requests bring: those that come within a moment go through the model at once.

Clips of another K or patch size are another batch. The model is any that `encoder` loads; it lies on a GPU where there
is one.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from codecsieve.encoder import OneVisionEncoder
from codecsieve.errors import EncoderError

from .parts import Embedded, known_as
from .refusal import RefusedError

MOST_AT_ONCE = 16
MOMENT = 0.005
"""Seconds that a batch waits for more."""


@dataclass
class _Asked:
    patches: np.ndarray
    positions: np.ndarray
    answer: asyncio.Future[Embedded]


class Embedder:
    """A model and who waits for it."""

    def __init__(self, name: str, observe: Callable[[int, float], None], device: str | None = None) -> None:
        """Load a model by folder or hub id; observe: told of each batch's clips and seconds. Raises EncoderError."""
        self.name = known_as(name)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = OneVisionEncoder.from_pretrained(name, device=self.device).eval()
        if self.model.head is None:
            raise EncoderError(f"model {self.name} has no pooling head, so no embeddings; use one that has (use_head)")
        self.patch_size = self.model.config.patch_size
        self._observe = observe
        self._queue: asyncio.Queue[_Asked] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "embedder")
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take clips, in this event loop."""
        self._loop = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Take none any more."""
        if self._loop is not None:
            self._loop.cancel()
        self._thread.shutdown(cancel_futures=True)

    async def embed(self, patches: np.ndarray, positions: np.ndarray) -> Embedded:
        """patches: uint8 [K, 3, P, P]; positions: [K, 3]. Raises RefusedError 422 where the model cannot take them."""
        if patches.ndim != 4 or not len(patches) or patches.shape[-1] != self.patch_size:
            raise RefusedError(422, f"patches ({list(patches.shape)}) must be [K, 3, {self.patch_size}, "
                                    f"{self.patch_size}] for model {self.name}")  # fmt: skip
        answer: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Asked(patches, positions, answer))
        return await answer

    def gpus(self) -> list[dict[str, Any]]:
        """The GPUs that torch sees: name, memory, free."""
        return gpus()

    async def _serve(self) -> None:
        while True:
            asked = [await self._queue.get()]
            until = asyncio.get_running_loop().time() + MOMENT
            while len(asked) < MOST_AT_ONCE:
                try:
                    left = until - asyncio.get_running_loop().time()
                    asked.append(await asyncio.wait_for(self._queue.get(), left))
                except TimeoutError:
                    break
            alike: dict[tuple[int, ...], list[_Asked]] = defaultdict(list)
            for one in asked:
                if not one.answer.cancelled():
                    alike[one.patches.shape].append(one)
            for batch in alike.values():
                await self._answer(batch)

    async def _answer(self, batch: list[_Asked]) -> None:
        began = time.perf_counter()
        try:
            made = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch)
        except Exception as error:  # the batch's requests have it; the next batch goes on
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(RefusedError(500, f"model {self.name}: {type(error).__name__}: {error}"))
            return
        finally:
            self._observe(len(batch), time.perf_counter() - began)
        for one, embedded in zip(batch, made, strict=True):
            if not one.answer.done():
                one.answer.set_result(embedded)

    @torch.inference_mode()
    def _run(self, batch: list[_Asked]) -> list[Embedded]:
        patches = torch.from_numpy(np.stack([one.patches for one in batch])).to(self.device)
        positions = torch.from_numpy(np.stack([one.positions.astype(np.int64) for one in batch])).to(self.device)
        output = self.model(patches=patches, positions=positions)
        pooled = output.pooler_output.float().cpu().numpy()  # [B, C]
        tokens = output.last_hidden_state.float().cpu().numpy()  # [B, K, C]
        return [Embedded(*pair) for pair in zip(pooled, tokens, strict=True)]


def gpus() -> list[dict[str, Any]]:
    """The GPUs that torch sees: name, memory, free."""
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append({"name": torch.cuda.get_device_name(number), "memory": total, "free": free})
    return found
