"""What becomes of one clip: a worker process gets its request, and gives back its outcome.

Kept apart from `run`, so that a worker loads the codec and the kernels and nothing of the cache.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from codecsieve.options import in_units
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import SievedClip
from codecsieve.text import one_line, shortened

_RECOGNISED = 60  # characters, by which a path is known that a message has shortened


@dataclass(frozen=True)
class ClipOutcome:
    """What became of a request: a clip, or the error, in one line, for which there is none."""

    request: ClipRequest
    seconds: float
    clip: SievedClip | None = None
    error: str | None = None


def sieve_request(request: ClipRequest, config: SieveConfig, pixels: bool, max_memory: int) -> ClipOutcome:
    """Sieve one clip, in so many bytes of memory. Whatever goes wrong with it is its outcome, and no exception."""
    began = time.perf_counter()
    try:
        clip = sieve_clip(request.path, config, request.start, request.end, pixels, max_memory)
    except MemoryError:  # before ValueError: numpy's and FFmpeg's are of either kind
        return failed(request, out_of_memory(max_memory), time.perf_counter() - began)
    except ValueError as error:
        return failed(request, str(error), time.perf_counter() - began)
    except Exception as error:
        # A fault of this program's in one clip out of many must not end the run; its row says what it was.
        return failed(request, f"internal error: {type(error).__name__}: {error}", time.perf_counter() - began)
    return ClipOutcome(request, time.perf_counter() - began, clip)


def out_of_memory(max_memory: int) -> str:
    """The line for a clip that was promised to fit, and does not: a damaged or crafted one, most likely."""
    return (
        f"needs more memory than --max-memory {in_units(max_memory)} allows, or than there is; raise that, use fewer "
        "--workers, or scale it down first"
    )


def failed(request: ClipRequest, error: str, seconds: float) -> ClipOutcome:
    """The outcome of a clip that could not be made; its error is one line that names the file."""
    path = shortened(request.path)
    error = one_line(error.replace(request.path, path))
    if path not in error and not error.startswith(path[:_RECOGNISED]):
        error = f"{path}: {error}"
    return ClipOutcome(request, seconds, error=error)
