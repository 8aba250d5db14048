"""What a worker process of the service does: sieve a clip, describe it, draw it, study it for the page.

A task names a file that is on this machine and below a root or in the upload folder already. Its limits are held here,
in the worker, by what the file's header says, before anything is decoded; what goes wrong is an answer, and no
exception.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecsieve.cache import open_cache
from codecsieve.cache.where import matching
from codecsieve.codec.facts import open_container, read_facts
from codecsieve.errors import CacheError, VideoError
from codecsieve.machine import held_memory, limit_memory
from codecsieve.options import in_units
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.look.describe import describe
from codecsieve.pipelines.look.draw import draw_clip
from codecsieve.pipelines.look.pictures import save_picture
from codecsieve.pipelines.look.study import Study, study_clip
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.text import one_line

from .limits import Limits

QUERY_SECONDS = 5.0
"""That a condition may take."""
_QUERY_BYTES = 256 << 20
"""That a condition which failed may leave behind."""


@dataclass(frozen=True)
class Clip:
    """What is asked about. path: on this machine; name: what users call it, in messages; start, end: seconds."""

    path: str
    name: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class SieveTask:
    """To a SievedClip. pixels: whether patches are cut out."""

    clip: Clip
    config: SieveConfig
    pixels: bool = True


@dataclass(frozen=True)
class DescribeTask:
    """To a Description."""

    clip: Clip
    num_frames: int


@dataclass(frozen=True)
class DrawTask:
    """To the bytes of a picture. suffix: `.png`, `.gif` or `.mp4`; slots: how many a still shows."""

    clip: Clip
    config: SieveConfig
    suffix: str
    slots: int


@dataclass(frozen=True)
class StudyTask:
    """To a Study: what is needed to select again at once."""

    clip: Clip
    config: SieveConfig


@dataclass(frozen=True)
class QueryTask:
    """To the ids of clips of the cache at `clip.path`, failed ones too, that meet a condition in SQL.

    Here and not in the service's own process, since what a condition computes may take all the memory there is, and
    cannot always be interrupted.
    """

    clip: Clip
    where: str


Task = QueryTask | SieveTask | DescribeTask | DrawTask | StudyTask


@dataclass(frozen=True)
class Done:
    """result: what the task says; seconds: in the worker."""

    result: Any
    seconds: float


@dataclass(frozen=True)
class Refused:
    """Why there is no result, in one line, and the status that says so."""

    status: int
    error: str


@dataclass
class ServeWorker:
    """Does tasks in a worker process, within limits."""

    limits: Limits
    _limited: bool = False

    def __call__(self, task: Task) -> Done | Refused:
        """The answer to a task."""
        began = time.perf_counter()
        if not self._limited:
            limit_memory(self.limits.max_memory)
            self._limited = True
        clip = task.clip
        try:
            if not isinstance(task, QueryTask):
                check_limits(clip, self.limits)
            return Done(_DO[type(task)](task, self.limits), time.perf_counter() - began)
        except MemoryError:
            return Refused(413, f"{clip.name}: takes more memory than the {in_units(self.limits.max_memory)} that a "
                                "clip may; scale it down first")  # fmt: skip
        except CacheError as error:
            return Refused(409, _told(str(error), clip))
        except ValueError as error:
            return Refused(422, _told(str(error), clip))
        except Exception as error:
            return Refused(500, _told(f"{clip.name}: internal error: {type(error).__name__}: {error}", clip))


def check_limits(clip: Clip, limits: Limits) -> None:
    """Raise VideoError where a clip is larger, by its header, than the service allows."""
    with open_container(clip.path) as container:
        facts = read_facts(container, clip.path, limits.max_memory)
    if max(facts.width, facts.height) > limits.max_side:
        raise VideoError(f"{clip.path}: {facts.width}x{facts.height} is over the {limits.max_side} pixels a side that "
                         "this service takes; scale it down first")  # fmt: skip
    wanted = facts.seconds
    if clip.start is not None or clip.end is not None:
        wanted = max(0.0, min(clip.end or wanted, wanted) - (clip.start or 0.0))
    if wanted > limits.max_seconds:
        raise VideoError(f"{clip.path}: {wanted:.0f} s is over the {limits.max_seconds:g} s that this service takes; "
                         "ask for a part of it, with start and end")  # fmt: skip
    samples = facts.width * facts.height * wanted * facts.fps
    if samples > limits.max_samples:
        raise VideoError(f"{clip.path}: {facts.width}x{facts.height} at {facts.fps:g}/s for {wanted:.0f} s are "
                         f"{samples:.2g} pixels, over the {limits.max_samples:.2g} that this service takes; scale it "
                         "down, or ask for a part of it")  # fmt: skip


def _told(message: str, clip: Clip) -> str:
    """A message with the file under the name that users know."""
    return one_line(message.replace(clip.path, clip.name))


def _sieve(task: SieveTask, limits: Limits) -> Any:
    clip = task.clip
    return sieve_clip(clip.path, task.config, clip.start, clip.end, task.pixels, limits.max_memory)


def _describe(task: DescribeTask, limits: Limits) -> Any:
    return dataclasses.replace(describe(task.clip.path, task.num_frames), path=task.clip.name)


def _draw(task: DrawTask, limits: Limits) -> bytes:
    clip = task.clip
    drawn = draw_clip(clip.path, task.config, clip.start, clip.end)
    with tempfile.TemporaryDirectory(prefix="codecsieve-") as folder:
        path = Path(folder) / f"picture{task.suffix}"
        save_picture(path, dataclasses.replace(drawn, title=clip.name), task.slots)
        return path.read_bytes()


def _study(task: StudyTask, limits: Limits) -> Study:
    clip = task.clip
    return study_clip(clip.path, task.config, clip.start, clip.end, limits.max_memory)


def _query(task: QueryTask, limits: Limits) -> list[str]:
    table = open_cache(task.clip.path).table
    before = held_memory()
    # It ends this process: what DuckDB computes before it begins cannot be interrupted.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 2 * QUERY_SECONDS)
    try:
        found: list[str] = matching(table, task.where, QUERY_SECONDS)["id"].to_pylist()
    except Exception:
        if held_memory() - before > _QUERY_BYTES:
            os._exit(1)  # what DuckDB had when it failed, it keeps, and the next task would find no memory
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return found


_DO: dict[type, Any] = {
    QueryTask: _query,
    SieveTask: _sieve,
    DescribeTask: _describe,
    DrawTask: _draw,
    StudyTask: _study,
}
