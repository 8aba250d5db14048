"""Who makes the clips of a run: worker processes on the processor's cores or on GPUs, or this process.

How workers are watched over is left to `engines`, what a worker does with a clip to `outcome` and `gpu_job`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from codecsieve.machine import available_cores, limit_memory
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.local import run_jobs
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.device import Device
from codecsieve.pipelines.precompute.outcome import ClipOutcome, failed, sieve_request
from codecsieve.pipelines.sieve.warm import warm_up

CORES_A_PROCESS = 4
"""A GPU gets a process for as many cores: Python does one thing at a time in a process, and one alone made 10
clips/s on an H200 where four made 22 (docs/method.md)."""


@dataclass(frozen=True)
class Crew:
    """Who makes clips. functions: one for each worker process, none to work in this one; depth: clips that a worker
    makes at once; sieve: how one clip is made here.
    """

    functions: Sequence[Callable[[ClipRequest], ClipOutcome]]
    depth: int
    sieve: Callable[[ClipRequest], ClipOutcome]


@dataclass
class CpuSieve:
    """`sieve_request` in a worker process on the processor, which takes no more memory than a clip may."""

    config: SieveConfig
    pixels: bool
    max_memory: int
    _limited: bool = False

    def __call__(self, request: ClipRequest) -> ClipOutcome:
        """Sieve one clip. What goes wrong with it is its outcome."""
        if not self._limited:
            limit_memory(self.max_memory)
            self._limited = True
        return sieve_request(request, self.config, self.pixels, self.max_memory)


def gather_crew(
    device: Device, config: SieveConfig, pixels: bool, workers: int | None, max_memory: int, clips: int
) -> Crew:
    """Who makes so many clips on a device; see `run.precompute` for the arguments."""
    sieve = functools.partial(sieve_request, config=config, pixels=pixels, max_memory=max_memory)
    if not clips:
        return Crew((), 1, sieve)
    if device.gpus:
        from codecsieve.pipelines.precompute.gpu_job import GpuSieve

        shares = [
            (gpu.index, sessions)
            for gpu in device.gpus
            for sessions in _shared(workers or gpu.sessions, available_cores() // (CORES_A_PROCESS * len(device.gpus)))
        ]
        functions = [GpuSieve(index, sessions, config, pixels, max_memory) for index, sessions in shares[:clips]]
        # Twice as many clips as are decoded at once: while one is opened or finished, its engine has another.
        return Crew(functions, 2 * max(function.sessions for function in functions), sieve)
    warm_up()
    count = min(available_cores() if workers is None else workers, clips)
    return Crew([CpuSieve(config, pixels, max_memory) for _ in range(count)], 1, sieve)


def _shared(sessions: int, processes: int) -> list[int]:
    """A GPU's sessions dealt out to its processes, as many as there may be, but at least one, and none idle."""
    count = max(1, min(processes, sessions))
    return [sessions // count + (number < sessions % count) for number in range(count)]


def make_clips(crew: Crew, jobs: Sequence[ClipRequest], timeout: float) -> Generator[ClipOutcome]:
    """What becomes of each job, in the order in which they are done."""
    if not crew.functions:
        yield from map(crew.sieve, jobs)
        return
    with closing(run_jobs(crew.functions, jobs, timeout, crew.depth)) as answers:
        for request, answer in answers:
            yield lost_clip(request, answer) if isinstance(answer, Lost) else answer


def lost_clip(request: ClipRequest, lost: Lost) -> ClipOutcome:
    """The outcome of a clip whose worker has no answer."""
    return failed(request, f"{lost.reason}; leave it out, or try again with --retry-failed", lost.seconds)
