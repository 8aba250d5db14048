"""What every script in here does with the videos it is given; what a tool does with one is left to the script.

    python run_TOOL.py JOB.json

Runs inside of a tool's own environment, so that nothing but numpy and the standard library may be imported. The job
says `mode`, `videos`, and `events`, a file that gets a line of JSON for each thing that happens, at once: who started
this process learns from it how far a process came that crashed or hangs. A failure ends the process, so that the next
video begins in a new one.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

REASON = 300
"""Characters kept of what an error says."""


class NothingCameError(Exception):
    """A video was taken without an error, and what the tool is for did not come of it."""


class Result(Protocol):
    """What a tool makes of a video. given: bytes of arrays that it returns, beside what it writes."""

    @property
    def given(self) -> int: ...


@dataclass(frozen=True)
class Shown:
    """Parts of pictures, and which frame each is said to be of.

    frames: int64 [n]. boxes: float32 [n, 4], left, top, right, bottom as parts of the picture. means: float32 [n], of
    all samples of R, G and B in the box.
    """

    frames: np.ndarray
    boxes: np.ndarray
    means: np.ndarray

    @classmethod
    def of_pictures(cls, frames: np.ndarray, pictures: np.ndarray, cells: int = 8) -> Shown:
        """Whole pictures uint8 [n, H, W, 3], in cells x cells parts each."""
        count, height, width = pictures.shape[:3]
        rows, columns = (np.linspace(0, side, cells + 1).astype(int) for side in (height, width))
        means = np.stack(
            [
                pictures[:, top:bottom, left:right].mean(axis=(1, 2, 3))
                for top, bottom in pairwise(rows)
                for left, right in pairwise(columns)
            ],
            axis=1,
        )
        top, left = (edge.ravel() for edge in np.meshgrid(rows[:-1] / height, columns[:-1] / width, indexing="ij"))
        bottom, right = (edge.ravel() for edge in np.meshgrid(rows[1:] / height, columns[1:] / width, indexing="ij"))
        boxes = np.tile(np.stack([left, top, right, bottom], axis=1), (count, 1))
        return cls(np.repeat(frames, cells * cells), boxes, means.ravel())

    @classmethod
    def of_canvases(cls, canvases: np.ndarray, positions: np.ndarray, patch: int, extent: tuple[int, int]) -> Shown:
        """Patches packed row by row onto canvases uint8 [n, H, W, 3].

        positions: frame, row, column of each, int [K, 3], -1 for none.
        extent: height and width, in px, of the whole picture that rows and columns count in.
        """
        count, height, width = canvases.shape[:3]
        rows, columns = height // patch, width // patch
        patches = canvases.reshape(count, rows, patch, columns, patch, 3).mean(axis=(2, 4, 5)).ravel()
        own = positions[:, 0] >= 0
        top, left = positions[own, 1] * patch, positions[own, 2] * patch
        boxes = np.stack([left, top, left + patch, top + patch], axis=1) / np.array([extent[1], extent[0]] * 2)
        return cls(positions[own, 0], boxes, patches[: len(positions)][own])


def main(
    run: Callable[[str, Path], Any],
    shown: Callable[[Any], Shown | None],
    choose: Callable[[str, Path, int], np.ndarray] | None = None,
) -> None:
    """Do the job that the command line names.

    run: a video, and an empty folder for what is written of it. shown: what that shows, or None for a tool that gives
    no pictures. choose: frame, row and column of every token kept at a budget, int [K, 3], of a square of 7x7 tokens.
    """
    job = json.loads(Path(sys.argv[1]).read_text())
    with Path(job["events"]).open("a", buffering=1) as file:

        def tell(**event: Any) -> None:
            file.write(json.dumps(event) + "\n")

        if job["mode"] == "speed":
            _speed(run, job, tell)
        elif job["mode"] == "try":
            _each(lambda video, folder: _try(run, shown, job, video, folder), job, tell)
        elif choose is not None:
            _each(lambda video, folder: _choose(choose, job, video, folder), job, tell)


def _each(work: Callable[[str, Path], dict[str, Any]], job: dict[str, Any], tell: Callable[..., None]) -> None:
    """Work on one video after the other, up to the first that is refused."""
    for video in job["videos"]:
        tell(video=video, state="begun")
        with tempfile.TemporaryDirectory(dir=job["folder"]) as folder:
            said = _in_words(lambda video=video, folder=folder: work(video, Path(folder)))  # type: ignore[misc]
        tell(video=video, **said)
        if said["state"] == "refused":
            return


def _in_words(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What came of some work, or why nothing did."""
    try:
        return {"state": "ok", **work()}
    except NothingCameError as reason:
        return {"state": "nothing", "reason": str(reason)}
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        return {"state": "refused", "reason": f"{type(error).__name__}: {lines[0]}"[:REASON]}


def _try(
    run: Callable[[str, Path], Any],
    shown: Callable[[Any], Shown | None],
    job: dict[str, Any],
    video: str,
    folder: Path,
) -> dict[str, Any]:
    """How long a video takes, the bytes that come of it, and what it shows, as arrays in a file."""
    start = time.perf_counter()
    result = run(video, folder)
    told = {"seconds": time.perf_counter() - start, "bytes": int(result.given) + _size(folder), "shown": None}
    parts = shown(result)
    if parts is not None:
        target = Path(job["folder"]) / f"shown-{os.getpid()}-{job['videos'].index(video)}.npz"
        np.savez(target, frames=parts.frames, boxes=parts.boxes, means=parts.means)
        told["shown"] = str(target)
    return told


def _choose(
    choose: Callable[[str, Path, int], np.ndarray], job: dict[str, Any], video: str, folder: Path
) -> dict[str, Any]:
    """The tokens kept of a video at every budget."""
    kept = {}
    for budget in job["budgets"]:
        own = folder / str(budget)
        own.mkdir()
        kept[str(budget)] = np.asarray(choose(video, own, budget)).tolist()
    return {"kept": kept}


def _speed(run: Callable[[str, Path], Any], job: dict[str, Any], tell: Callable[..., None]) -> None:
    """Every video once, uncounted; then, once the file `go` is there, all of them in `rounds` rounds."""

    def once(video: str) -> int:
        folder = Path(tempfile.mkdtemp(dir=job["folder"]))
        result = run(video, folder)
        size = int(result.given) + _size(folder)
        shutil.rmtree(folder)
        return size

    for video in job["videos"]:
        once(video)
    tell(state="ready")
    while not Path(job["go"]).exists():
        time.sleep(0.005)
    wall, before = time.perf_counter(), os.times()
    sizes = [once(video) for _ in range(job["rounds"]) for video in job["videos"]]
    after = os.times()
    processor = sum(after[:4]) - sum(before[:4])  # children's, too: one tool starts programs
    seconds = time.perf_counter() - wall
    tell(state="done", clips=len(sizes), seconds=seconds, processor=processor, bytes=sum(sizes), peak=_peak())


def _peak() -> int:
    """Bytes of memory that this process had at most."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says begins with what the process had that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
