"""Clips side by side on one GPU, as a worker process is given them: what a job is there.

Each thread has a decoder and a CUDA stream of its own; as many decode at once as the GPU has engines, while the others
open clips, or finish them. A clip that NVDEC cannot decode bit for bit, or whose packet table is not to be believed,
goes down the CPU's road instead, searched where the bitstream is not asked for, and its row says so; one that does not
fit the GPU's memory fails alone. An error that leaves the GPU unusable ends the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_packets import NvdecError
from codecsieve.codec.nvdec_trial import statistics_agree
from codecsieve.codec.source import PacketTableError
from codecsieve.machine import MAX_MEMORY
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.outcome import ClipOutcome, failed, out_of_memory, sieve_request
from codecsieve.pipelines.sieve.gpu_clip import sieve_clip_on_gpu
from codecsieve.pipelines.sieve.kept import SievedClip
from codecsieve.text import one_line

_log = logging.getLogger(__name__)


@dataclass
class _Thread(threading.local):
    """What a thread of the worker has: nothing, before its first clip."""

    session: NvdecSession | None = None
    stream: Any = None


@dataclass
class GpuSieve:
    """`sieve_request` on a GPU. A worker process gets one; its threads call it side by side.

    gpu: its number; sessions: clips that are decoded at once; config: with the signals that the device is to use;
    pixels: whether patches are cut out; max_memory: bytes of the host's that a clip may take.
    """

    gpu: int
    sessions: int
    config: SieveConfig
    pixels: bool
    max_memory: int = MAX_MEMORY
    _turn: threading.BoundedSemaphore = field(init=False, repr=False)
    _threads: _Thread = field(default_factory=_Thread, init=False, repr=False)
    _told: set[str] = field(default_factory=set, init=False, repr=False)
    _first: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _compiled: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._turn = threading.BoundedSemaphore(self.sessions)

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_worker, (type(self), self.gpu, self.sessions, self.config, self.pixels, self.max_memory)

    def __call__(self, request: ClipRequest) -> ClipOutcome:
        """Sieve one clip. What goes wrong with it is its outcome; what goes wrong with the GPU is raised."""
        if self._compiled:
            return self._sieve(request)
        with self._first:  # one thread compiles the kernels, the others wait for them
            outcome = self._sieve(request)
            self._compiled = self._compiled or outcome.clip is not None
        return outcome

    def _sieve(self, request: ClipRequest) -> ClipOutcome:
        began = time.perf_counter()
        clip, refusal, error = self._try(request, self.config)
        if clip is None and refusal and self.config.signals == "auto":
            # Rotated, say, or without statistics: what is found by search is the same wherever it is decoded.
            clip, refusal, error = self._try(request, dataclasses.replace(self.config, signals="search"))
        if clip is not None:
            return ClipOutcome(request, time.perf_counter() - began, clip)
        return self._on_processor(request, refusal) if refusal else failed(request, error, time.perf_counter() - began)

    def _try(self, request: ClipRequest, config: SieveConfig) -> tuple[SievedClip | None, str, str]:
        """The clip, or why the GPU will not do it, or what is wrong with it.

        Errors are let go of before they are dealt with: their tracebacks hold the clip's memory.
        """
        try:
            with self._stream():
                session = self._session()
                wanted = request.path, config, request.start, request.end, self.pixels
                return sieve_clip_on_gpu(session, *wanted, self._turn, self.max_memory), "", ""
        except NvdecError as error:
            refusal, message, unsure = str(error), "", error.__cause__ is not None
        except PacketTableError as error:
            refusal, message, unsure = str(error), "", False
        except torch.OutOfMemoryError:
            message = "does not fit the GPU's free memory; use --device cpu for it, or fewer --workers"
            refusal, unsure = "", True
        except MemoryError:
            refusal, message, unsure = "", out_of_memory(self.max_memory), True
        except ValueError as error:
            refusal, message, unsure = "", str(error), False
        except Exception as error:
            refusal, message, unsure = "", f"internal error: {type(error).__name__}: {error}", True
        if unsure:
            torch.cuda.synchronize(self.gpu)  # raises where the GPU's context is lost, and with it this process
            self._end_session()
            torch.cuda.empty_cache()
        return None, refusal, message

    def _on_processor(self, request: ClipRequest, reason: str) -> ClipOutcome:
        if self.config.signals == "bitstream":
            return failed(request, f"{reason}; its bitstream cannot be read on a GPU, use --device cpu", 0.0)
        self._tell(reason)
        # FFmpeg and NVDEC read the motion of different blocks; what is found without the bitstream is the same.
        signals = "search" if self.config.signals == "auto" else self.config.signals
        return sieve_request(request, dataclasses.replace(self.config, signals=signals), self.pixels, self.max_memory)

    def _session(self) -> NvdecSession:
        if self._threads.session is None:
            device = torch.device("cuda", self.gpu)
            self._threads.session = NvdecSession(self.gpu, self._threads.stream.cuda_stream, device)
        return self._threads.session

    def _end_session(self) -> None:
        if self._threads.session is not None:
            self._threads.session.close()
            self._threads.session = None

    def _stream(self) -> contextlib.AbstractContextManager[Any]:
        if self._threads.stream is None:
            torch.cuda.set_device(self.gpu)
            self._threads.stream = torch.cuda.Stream(self.gpu)
        return torch.cuda.stream(self._threads.stream)

    def _tell(self, reason: str) -> None:
        """Say a reason once, however many clips have it."""
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("decoded on the processor: %s", one_line(reason))


def see_only(gpu: int) -> None:
    """Let this process see one GPU, as number 0, whatever CUDA library asks; before any has been loaded.

    NVDEC's capabilities, for one, are always asked of the first GPU that it sees.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[gpu] if seen else str(gpu)


def _in_worker(
    kind: type[GpuSieve], gpu: int, sessions: int, config: SieveConfig, pixels: bool, max_memory: int
) -> GpuSieve:
    """A `GpuSieve` as it is in its worker's process, whose only GPU is the one it is for."""
    see_only(gpu)
    return kind(0, sessions, config, pixels, max_memory)


def check_statistics(gpu: int) -> bool:
    """Whether a GPU's decode statistics are there, and mean what FFmpeg's motion vectors mean."""
    with NvdecSession(gpu, 0, torch.device("cuda", gpu)) as session:
        return statistics_agree(session)
