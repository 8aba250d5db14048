"""Where requests bring their tasks and get results: what was measured, and what becomes of an answer that is none.

Who does them, and how many may wait, is left to a `Crew`.
"""

from __future__ import annotations

import time
from typing import Any

from codecsieve.errors import WorkerError
from codecsieve.pipelines.engines.base import Lost
from codecsieve.text import one_line, quoted

from .measures import Measures
from .parts import Crew, FullError
from .refusal import RefusedError
from .tasks import Done, QueryTask, Refused, Task
from .traces import stage_span, tell


class Desk:
    """Takes tasks in the event loop's thread and has a crew do them."""

    def __init__(self, crew: Crew, measures: Measures) -> None:
        self._crew, self._measures = crew, measures
        self.workers = crew.workers
        self._inside = 0
        self._pace = 0.1  # seconds that a task takes, of late

    @property
    def ready(self) -> bool:
        """Whether a worker has started."""
        return self._crew.ready

    async def start(self) -> None:
        """Begin, in this event loop."""
        await self._crew.start()

    async def close(self) -> None:
        """Let the workers go."""
        await self._crew.close()

    async def do(self, task: Task) -> Any:
        """The result of a task. Raises RefusedError: 429 where too many wait, what the worker said, 422 where it died.

        Cancelled, the task is not begun, or its result is dropped.
        """
        kind = type(task).__name__.removesuffix("Task").lower()
        began = time.perf_counter()
        self._inside += 1
        self._measures.waiting.set(self._inside)
        try:
            with stage_span(kind):
                answer = await self._crew.do(task)
                if isinstance(answer, Done):  # the rest of the span it has waited
                    tell({"codecsieve.worker_seconds": answer.seconds})
        except FullError:
            raise self._full() from None
        except WorkerError as error:
            raise RefusedError(503, str(error)) from None
        finally:
            self._inside -= 1
            self._measures.waiting.set(self._inside)
        self._measures.seconds.labels("waiting and worker").observe(time.perf_counter() - began)
        match answer:
            case Done(result, seconds):
                self._pace += 0.1 * (seconds - self._pace)
                self._measures.seconds.labels(kind).observe(seconds)
                self._measures.decodes.labels(kind, "done").inc()
                return result
            case Refused(status, reason):
                self._measures.decodes.labels(kind, "refused").inc()
                raise RefusedError(status, reason)
            case Lost(reason, _):
                self._measures.decodes.labels(kind, "lost").inc()
                if isinstance(task, QueryTask):
                    raise RefusedError(
                        422, f"where ({quoted(task.where)}): takes too long, or too much memory; ask less"
                    )
                late = reason.startswith("took longer")
                raise RefusedError(504 if late else 422, one_line(f"{task.clip.name}: {reason}; leave it out"))
        raise AssertionError(answer)

    def _full(self) -> RefusedError:
        waiting = self._inside - 1 - self.workers  # without the one that was not taken
        wait = max(1, round(self._pace * self._inside / self.workers))
        return RefusedError(429, f"{max(0, waiting)} requests wait for {self.workers} workers; come again in {wait} s",
                            {"Retry-After": str(wait)})  # fmt: skip
