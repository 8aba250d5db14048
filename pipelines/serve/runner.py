"""Does jobs, one at a time, each in a process of its own; tells whoever listens how far they are.

One at a time, since each has all the workers that it may. A process that is killed with the service, or crashes, has
published what was done; its job is queued, and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from .job_process import STOPPED, WAIT
from .jobs import CANCELLED, DONE, FAILED, OPEN, QUEUED, RUNNING, Job, JobStore
from .limits import Limits
from .logs import event
from .manifests import Manifests
from .measures import Measures
from .refusal import RefusedError
from .roots import Roots

_CRASHES = 3
_AGAIN = 1.0
_GRACE = 30.0
"""Seconds that a job may take to publish what is done, when it is to end."""


class Runner:
    """Takes jobs from the store in their order."""

    def __init__(self, store: JobStore, manifests: Manifests, roots: Roots, limits: Limits, measures: Measures) -> None:
        self.store, self._manifests = store, manifests
        self._roots, self._limits, self._measures = roots, limits, measures
        self._news = asyncio.Condition()
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._crashes: dict[str, int] = {}
        self._later: dict[str, float] = {}
        self.stopping = False

    async def start(self) -> None:
        """Go on with what was running before, and take what comes."""
        again = self.store.begin_again()
        if again:
            event("jobs go on", jobs=again)
        await self._ended()
        self._tasks.add(asyncio.create_task(self._serve()))

    async def stop(self) -> None:
        """Have what runs publish what is done, and end; it is queued for the next start."""
        self.stopping = True
        self._wake.set()
        for process in self._running.values():
            _end(process)
        await self._tell()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_GRACE)
            for process in list(self._running.values()):
                process.kill()
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def come(self) -> None:
        """A job has come."""
        self._count()
        self._wake.set()

    async def cancel(self, job: Job) -> None:
        """End a job; what it has made stays."""
        self.store.change(job.id, state=CANCELLED, finished=time.time(), note="cancelled")
        process = self._running.get(job.id)
        if process is not None:
            _end(process)
        await self._ended()

    async def follow(self, job_id: str) -> AsyncIterator[Job]:
        """The job as it is, and again after each change, until it is done or the service ends."""
        last: Job | None = None
        while True:
            job = self.store.get(job_id)
            if job is not None and job != last:
                yield job
                last = job
            if job is None or job.state not in OPEN or self.stopping:
                return
            with contextlib.suppress(TimeoutError):
                async with self._news:
                    await asyncio.wait_for(self._news.wait(), 15)

    async def _serve(self) -> None:
        while not self.stopping:
            self._wake.clear()
            for job in [] if self._running else self.store.waiting():
                if not self._running and self._later.get(job.id, 0) <= time.time():
                    await self._begin(job)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _AGAIN)

    async def _begin(self, job: Job) -> None:
        if self._state(job) != QUEUED:  # it was cancelled while another was begun
            return
        try:
            out = str(self._roots.cache_folder(job.cache))
        except RefusedError as error:  # its root is no longer one, or a link has come in its place
            self.store.change(job.id, state=FAILED, finished=time.time(), note=str(error))
            await self._ended()
            return
        self.store.change(job.id, state=RUNNING, started=time.time(), note="", done=0, total=0, failed=0)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "codecsieve.pipelines.serve.job_process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
        )  # fmt: skip
        self._running[job.id] = process
        assert process.stdin is not None
        roots = {name: str(folder) for name, folder in self._roots.folders.items()}
        line = json.dumps({**job.wanted, "out": out, "roots": roots})
        process.stdin.write(line.encode() + b"\n")
        if self._state(job) != RUNNING:  # it was cancelled while its process was started
            _end(process)
        event("job begins", job=job.id, cache=job.cache)
        task = asyncio.create_task(self._attend(job, process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, job: Job, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        told: dict[str, Any] = {}
        try:
            async for line in process.stdout:
                with contextlib.suppress(ValueError):
                    told = {**told, **json.loads(line)}
                values = {name: told[name] for name in ("done", "total", "failed") if name in told}
                if values and self._state(job) == RUNNING:
                    self.store.change(job.id, **values)
                    await self._tell()
            status = await process.wait()
        finally:
            self._running.pop(job.id, None)
        self._settle(job, status, told)
        self._wake.set()
        await self._ended()

    def _settle(self, job: Job, status: int, told: Mapping[str, Any]) -> None:
        if self._state(job) != RUNNING:
            return
        shown = self._roots.shown
        now = time.time()
        if status == 0 and "summary" in told:
            summary = json.loads(shown(json.dumps(told["summary"])))
            note = shown(told["warning"]) if "warning" in told else ""
            self.store.change(job.id, state=DONE, finished=now, note=note, summary=summary)
        elif status == WAIT:
            self._later[job.id] = now + _AGAIN
            self.store.change(job.id, state=QUEUED, note=shown(told.get("note", "")))
        elif self.stopping or status in (STOPPED, -2):
            self.store.change(job.id, state=QUEUED, note="the service was ended; it goes on")
        elif "error" in told:
            self.store.change(job.id, state=FAILED, finished=now, note=shown(told["error"]))
        else:
            self._crashes[job.id] = self._crashes.get(job.id, 0) + 1
            if self._crashes[job.id] < _CRASHES:
                self._later[job.id] = now + _AGAIN
                self.store.change(job.id, state=QUEUED, note=f"its process died (status {status}); tried again")
            else:
                self.store.change(job.id, state=FAILED, finished=now, note=f"its process died (status {status})")
        event("job ends", job=job.id, cache=job.cache, state=self._state(job), status=status)

    def _state(self, job: Job) -> str:
        now = self.store.get(job.id)
        return now.state if now else CANCELLED

    def _count(self) -> None:
        for state, count in self.store.counts().items():
            self._measures.jobs.labels(state).set(count)

    async def _ended(self) -> None:
        """A job may have ended: say so, and keep no more of those that have than is to be kept."""
        await self._tell()
        await asyncio.to_thread(self.store.forget, self._limits.kept_jobs)
        await asyncio.to_thread(self._manifests.sweep)
        self._count()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def _end(process: asyncio.subprocess.Process) -> None:
    """Have a job's process publish what is done, and end."""
    if process.stdin is not None:
        process.stdin.close()
